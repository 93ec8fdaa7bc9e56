package fleet

import (
	"time"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/wire"
)

// hosts is the type under which the hosts are remembered that workloads of a fence use.
const hosts = "host"

// fence finds the fences that are up for a session's proxy, and has it have what they list, and what was used
// within them. It is called with building held.
func (p *session) fence(idx *index, proxy scope.Proxy) {
	before := p.fences
	p.fences, _ = idx.FencesOf(&proxy)
	p.usage.fixed = nil
	if !proxy.OnDemand || len(p.fences) == 0 {
		return
	}
	if before == nil {
		for _, f := range p.fences {
			p.warm(f.Key.String())
		}
	}
	fixed := idx.Static(p.fences)
	if len(fixed) == 0 {
		return
	}
	p.usage.fixed = make(map[string]bool, len(fixed))
	if p.asked[wire.TypeCluster] == nil {
		p.asked[wire.TypeCluster] = map[string]bool{}
	}
	for _, name := range fixed {
		p.usage.fixed[name] = true
		if !p.asked[wire.TypeCluster][name] {
			p.asked[wire.TypeCluster][name], p.usage.lent[name], p.usage.asked[name] = true, true, time.Now()
		}
	}
}

// learn remembers for the fences of a session's proxy that it uses a name. It is called with building held.
func (p *session) learn(url, name string, now time.Time) {
	if p.fleet.habits == nil || len(p.fences) == 0 || p.demand == nil {
		return
	}
	for _, host := range p.demand.Hosts(url, name) {
		for _, f := range p.fences {
			who := f.Key.String()
			p.fleet.habits.Note(who, url, name, now)
			p.fleet.habits.Note(who, hosts, host, now)
		}
	}
}

// Learned are the hosts that workloads of a ServiceFence use, and when they did last; lately: no longer ago than
// after which a proxy loses what it does not use.
func (f *Fleet) Learned(fence model.Key) (used map[string]time.Time, lately time.Duration) {
	if f.habits == nil {
		return nil, f.idle
	}
	return f.habits.Used(fence.String(), hosts), f.idle
}
