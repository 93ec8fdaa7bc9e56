// Package dns is the mesh's resolver: it answers the names of services that the
// proxy may see from memory, says NXDOMAIN at once for the rest of the cluster's
// domain, and passes everything else on to the servers of the host.
//
// On demand (Names.Ask) there is no table: a name is asked for when a program does, and
// what the control plane says of it is kept and follows it. What the host's servers
// say is kept for as long as they say, at most 30 s.
//
// Server answers over UDP and TCP; Resolver is the same for the proxy's own
// look-ups. Names come from the control plane as resources (Names.Set); until
// the first have come, questions about the cluster's domain wait a short while
// and then fail with SERVFAIL, so that nobody caches a wrong NXDOMAIN.
package dns

import (
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
)

// Host is one name that the mesh answers (weft.wire.v1.Host).
type Host struct {
	// Name is lower case, without a trailing dot; may begin with "*.".
	Name      string
	Addresses []netip.Addr
	// Endpoints of a headless service by their own label.
	Endpoints map[string][]netip.Addr
	// Canonical is the target of an alias.
	Canonical string
	Ports     []Port
}

// Port is one port of a host, for SRV.
type Port struct {
	Name     string
	Number   uint16
	Protocol string // "tcp", "udp"
}

// Names is what the mesh answers. Readers take no lock.
type Names struct {
	mu    sync.Mutex
	table atomic.Pointer[map[string]*Host]
	ready chan struct{}
	begin sync.Once
	// demand, when set, asks for names; the table is not looked at then.
	demand atomic.Pointer[demand]
}

// NewNames makes an empty table that is not ready.
func NewNames() *Names { return &Names{ready: make(chan struct{})} }

// Set replaces the whole table and makes it ready. Names are not asked for any more.
func (n *Names) Set(hosts []Host) {
	m := make(map[string]*Host, len(hosts))
	for i := range hosts {
		h := &hosts[i]
		m[h.Name] = h
		for label, addrs := range h.Endpoints {
			name := label + "." + h.Name
			if m[name] == nil {
				m[name] = &Host{Name: name, Addresses: addrs}
			}
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.table.Store(&m)
	n.demand.Store(nil)
	n.begin.Do(func() { close(n.ready) })
}

// Ready is closed once there has been a first table.
func (n *Names) Ready() <-chan struct{} { return n.ready }

// Find returns the host for a name, nil when the mesh has none. The most
// specific wildcard counts when there is no exact name.
func (n *Names) Find(name string) *Host {
	m := n.table.Load()
	if m == nil {
		return nil
	}
	if h := (*m)[name]; h != nil {
		return h
	}
	for rest := name; ; {
		_, parent, ok := strings.Cut(rest, ".")
		if !ok {
			return nil
		}
		if h := (*m)["*."+parent]; h != nil {
			return h
		}
		rest = parent
	}
}
