package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/weftmesh/weft/host/process"
)

// programEvent takes an event of the program's keeper.
func (r *replica) programEvent(e process.Event) {
	r.follow(e, &r.programReady, &r.pid, true)
	r.host.notify(r.fromProcess(PartProgram, e))
	if e.Kind == process.Ready && e.Err != nil {
		r.host.notify(r.event(Problem, "its program does not listen where it says, and is taken for ready all the same", e.Err))
	}
	if e.Kind == process.Ready && r.host.hub != nil && r.want.Engine != EngineNone {
		go r.tryPorts()
	}
	if e.Kind == process.Unready && e.Restarts == 0 && !r.knownReady() {
		r.host.notify(r.event(Problem, "it is not ready yet", e.Err))
	}
	r.judge(e.Err)
}

// knownReady tells whether the workload was ever ready.
func (r *replica) knownReady() bool {
	select {
	case <-r.up:
		return true
	default:
		return false
	}
}

// tryPorts finds the ports on which the program listens on loopback only.
func (r *replica) tryPorts() {
	for _, p := range r.want.Ports {
		ctx, cancel := context.WithTimeout(r.leave, dialBound)
		nc, err := r.program.Starter.Dial(ctx, "tcp", netip.AddrPortFrom(r.addresses[0], p.Port))
		cancel()
		if err == nil {
			nc.Close()
		}
	}
}

// loopbackOnly makes a port reachable on which the program listens on loopback
// only. Kubernetes would not; but there a program is written for it.
func (r *replica) loopbackOnly(port uint16) {
	h := r.host
	h.mu.Lock()
	known := slices.Contains(r.loopback, port) || r.want.Engine == EngineNone
	if !known {
		r.loopback = append(r.loopback, port)
	}
	virtual := r.virtual
	h.mu.Unlock()
	if known {
		return
	}
	c, err := r.captureConfig(virtual)
	if err == nil {
		err = h.hub.SetCapture(r.leave, r.want.key(), c)
	}
	if err != nil {
		if r.leave.Err() == nil {
			h.notify(r.event(Problem, fmt.Sprintf("its program listens on port %d of 127.0.0.1 only", port), err))
		}
		return
	}
	h.notify(r.event(Note, fmt.Sprintf("its program listens on port %d of 127.0.0.1 only; its sidecar reaches it, but on Kubernetes others would not without one: let it listen on 0.0.0.0", port), nil))
}

// proxyEvent takes an event of the proxy's keeper.
func (r *replica) proxyEvent(e process.Event) {
	r.follow(e, &r.proxyReady, &r.proxyPID, r.program == nil)
	r.set(func() {
		if r.roll != nil && r.roll.follow(e) {
			r.roll = nil
		}
	})
	r.host.notify(r.fromProcess(PartProxy, e))
	if e.Kind == process.Ready {
		r.proxyOnce.Do(func() { close(r.proxyUp) })
	}
	r.judge(e.Err)
}

// follow brings the replica's state up to date. main: the part is what people
// think of as the workload.
func (r *replica) follow(e process.Event, ready *bool, pid *int, main bool) {
	r.set(func() {
		state := ""
		switch e.Kind {
		case process.Starting:
			state = "starting"
		case process.Started:
			*pid = e.PID
			state = "running"
			if main {
				r.restarts = e.Restarts
			}
		case process.Replaced:
			*pid = e.PID
		case process.Ready:
			*ready = true
			state = "ready"
		case process.Unready:
			*ready = false
			state = "running"
		case process.Failed, process.Exited:
			*ready, *pid = false, 0
			state = "restarting"
		case process.Stopped:
			*ready, *pid = false, 0
		}
		if !main || state == "" {
			return
		}
		r.state = state
		switch {
		case e.Err != nil:
			r.message = e.Err.Error()
		case e.Kind == process.Exited:
			r.message = e.Exit.String()
		case e.Kind == process.Ready || e.Kind == process.Started:
			r.message = ""
		}
	})
}

// judge tells when the workload as a whole begins or ceases to be ready.
func (r *replica) judge(err error) {
	h := r.host
	h.mu.Lock()
	ready := r.readyLocked()
	changed := ready != r.wasReady
	r.wasReady = ready
	h.mu.Unlock()
	if !changed {
		return
	}
	if !ready {
		h.notify(r.event(WorkloadUnready, "", err))
		return
	}
	// Whoever hears that it is ready may ask the control plane for it.
	if err := h.writeState(); err != nil {
		h.notify(Event{Kind: Problem, Message: "the control plane does not learn what runs", Err: err})
	}
	h.notify(r.event(WorkloadReady, "", nil))
	r.upOnce.Do(func() { close(r.up) })
}

// serveAdmin leads from a unix socket on the host to the proxy's admin API,
// which listens on loopback inside.
func (r *replica) serveAdmin(ctx context.Context) {
	if r.want.Engine == EngineNone {
		return
	}
	_ = os.Remove(r.admin)
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: r.admin, Net: "unix"})
	if err == nil {
		err = os.Chmod(r.admin, 0o600)
	}
	if err != nil {
		r.host.notify(r.event(Problem, "its proxy's admin API cannot be reached", err))
		return
	}
	err = relay(ctx, ln, func(ctx context.Context) (net.Conn, error) {
		return r.proxy.Starter.Dial(ctx, "tcp", loopback4(r.proxyPorts.Admin))
	})
	if err != nil && !errors.Is(err, net.ErrClosed) {
		r.host.notify(r.event(Problem, "its proxy's admin API cannot be reached any more", err))
	}
}
