package cluster

import (
	"io"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
)

// Host is an endpoint of a cluster; it lives as long as its address is part of it.
type Host struct {
	// Set at construction.
	cluster *Cluster
	name    string // as Envoy prints it, "" when it changes
	tls     TLS
	inner   bool             // objects go along to an internal listener
	passed  []PassedMetadata // and this
	since   time.Time

	// Atomic.
	desc    atomic.Pointer[description]
	stats   HostStats
	monitor monitor
	flags   atomic.Uint32 // Flag
	metrics hostMetrics   // with a lock of its own
	used    atomic.Bool   // since the last cleanup; of original destinations

	// Guarded by the cluster's mu.
	load    hostLoad // its atomics apart
	checker *checker // nil: not checked
	awaited bool     // the cluster is not ready before the first check

	attached atomic.Pointer[[]attachment]
	mu       sync.Mutex // held to change attached
	closed   bool       // guarded by mu
	// held are what ends connections when the host fails; guarded by mu.
	held map[*holding]struct{}
}

// holding is a connection that ends when its host fails.
type holding struct{ stop func() }

// description is the newest state of a host's endpoint.
type description struct {
	endpoint *Endpoint
	locality *Locality
}

// hostKey tells hosts of a cluster apart. An endpoint whose transport changes
// is another host, because its connections are of no use.
type hostKey struct {
	addr      netip.AddrPort
	path      string
	internal  [2]string
	name      string
	port      uint16
	transport int
	// Where and whether the host is checked.
	healthAddr netip.AddrPort
	healthPort uint16
	healthName string
	noCheck    bool
}

func (c *Cluster) keyOf(e *Endpoint) hostKey {
	k := hostKey{addr: e.Addr, path: e.Path, name: e.Hostname, transport: c.transport(e), internal: [2]string{e.Internal, e.InternalID}}
	if c.spec.Health != nil {
		k.healthAddr, k.healthPort, k.healthName, k.noCheck = e.HealthAddr, e.HealthPort, e.HealthName, e.NoCheck
	}
	if c.spec.Type == LogicalDNS || c.spec.Type == DynamicForward {
		// One host for the name, whatever its addresses.
		k.addr, k.name, k.port = netip.AddrPort{}, e.Name, e.Port
	}
	return k
}

func newHost(c *Cluster, k hostKey, e *Endpoint) *Host {
	h := &Host{cluster: c, tls: c.spec.TLS, since: time.Now()}
	h.monitor.setRate(0, unknownRate)
	h.monitor.setRate(1, unknownRate)
	inner := c.spec.Inner
	if k.transport >= 0 {
		h.tls, inner = c.spec.Transports[k.transport].TLS, c.spec.Transports[k.transport].Inner
	}
	if inner != nil {
		h.inner, h.passed = true, inner.Passed
	}
	switch {
	case e.Internal != "":
		h.name = "envoy://" + e.Internal + "/" + e.InternalID
	case e.Path != "":
		h.name = e.Path
	case c.spec.Type != LogicalDNS && c.spec.Type != DynamicForward:
		h.name = e.Addr.String()
	}
	h.desc.Store(&description{e, &Locality{}})
	return h
}

// Cluster that the host belongs to.
func (h *Host) Cluster() *Cluster { return h.cluster }

// Addr is the address; the newest one of a LogicalDNS cluster, zero for a unix socket.
func (h *Host) Addr() netip.AddrPort { return h.desc.Load().endpoint.Addr }

// String is the address as Envoy prints it.
func (h *Host) String() string {
	if h.name != "" {
		return h.name
	}
	return h.Addr().String()
}

// Endpoint is the newest description; read only.
func (h *Host) Endpoint() *Endpoint { return h.desc.Load().endpoint }

// Locality is the newest one; read only.
func (h *Host) Locality() *Locality { return h.desc.Load().locality }

// Hostname is the endpoint's name for automatic host rewrites, "" when it has none.
func (h *Host) Hostname() string { return h.desc.Load().endpoint.Hostname }

// Secure tells whether connections to the host use TLS.
func (h *Host) Secure() bool { return h.tls != nil }

// Fill puts cluster, service, address and workload into u.
func (h *Host) Fill(u *filter.Upstream) {
	e := h.desc.Load().endpoint
	u.Cluster, u.Service = h.cluster.spec.Name, h.cluster.spec.Service
	u.Host, u.HostName, u.Workload = e.Addr, e.Hostname, e.Workload
	u.TLS = h.tls != nil
	u.Path = ""
	if !e.Addr.IsValid() {
		u.Path = h.name
	}
}

