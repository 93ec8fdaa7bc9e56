package host

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/host/capture"
	"github.com/weftmesh/weft/host/process"
	"github.com/weftmesh/weft/wire"
)

// touch has the state written soon.
func (h *Host) touch() {
	select {
	case h.dirty <- struct{}{}:
	default:
	}
}

// publish writes the state whenever it has changed, and brings the virtual
// addresses up to date.
func (h *Host) publish() {
	for {
		select {
		case <-h.dirty:
		case <-h.ctx.Done():
			return
		}
		if err := h.writeState(); err != nil {
			h.notify(Event{Kind: Problem, Message: "the control plane does not learn what runs", Err: err})
		}
		h.updateVirtual()
	}
}

// writeState writes the process state for the control plane.
func (h *Host) writeState() error {
	h.stateMu.Lock() // the newest state is written last
	defer h.stateMu.Unlock()
	h.mu.Lock()
	var s wire.ProcessState
	for _, r := range h.replicas {
		s.Replicas = append(s.Replicas, r.replicaLocked())
	}
	h.mu.Unlock()
	slices.SortFunc(s.Replicas, func(a, b wire.Replica) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return s.WriteFile(h.o.Dir.Join(wire.ProcessStateFile))
}

// updateVirtual installs the virtual addresses that no sidecar serves, where
// they have changed.
func (h *Host) updateVirtual() {
	if h.hub == nil {
		return
	}
	h.mu.Lock()
	udp, all := h.virtualLocked()
	var changed []*replica
	for _, r := range h.replicas {
		v := udp
		if r.want.Engine == EngineNone {
			v = all
		}
		if r.plugged && !r.leaving && !equal(r.virtual, v) {
			r.virtual = v
			changed = append(changed, r)
		}
	}
	h.mu.Unlock()
	for _, r := range changed {
		c, err := r.captureConfig(r.virtual)
		if err == nil {
			err = h.hub.SetCapture(h.ctx, r.want.key(), c)
		}
		if err != nil && h.ctx.Err() == nil {
			h.o.Log.Warn("virtual addresses not installed", "workload", r.want.key(), "error", err)
		}
	}
}

// virtualLocked computes the virtual addresses: those of UDP ports for all
// workloads, those of all ports for the ones without a sidecar.
func (h *Host) virtualLocked() (udp, all []capture.Virtual) {
	for i := range h.services {
		s := &h.services[i]
		for _, p := range s.Ports {
			targets := h.targetsLocked(s, p)
			for _, a := range s.Addresses {
				v := capture.Virtual{Proto: "tcp", Address: netip.AddrPortFrom(a, p.Port)}
				if p.UDP {
					v.Proto = "udp"
				}
				for _, t := range targets {
					if t.Addr().Is4() == a.Is4() {
						v.Targets = append(v.Targets, t)
					}
				}
				all = append(all, v)
				if p.UDP {
					udp = append(udp, v)
				}
			}
		}
	}
	return udp, all
}

// targetsLocked lists where ready workloads serve a service's port.
func (h *Host) targetsLocked(s *Service, p ServicePort) []netip.AddrPort {
	if len(s.Selector) == 0 {
		return nil
	}
	var out []netip.AddrPort
	for _, r := range h.replicas {
		if r.want.Namespace != s.Namespace || !selects(s.Selector, r.want.Labels) || s.Instance != "" && s.Instance != r.want.Name || !r.readyLocked() {
			continue
		}
		port := cmp.Or(p.Target, p.Port)
		if p.TargetName != "" {
			port = r.namedPort(p.TargetName)
		}
		if port == 0 {
			continue
		}
		if in, ok := r.inbound[port]; ok {
			port = in.Listen
		}
		for _, a := range r.addresses {
			out = append(out, netip.AddrPortFrom(a, port))
		}
	}
	slices.SortFunc(out, netip.AddrPort.Compare)
	return out
}

func (r *replica) namedPort(name string) uint16 {
	for _, p := range r.want.Ports {
		if p.Name == name {
			return p.Port
		}
	}
	return 0
}

func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return true
}

// Instances lists what runs, for people, by namespace and name.
func (h *Host) Instances() []wire.Instance {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := h.pendingLocked()
	for _, r := range h.replicas {
		i := wire.Instance{
			Name: r.want.Name, Namespace: r.want.Namespace, App: r.want.App, Kind: string(r.want.Kind), State: r.state,
			Message: r.message, Engine: r.want.Engine, Address: r.addresses[0].String(), PID: r.pid, ProxyPID: r.proxyPID,
			Restarts: r.restarts, Started: r.started,
		}
		if r.want.Engine != EngineNone {
			i.AdminSocket = r.admin
		}
		if i.State == "ready" && !r.readyLocked() {
			i.State = "running"
		}
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b wire.Instance) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// pendingLocked lists what is asked for and has not been made: without it a mesh
// whose first replica is not there yet would look as if all were ready.
func (h *Host) pendingLocked() []wire.Instance {
	if h.spec == nil || h.closed {
		return nil
	}
	wants, _, err := h.spec.wants()
	if err != nil {
		panic("BUG: host: a spec that was checked is wrong: " + err.Error())
	}
	var out []wire.Instance
	for key, w := range wants {
		if h.replicas[key] != nil {
			continue
		}
		i := wire.Instance{
			Name: w.Name, Namespace: w.Namespace, App: w.App, Kind: string(w.Kind), State: "starting", Engine: w.Engine,
		}
		if msg := h.unmade[key]; msg != "" {
			i.State, i.Message = "failed", msg
		}
		out = append(out, i)
	}
	return out
}

// URLs lists the ports that the supervisor itself listens on.
func (h *Host) URLs() []wire.URL {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []wire.URL
	for _, p := range h.outside {
		out = append(out, p.url)
	}
	slices.SortFunc(out, func(a, b wire.URL) int { return cmp.Or(cmp.Compare(a.For, b.For), cmp.Compare(a.URL, b.URL)) })
	return out
}

// Log returns what a workload's program, or its proxy, has written; nil: there
// is no such thing. name is "reviews-v2-0", or with its namespace
// "default/reviews-v2-0".
func (h *Host) Log(name string, part Part) *process.Log {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, r := range h.replicas {
		if key != name && r.want.Name != name && r.want.Name+"."+r.want.Namespace != name {
			continue
		}
		if part == PartProxy || r.programLog == nil {
			return r.proxyLog
		}
		return r.programLog
	}
	return nil
}
