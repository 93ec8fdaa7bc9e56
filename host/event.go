package host

import (
	"net/netip"
	"time"

	"github.com/weftmesh/weft/host/process"
)

// EventKind says what happened.
type EventKind string

// Kinds of events. Those of a part of a workload mirror process.Kind.
const (
	Building EventKind = "building" // a program is being built
	Starting EventKind = "starting"
	Started  EventKind = "started"
	Ready    EventKind = "ready"
	Unready  EventKind = "unready"
	Failed   EventKind = "failed" // could not be prepared or started
	Exited   EventKind = "exited" // ended by itself
	Stopped  EventKind = "stopped"
	Replaced EventKind = "replaced" // another process has taken over
	Removed  EventKind = "removed"  // the workload is gone
	// WorkloadReady and WorkloadUnready: the workload as a whole takes traffic, or not.
	WorkloadReady   EventKind = "workload ready"
	WorkloadUnready EventKind = "workload unready"
	// Listening: a port of the host is open.
	Listening EventKind = "listening"
	Problem   EventKind = "problem" // something a user should repair
	Note      EventKind = "note"
	Lost      EventKind = "lost" // nothing runs any more
)

// Part of a workload.
type Part string

// Parts.
const (
	PartProgram Part = "program"
	PartProxy   Part = "proxy"
)

// Event is something that happened. Which fields are set depends on Kind.
type Event struct {
	Kind      EventKind
	Time      time.Time
	Namespace string
	Workload  string // replica: "reviews-v2-0"
	App       string // "reviews-v2"
	Part      Part
	// Message is a sentence for a person, where Kind and Err do not say it all.
	Message string
	Err     error
	PID     int
	Exit    process.Exit
	// Lines are the last ones that the part wrote.
	Lines []string
	// Again is when it will be started again; Restarts how often it has been.
	Again    time.Duration
	Restarts int
	// Asked and Got are the ports of a Listening event; Message is set when they
	// differ. For is whose port it is, "Service default/web"; For and Scheme are
	// "" for a socket that a gateway asked for.
	Asked, Got  netip.AddrPort
	Scheme, For string
}

func (h *Host) notify(e Event) {
	e.Time = time.Now()
	h.notifyMu.Lock()
	defer h.notifyMu.Unlock()
	h.o.Notify(e)
}

// fromProcess translates an event of a keeper.
func (r *replica) fromProcess(part Part, e process.Event) Event {
	kinds := map[process.Kind]EventKind{
		process.Starting: Starting, process.Started: Started, process.Ready: Ready, process.Unready: Unready,
		process.Failed: Failed, process.Exited: Exited, process.Stopped: Stopped, process.Replaced: Replaced,
	}
	return Event{
		Kind: kinds[e.Kind], Namespace: r.want.Namespace, Workload: r.want.Name, App: r.want.App, Part: part,
		Err: e.Err, PID: e.PID, Exit: e.Exit, Lines: e.Lines, Again: e.Again, Restarts: e.Restarts,
	}
}

func (r *replica) event(k EventKind, message string, err error) Event {
	return Event{Kind: k, Namespace: r.want.Namespace, Workload: r.want.Name, App: r.want.App, Message: message, Err: err}
}
