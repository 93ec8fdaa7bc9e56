package host

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

const (
	// farewell is how long a workload that is to go stays up after the control
	// plane was told, so that nobody sends to it any more.
	farewell = 500 * time.Millisecond
	// replaceBound is how long the replacement of one replica may take to be
	// ready before the next one is replaced all the same.
	replaceBound = 30 * time.Second
)

// Apply makes what runs equal to spec: new workloads start, those that are not
// in it go, changed ones are replaced one after the other; of those whose proxies have
// other settings only the proxies are. It returns at once;
// a later Apply overtakes. The error says what is wrong with the spec itself,
// and then nothing is changed; what fails later is told in events.
func (h *Host) Apply(spec Spec) error {
	if _, _, err := spec.wants(); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errClosed
	}
	h.spec = &spec
	h.overtake()
	select {
	case h.applied <- struct{}{}:
	default:
	}
	return nil
}

// reconcile carries out what is applied.
func (h *Host) reconcile() {
	for {
		select {
		case <-h.applied:
		case <-h.leave.Done():
			return
		}
		ctx, cancel := context.WithCancel(h.leave)
		h.mu.Lock()
		h.overtake = cancel
		spec := h.spec
		h.mu.Unlock()
		h.pass(ctx, spec)
		cancel()
	}
}

// pass brings what runs to spec. When ctx ends it does not wait any more, but
// leaves everything in order for the next pass.
func (h *Host) pass(ctx context.Context, spec *Spec) {
	wants, groups, err := spec.wants()
	if err != nil {
		panic("BUG: host: a spec that was checked is wrong: " + err.Error())
	}
	d := h.compare(wants)
	h.mu.Lock()
	h.services = spec.Services
	h.mu.Unlock()
	var wg sync.WaitGroup
	defer wg.Wait()
	if h.hub != nil {
		wg.Go(func() { h.dismiss(ctx, d.gone) })
	} else {
		h.dismiss(ctx, d.gone) // those that come may want its ports
	}
	h.ports.hold(spec.hostPorts())
	fresh := h.create(wants)
	if err := h.writeState(); err != nil { // before any proxy asks who it is
		h.notify(Event{Kind: Problem, Message: "the control plane does not learn what runs", Err: err})
	}
	for _, r := range fresh {
		go r.run()
	}
	h.touch()
	h.openOutside(h.outsideWants(spec))
	h.replace(ctx, groups, d.changed, wants)
	h.resettle(ctx, groups, d.resettled, wants)
}

// difference is what of the replicas that there are is not as it should be: those that
// must go, and the keys of those that are others, and of those whose proxies only have
// other settings.
type difference struct {
	gone               []*replica
	changed, resettled map[string]bool
}

// compare compares what runs with what should.
func (h *Host) compare(wants map[string]*want) difference {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := difference{changed: map[string]bool{}, resettled: map[string]bool{}}
	for key, r := range h.replicas {
		w := wants[key]
		switch {
		case w == nil:
			d.gone = append(d.gone, r)
		case w.frame() != r.frame:
			d.changed[key] = true
		case w.fingerprint() != r.fingerprint:
			d.resettled[key] = true
		}
	}
	return d
}

// create makes the replicas that are not there.
func (h *Host) create(wants map[string]*want) (fresh []*replica) {
	for key, w := range wants {
		h.mu.Lock()
		exists := h.replicas[key] != nil
		h.lastID++
		id := h.lastID
		h.mu.Unlock()
		if exists {
			continue
		}
		r, err := h.newReplica(w, id)
		if err != nil {
			h.mu.Lock()
			h.unmade[key] = err.Error()
			h.mu.Unlock()
			h.notify(Event{Kind: Failed, Namespace: w.Namespace, Workload: w.Name, App: w.App, Err: err})
			continue
		}
		h.mu.Lock()
		h.replicas[key] = r
		delete(h.unmade, key)
		h.mu.Unlock()
		fresh = append(fresh, r)
	}
	return fresh
}

// dismiss ends replicas: the control plane learns it first.
func (h *Host) dismiss(ctx context.Context, gone []*replica) {
	if len(gone) == 0 {
		return
	}
	h.mu.Lock()
	for _, r := range gone {
		r.leaving = true
	}
	h.mu.Unlock()
	h.touch()
	t := time.NewTimer(farewell)
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-h.force:
	}
	t.Stop()
	var wg sync.WaitGroup
	for _, r := range gone {
		r.cancel()
		wg.Go(func() { <-r.done })
	}
	wg.Wait()
	h.mu.Lock()
	for _, r := range gone {
		if h.replicas[r.want.key()] == r {
			delete(h.replicas, r.want.key())
		}
	}
	h.mu.Unlock()
	h.touch()
}

// replace replaces changed replicas: the groups side by side, within a group
// one after the other.
func (h *Host) replace(ctx context.Context, groups [][]string, changed map[string]bool, wants map[string]*want) {
	var wg sync.WaitGroup
	for _, group := range groups {
		wg.Go(func() {
			for _, key := range group {
				if changed[key] && ctx.Err() == nil {
					h.replaceOne(ctx, wants[key])
				}
			}
		})
	}
	wg.Wait()
}

func (h *Host) replaceOne(ctx context.Context, w *want) {
	h.mu.Lock()
	old := h.replicas[w.key()]
	h.mu.Unlock()
	if old != nil {
		h.dismiss(ctx, []*replica{old})
	}
	fresh := h.create(map[string]*want{w.key(): w})
	if len(fresh) == 0 {
		return
	}
	if err := h.writeState(); err != nil {
		h.notify(Event{Kind: Problem, Message: "the control plane does not learn what runs", Err: err})
	}
	go fresh[0].run()
	t := time.NewTimer(replaceBound)
	defer t.Stop()
	select {
	case <-fresh[0].up:
	case <-fresh[0].done:
	case <-t.C:
	case <-ctx.Done():
	}
}

// outsideWants lists the host ports that a spec asks for.
func (h *Host) outsideWants(spec *Spec) []outsideWant {
	var out []outsideWant
	for _, s := range spec.Services {
		for _, p := range s.Ports {
			if p.HostPort.Port == 0 || p.UDP {
				continue
			}
			out = append(out, outsideWant{
				who: "Service " + s.Namespace + "/" + s.Name, port: p.HostPort.Port, scheme: p.HostPort.Scheme,
				target: func() []netip.AddrPort {
					h.mu.Lock()
					defer h.mu.Unlock()
					return h.targetsLocked(&s, p)
				},
			})
		}
	}
	for _, g := range spec.Gateways {
		if h.hub == nil {
			continue // it listens on the host itself
		}
		for _, hp := range g.HostPorts {
			if g.Engine != EngineEnvoy && hp.Scheme != SchemeUDP {
				continue // it has been handed the socket
			}
			out = append(out, outsideWant{
				who: "Gateway " + g.Namespace + "/" + g.Name, port: hp.Port, scheme: hp.Scheme,
				target: func() []netip.AddrPort { return h.gatewayTargets(g.Namespace, g.Name, hp.Port) },
			})
		}
	}
	return out
}

func (h *Host) gatewayTargets(namespace, name string, port uint16) []netip.AddrPort {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []netip.AddrPort
	for _, r := range h.replicas {
		if r.want.Kind == KindGateway && r.want.Namespace == namespace && r.want.App == name && r.readyLocked() {
			for _, a := range r.addresses {
				out = append(out, netip.AddrPortFrom(a, port))
			}
		}
	}
	return out
}
