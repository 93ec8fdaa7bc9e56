// Package process keeps programs running: it starts one, keeps what it says,
// probes whether it is ready, starts it again with growing delays when it ends,
// and stops it in good order.
//
// Where a program runs is a Starter's business: in namespaces of its own, or
// plainly on this machine (Local). The package knows no mesh; what happens is
// told in Events, which come from one goroutine in order.
package process

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"
)

// Starter starts programs at one place.
type Starter interface {
	Start(ctx context.Context, c Command) (Instance, error)
	// Dial connects to the program itself, past capture.
	Dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error)
}

// Command is what a Starter is to run.
type Command struct {
	Argv []string
	// Env is put on top of the supervisor's own environment.
	Env []string
	Dir string
	// Sidecar: part of the mesh, not a user's program.
	Sidecar bool
	// Stdout and Stderr are the ends to write to; Start does not close them.
	Stdout, Stderr *os.File
}

// Instance is a program that was started.
type Instance interface {
	PID() int
	// Done is closed when it has ended; then Exit is valid.
	Done() <-chan struct{}
	Exit() Exit
	// Signal does nothing when it has ended.
	Signal(ctx context.Context, sig syscall.Signal, group bool) error
}

// Exit is how a program ended.
type Exit struct {
	Code   int
	Signal syscall.Signal // 0: it exited with Code
}

// String says it as a person would: "exit code 1", "killed by SIGKILL".
func (e Exit) String() string {
	if e.Signal != 0 {
		return "killed by signal " + strconv.Itoa(int(e.Signal)) + " (" + e.Signal.String() + ")"
	}
	return "exit code " + strconv.Itoa(e.Code)
}

// Program is what to keep running.
type Program struct {
	Name    string
	Command []string
	// Prepare, when set, returns the command to run instead, before every
	// start: a build. Its output belongs into the log.
	Prepare func(ctx context.Context, out *Log) ([]string, error)
	Env     []string
	Dir     string
	Sidecar bool
	// Address is where Probe goes.
	Address netip.Addr
	// Probe tells whether it is ready; nil: once it runs.
	Probe *Probe
	// Grace is how long it may take to stop; 0: 10 seconds.
	Grace time.Duration
}

// Probe is a readiness probe, as Kubernetes': exactly one of HTTPPath, TCP,
// GRPC and Exec.
type Probe struct {
	HTTPPath     string
	HTTPHeaders  map[string]string
	TCP, GRPC    bool
	GRPCService  string
	Exec         []string
	Port         uint16
	InitialDelay time.Duration
	Period       time.Duration // 0: 10 s, but quicker until first ready
	Timeout      time.Duration // 0: 1 s
	Success      int           // 0: 1
	Failure      int           // 0: 3
	// GiveUp makes a program ready that never answered for so long; 0: never.
	GiveUp time.Duration
}

// Kind of an Event.
type Kind uint8

// The kinds of events.
const (
	Starting Kind = iota // about to be prepared and started
	Started              // runs: PID
	Ready                // probe succeeded; with Err: it gave up (Probe.GiveUp)
	Unready              // probe failed, or does for long: Err
	Failed               // could not be prepared or started: Err, Lines, Again
	Exited               // ended by itself: Exit, Lines, Again
	Stopped              // ended because it was told to
	Replaced             // another process has taken over: PID
)

// Event is something that happened to a program.
type Event struct {
	Kind Kind
	Time time.Time
	PID  int
	Exit Exit
	Err  error
	// Lines are the last ones it wrote.
	Lines []string
	// Again is when it will be started again.
	Again time.Duration
	// Restarts counts the starts after the first.
	Restarts int
}