// Healthy tells whether the host takes part in load balancing outside of a panic.
func (h *Host) Healthy() bool {
	return h.level(h.desc.Load().endpoint) != levelUnhealthy
}

// Ejected tells whether outlier detection has taken the host out.
func (h *Host) Ejected() bool { return h.monitor.ejected.Load() }

// Stats of the host.
func (h *Host) Stats() *HostStats { return &h.stats }

// Begin counts a request to the host, for load balancing and the statistics
// upstream_rq_total and upstream_rq_active of host and cluster; End must follow.
func (h *Host) Begin() {
	h.stats.RqTotal.Add(1)
	h.stats.RqActive.Add(1)
	h.cluster.stats.UpstreamRqTotal.Add(1)
	h.cluster.stats.UpstreamRqActive.Add(1)
}

// End counts the end of a request.
func (h *Host) End(ok bool) {
	h.stats.RqActive.Add(-1)
	h.cluster.stats.UpstreamRqActive.Add(-1)
	if ok {
		h.stats.RqSuccess.Add(1)
	} else {
		h.stats.RqError.Add(1)
	}
}

// attachment is what hangs at a host under a slot.
type attachment struct {
	slot any
	what io.Closer
}

// Attached returns what hangs at the host under slot, nil: nothing.
func (h *Host) Attached(slot any) io.Closer {
	if list := h.attached.Load(); list != nil {
		for i := range *list {
			if (*list)[i].slot == slot {
				return (*list)[i].what
			}
		}
	}
	return nil
}

// Attach returns what hangs at the host under slot, made when there is none. It
// is closed, once, when the host or its cluster goes: the closer then lets
// what is under way end, and must still serve a request that chose the host just before.
// Slots are compared with ==; use pointers, which box without allocating. A
// caller who minds the allocation of a closure asks Attached first.
func (h *Host) Attach(slot any, make func() io.Closer) io.Closer {
	if a := h.Attached(slot); a != nil {
		return a
	}
	h.mu.Lock()
	a := h.Attached(slot)
	if a != nil {
		h.mu.Unlock()
		return a
	}
	a = make()
	var list []attachment
	if old := h.attached.Load(); old != nil {
		list = slices.Clone(*old)
	}
	list = append(list, attachment{slot, a})
	h.attached.Store(&list)
	closed := h.closed
	h.mu.Unlock()
	if closed {
		_ = a.Close() // the host went between Pick and here
	}
	return a
}

// drain lets go of what is attached, so that new requests get new connections.
func (h *Host) drain() {
	h.mu.Lock()
	list := h.attached.Swap(nil)
	h.mu.Unlock()
	if list != nil {
		for _, a := range *list {
			_ = a.what.Close()
		}
	}
}

// Hold has stop called when the host is found to be unhealthy, if its cluster wants
// connections to end then; release, which may be called more than once, takes that back.
func (h *Host) Hold(stop func()) (release func()) {
	if !h.cluster.spec.CloseOnFailure {
		return func() {}
	}
	k := &holding{stop}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held == nil {
		h.held = map[*holding]struct{}{}
	}
	h.held[k] = struct{}{}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.held, k)
	}
}

// fail lets go of everything that leads to a host which has become unhealthy.
func (h *Host) fail() {
	h.drain()
	h.mu.Lock()
	held := h.held
	h.held = nil
	h.mu.Unlock()
	for k := range held {
		k.stop()
	}
}

// close closes what is attached.
func (h *Host) close() {
	h.mu.Lock()
	h.closed = true
	list := h.attached.Load()
	h.mu.Unlock()
	if list != nil {
		for _, a := range *list {
			_ = a.what.Close()
		}
	}
}

func closeHosts(hs []*Host) {
	for _, h := range hs {
		h.close()
	}
}

// LocalityString is region/zone/subzone for admin pages.
func (l *Locality) LocalityString() string { return l.Region + "/" + l.Zone + "/" + l.SubZone }

// target is the address of a name that is resolved, for messages.
func (e *Endpoint) target() string {
	switch {
	case e.Path != "":
		return e.Path
	case e.Internal != "":
		return "envoy://" + e.Internal + "/" + e.InternalID
	case e.Name != "":
		return e.Name + ":" + strconv.Itoa(int(e.Port))
	default:
		return e.Addr.String()
	}
}
