package telemetry

import (
	"maps"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/weftmesh/weft/proxy/filter"
)

// Peer is who has an address; unknown until the control plane has said it.
type Peer struct {
	ref atomic.Pointer[filter.WorkloadRef]
}

// Ref returns what is known; the zero value before that.
func (p *Peer) Ref() filter.WorkloadRef {
	if p != nil {
		if r := p.ref.Load(); r != nil {
			return *r
		}
	}
	return filter.WorkloadRef{}
}

// maxPeers bounds the directory: clients outside the mesh may come from
// anywhere. Beyond it, new addresses stay unknown.
const maxPeers = 16384

// Directory finds workloads by address. Addresses that it meets for the first
// time it asks for, by the function it was given.
type Directory struct {
	ask func(address string)

	mu    sync.Mutex
	fresh map[netip.Addr]*Peer // guarded by mu: met since peers was made
	slow  int                  // guarded by mu: look-ups that needed it since then
	peers atomic.Pointer[map[netip.Addr]*Peer]
}

// NewDirectory makes a directory; ask subscribes to the workload with that
// address (the resource name of wire.TypeWorkload) and must not block. nil: nobody is known.
func NewDirectory(ask func(address string)) *Directory {
	d := &Directory{ask: ask}
	d.peers.Store(&map[netip.Addr]*Peer{})
	return d
}

// Lookup returns the peer with an address; never nil. No lock, no allocation
// for an address that has been met a while before.
func (d *Directory) Lookup(a netip.Addr) *Peer {
	a = a.Unmap()
	if p := (*d.peers.Load())[a]; p != nil {
		return p
	}
	return d.meet(a)
}

var nobody = &Peer{}

func (d *Directory) meet(a netip.Addr) *Peer {
	if !a.IsValid() || a.IsLoopback() || d.ask == nil {
		return nobody
	}
	d.mu.Lock()
	old := *d.peers.Load()
	p := old[a]
	if p == nil {
		if p = d.fresh[a]; p != nil {
			d.shareLocked()
		}
	}
	if p != nil || len(old)+len(d.fresh) >= maxPeers {
		d.mu.Unlock()
		if p == nil {
			p = nobody
		}
		return p
	}
	p = &Peer{}
	d.addLocked(a, p)
	d.mu.Unlock()
	d.ask(a.String())
	return p
}

// addLocked adds a peer. What is read without a lock is made anew only now and
// then, so that many new addresses do not cost their square.
func (d *Directory) addLocked(a netip.Addr, p *Peer) {
	if d.fresh == nil {
		d.fresh = map[netip.Addr]*Peer{}
	}
	d.fresh[a] = p
	d.shareLocked()
}

// shareLocked notes a look-up with the lock, and makes a new map for those without when
// the former has cost as many as a copy does.
func (d *Directory) shareLocked() {
	old := *d.peers.Load()
	if d.slow++; len(d.fresh) == 0 || d.slow <= len(old)/8 {
		return
	}
	d.slow = 0
	next := make(map[netip.Addr]*Peer, len(old)+len(d.fresh))
	maps.Copy(next, old)
	maps.Copy(next, d.fresh)
	d.peers.Store(&next)
	clear(d.fresh)
}

// Learn says who has an address; the zero ref: nobody any more.
func (d *Directory) Learn(address string, ref filter.WorkloadRef) {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	p := (*d.peers.Load())[a.Unmap()]
	if p == nil {
		p = d.fresh[a.Unmap()]
	}
	if p != nil {
		p.ref.Store(&ref)
	}
}

// Provide says who has an address that nobody need have asked for; the zero ref:
// nobody any more.
func (d *Directory) Provide(a netip.Addr, ref filter.WorkloadRef) {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := *d.peers.Load()
	p := old[a]
	if p == nil {
		p = d.fresh[a]
	}
	if p == nil {
		if len(old)+len(d.fresh) >= maxPeers || ref == (filter.WorkloadRef{}) {
			return
		}
		p = &Peer{}
		d.addLocked(a, p)
	}
	p.ref.Store(&ref)
}

// Known are the workloads that have been learnt, by address.
func (d *Directory) Known() map[string]filter.WorkloadRef {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := map[string]filter.WorkloadRef{}
	for _, m := range []map[netip.Addr]*Peer{*d.peers.Load(), d.fresh} {
		for a, p := range m {
			if r := p.ref.Load(); r != nil && *r != (filter.WorkloadRef{}) {
				out[a.String()] = *r
			}
		}
	}
	return out
}

// Restore learns what another Directory knew, and asks for the addresses.
func (d *Directory) Restore(known map[string]filter.WorkloadRef) {
	for address, ref := range known {
		if a, err := netip.ParseAddr(address); err == nil {
			d.Lookup(a)
			d.Learn(address, ref)
		}
	}
}

// ParseWorkload reads Istio's endpoint metadata,
// "name;namespace;canonical service;canonical revision;cluster".
func ParseWorkload(s string) filter.WorkloadRef {
	f := strings.SplitN(s, ";", 5)
	for len(f) < 5 {
		f = append(f, "")
	}
	return filter.WorkloadRef{
		Name: f[0], Namespace: f[1], App: f[2], Version: f[3], Service: f[2], Revision: f[3], Cluster: f[4],
	}
}
