package up

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/control/fleet"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/host"
	"github.com/weftmesh/weft/host/gobuild"
)

// Escape sequences of the terminal.
type style string

const (
	plain  style = ""
	good   style = "\x1b[32m"
	warn   style = "\x1b[33m"
	bad    style = "\x1b[31m"
	strong style = "\x1b[1m"
	faint  style = "\x1b[2m"
)

// report prints lines for people, one at a time, and says each finding once.
type report struct {
	mu     sync.Mutex
	out    io.Writer
	colour bool
	said   map[model.Finding]bool
	// phase says what goes without saying: at the start that everybody learns of
	// who is ready, at the end that nobody is any more.
	phase atomic.Int32
}

// Phases of a mesh.
const (
	starting int32 = iota
	running
	ending
)

func newReport(out io.Writer, colour bool) *report {
	return &report{out: out, colour: colour, said: map[model.Finding]bool{}}
}

func (r *report) say(st style, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sayLocked(st, fmt.Sprintf(format, args...))
}

func (r *report) sayLocked(st style, line string) {
	if r.colour && st != plain {
		line = string(st) + line + "\x1b[0m"
	}
	fmt.Fprintln(r.out, line)
}

// findings prints those that have not been printed.
func (r *report) findings(list []model.Finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range list {
		if r.said[f] {
			continue
		}
		r.said[f] = true
		st := [...]style{faint, warn, bad}[f.Severity]
		r.sayLocked(st, f.Severity.String()+": "+f.String())
	}
}

// event prints one line per change: what changed and how many proxies got it.
func (r *report) event(e fleet.Event) {
	r.findings(e.Findings)
	why := strings.Join(e.Why, "; ")
	if why == "" || e.Proxies == 0 && len(e.Findings) > 0 || r.expected(e) {
		return
	}
	got := e.Proxies - len(e.Late)
	line := fmt.Sprintf("%s %s: %d %s updated in %d ms", time.Now().Format(time.TimeOnly), why, got, plural(got, "proxy", "proxies"), e.Millis)
	if e.Proxies == 0 {
		line = fmt.Sprintf("%s %s: concerns no proxy", time.Now().Format(time.TimeOnly), why)
	}
	r.say(plain, "%s", line)
	if len(e.Late) > 0 {
		r.say(warn, "  no answer yet from %s", strings.Join(e.Late, ", "))
	}
	for _, x := range e.Rejected {
		r.say(bad, "  %s rejected it: %s", x.Proxy, x.Error)
	}
}

// expected tells whether an event is only about what runs, of which there are
// lines already, and has nothing to add to them.
func (r *report) expected(e fleet.Event) bool {
	if len(e.Late)+len(e.Rejected) > 0 || e.Proxies > 0 && r.phase.Load() == running {
		return false
	}
	return !slices.ContainsFunc(e.Why, func(why string) bool { return !aboutInstance.MatchString(why) })
}

// aboutInstance matches what the control plane's source of processes says.
var aboutInstance = regexp.MustCompile(`^\S+ is (new|ready|not ready|gone)$`)

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// hostEvent prints what happens to what runs here.
func (m *mesh) hostEvent(e host.Event) {
	name := e.Workload
	if e.Namespace != "" && e.Namespace != "default" {
		name += "." + e.Namespace
	}
	if e.Part == host.PartProxy {
		name += " (proxy)"
	}
	switch e.Kind {
	case host.Building:
		m.report.say(faint, "building %s %s", e.App, e.Message)
	case host.Starting, host.Started, host.Unready, host.Stopped, host.Replaced:
		// Too much for a line each: `weft status` and the logs have them.
	case host.Ready:
	case host.WorkloadReady:
		m.report.say(good, "%s is ready", name)
	case host.WorkloadUnready, host.Removed:
		switch {
		case m.report.phase.Load() == ending:
		case e.Kind == host.Removed:
			m.report.say(faint, "%s removed", name)
		default:
			m.report.say(warn, "%s is not ready%s", name, because(e))
		}
	case host.Failed, host.Exited:
		m.died(name, e)
	case host.Listening:
		m.listening(e)
	case host.Problem, host.Lost:
		m.report.say(bad, "%s%s", strings.TrimSpace(name+" "+e.Message), because(e))
		if e.Kind == host.Lost {
			m.down()
		}
	case host.Note:
		m.report.say(faint, "%s%s", strings.TrimSpace(name+" "+e.Message), because(e))
	}
}

func because(e host.Event) string {
	if e.Err == nil {
		return ""
	}
	return ": " + e.Err.Error()
}

// died names a program that ended, with its last lines.
func (m *mesh) died(name string, e host.Event) {
	what := "ended: " + e.Exit.String()
	if e.Kind == host.Failed {
		var build *gobuild.Error
		if errors.As(e.Err, &build) {
			e.Err = fmt.Errorf("go build: %w", build.Err) // what it said are the lines
		}
		what = "could not be started" + because(e)
	}
	again := ""
	if e.Again > 0 {
		again = fmt.Sprintf("; again in %s", e.Again.Round(100*time.Millisecond))
	}
	m.report.say(bad, "%s %s%s", name, what, again)
	for _, l := range e.Lines {
		m.report.say(faint, "    | %s", l)
	}
}
