package up

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/cli"
	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/wire"
)

// settle is how long the state must be quiet before the table is shown although
// something is not ready.
const settle = 20 * time.Second

// showWhenReady shows the table of services and the URLs once everything is
// ready, or when it is plain that something will not be.
func (m *mesh) showWhenReady(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	idle := false
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if ready, any := m.allReady(); any && (ready || time.Since(m.started) > settle) {
			break
		}
		if !idle && m.nothing(ctx) {
			idle = true
			m.showFindings(ctx)
			m.report.say(warn, "nothing to run: %s holds no Process and no Gateway; what you add starts at once", m.Folder)
		}
	}
	m.showFindings(ctx)
	var rows []console.ServiceRow
	// The control plane learns of the last ones a moment later.
	for end := time.Now().Add(time.Second); ; {
		err := m.get(ctx, "/v1/services", &rows)
		if err == nil && (complete(rows) || time.Now().After(end)) {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	m.report.phase.CompareAndSwap(starting, running)
	m.report.mu.Lock()
	defer m.report.mu.Unlock()
	out := m.Out
	m.report.sayLocked(plain, "")
	cli.ServiceTable(rows).Write(out, m.Colour)
	m.report.sayLocked(plain, "")
	for _, u := range m.info().URLs {
		m.report.sayLocked(strong, u.URL+"  "+u.For+parenthesis(u.Note))
	}
	after := time.Since(m.started).Round(100 * time.Millisecond).String()
	if ready, _ := m.allReady(); ready {
		m.report.sayLocked(faint, "ready after "+after+"; `weft status` shows more, Ctrl-C ends all of it")
	} else {
		m.report.sayLocked(warn, "not everything is ready after "+after+": "+waiting(m.host.Instances())+"; `weft status` says more, Ctrl-C ends all of it")
	}
	return nil
}

// fewWaiting is how many instances in one state are named.
const fewWaiting = 6

// waiting says which instances are not ready, and what they are at.
func waiting(list []wire.Instance) string {
	names := map[string][]string{}
	for _, i := range list {
		name := i.Name
		if i.Namespace != "default" {
			name += "." + i.Namespace
		}
		switch i.State {
		case "ready":
		case "building", "starting", "failed":
			names[i.State] = append(names[i.State], name)
		case "restarting":
			names["ended or cannot be started"] = append(names["ended or cannot be started"], name)
		default:
			names["running and not ready"] = append(names["running and not ready"], name)
		}
	}
	var out []string
	for _, state := range slices.Sorted(maps.Keys(names)) {
		few := names[state]
		if n := len(few) - fewWaiting; n > 0 {
			few = append(slices.Clone(few[:fewWaiting]), fmt.Sprintf("%d more", n))
		}
		out = append(out, strings.Join(few, ", ")+" ("+state+")")
	}
	return strings.Join(out, ", ")
}

// nothing tells whether the control plane has read the folder and found nothing
// that runs.
func (m *mesh) nothing(ctx context.Context) bool {
	var rows []console.ObjectSummary
	if m.get(ctx, "/v1/objects", &rows) != nil {
		return false
	}
	for _, o := range rows {
		if o.Kind == model.KindProcess || o.Kind == model.KindGateway || o.Kind == model.KindAPIGateway || o.Kind == model.KindIngress {
			return false
		}
	}
	return true
}

func complete(rows []console.ServiceRow) bool {
	for _, r := range rows {
		if r.Ready < r.Replicas {
			return false
		}
	}
	return true
}

// allReady tells whether everything that runs is ready, and whether anything does.
func (m *mesh) allReady() (ready, any bool) {
	ready = true
	for _, i := range m.host.Instances() {
		any = true
		ready = ready && i.State == "ready"
	}
	return ready, any
}
