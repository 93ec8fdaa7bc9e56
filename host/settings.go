package host

import (
	"context"
	"time"

	"github.com/weftmesh/weft/host/process"
)

// Other settings of proxies are brought in without their programs, one proxy after the
// other: one of engine go hands over to a process with the new ones, so that nothing is
// cut; another is started again once nobody sends to its workload any more.

// roll is a proxy that is started again; its workload takes no traffic meanwhile.
type roll struct {
	started bool          // the new process runs
	done    chan struct{} // closed when it is ready
}

// resettle brings new settings to proxies, in the order of groups, each once the one
// before is ready. When ctx ends, what has not been reached is left for the next pass.
func (h *Host) resettle(ctx context.Context, groups [][]string, changed map[string]bool, wants map[string]*want) {
	for _, group := range groups {
		for _, key := range group {
			if changed[key] && ctx.Err() == nil {
				h.resettleOne(ctx, wants[key])
			}
		}
	}
}

func (h *Host) resettleOne(ctx context.Context, w *want) {
	h.mu.Lock()
	r := h.replicas[w.key()]
	if r == nil || r.leaving {
		h.mu.Unlock()
		return
	}
	r.settings, r.fingerprint = w.Proxy, w.fingerprint()
	ready := r.proxyReady
	h.mu.Unlock()
	program, err := r.proxyProgram()
	if err != nil {
		h.notify(r.event(Problem, "its proxy keeps its settings", err))
		return
	}
	if r.want.Engine != EngineGo || !ready {
		r.again(ctx, program)
		return
	}
	// Not broken off: a proxy that has begun to take over is let.
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), replaceBound)
	defer cancel()
	if _, _, err := r.takeOver(bound, r.proxyInfo()); err != nil {
		h.notify(r.event(Problem, "its proxy keeps its settings until it starts again", err))
	}
}

// again starts the proxy again with another command, and waits until it is ready.
func (r *replica) again(ctx context.Context, p process.Program) {
	x := &roll{done: make(chan struct{})}
	r.set(func() { r.roll = x })
	r.judge(nil)
	pause(ctx, farewell)
	r.proxy.RestartAs(p)
	late := time.NewTimer(replaceBound)
	defer late.Stop()
	select {
	case <-x.done:
		return
	case <-r.leave.Done():
		return
	case <-ctx.Done():
		return
	case <-late.C:
	}
	r.host.notify(r.event(Problem, "its proxy is not ready since it was started again with new settings; the others wait for it", nil))
	select {
	case <-x.done:
	case <-r.leave.Done():
	case <-ctx.Done():
	}
}

// follow brings a restart up to date with an event of the proxy; host.mu is held.
func (x *roll) follow(e process.Event) (over bool) {
	switch {
	case e.Kind == process.Started:
		x.started = true
	case e.Kind == process.Ready && x.started:
		close(x.done)
		return true
	}
	return false
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
