package cluster

import (
	"io"
	"net/netip"

	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/filter"
)

// Cluster is one version of a cluster.
type Cluster struct{}

// Name of the cluster.
func (c *Cluster) Name() string { panic("BUG: being built") }

// Spec as it was given; read only.
func (c *Cluster) Spec() *Spec { panic("BUG: being built") }

// Ready is closed when the cluster has its first endpoints, or none are to be had.
func (c *Cluster) Ready() <-chan struct{} { panic("BUG: being built") }

// Stats of the cluster; they go on over replacements of the same name.
func (c *Cluster) Stats() *Stats { panic("BUG: being built") }

// Limits are the circuit breakers of a priority.
func (c *Cluster) Limits(p Priority) *Limits { panic("BUG: being built") }

// Hosts yields all hosts, for admin pages.
func (c *Cluster) Hosts(yield func(*Host) bool) { panic("BUG: being built") }

// Pick is what is known about a request when a host is chosen.
type Pick struct {
	// Random is drawn by the caller; a retry needs a new one.
	Random uint64
	// Hash and HasHash serve consistent hashing (route.Entry.Hash).
	Hash    uint64
	HasHash bool
	// Subset is a filter.SubsetKey.
	Subset string
	// Dst is the original destination.
	Dst netip.AddrPort
	// Avoid are hosts to pass over, as long as Tries further choices find another.
	Avoid []*Host
	Tries int
	// SkipPriorities is a bit set of priorities to pass over if others can serve.
	SkipPriorities uint32
	// Attempt counts retries from 0; consistent hashing then takes the next host of the ring.
	Attempt int
}

// Pick chooses a host. A nil host comes with the flag that says why.
func (c *Cluster) Pick(p *Pick) (*Host, filter.ResponseFlags) { panic("BUG: being built") }

// DialOptions are what a request adds to a connection.
type DialOptions struct {
	HandshakeOptions
	// Source and Dest go into a PROXY header when the Spec asks for it.
	Source, Dest netip.AddrPort
}

// Dial connects to h, TLS included, within the connect timeout. done is called
// once, on a goroutine of its own; the stream has not been bound. Errors are a
// *DialError. The caller has acquired Connections from the Limits and releases
// it when the connection has gone; statistics are counted here.
func (c *Cluster) Dial(h *Host, o DialOptions, done func(stream.Conn, error)) (cancel func()) {
	panic("BUG: being built")
}

// DialError says why there is no connection.
type DialError struct {
	// Timeout: the connect timeout passed.
	Timeout bool
	// TLS: the handshake failed.
	TLS bool
	// Canceled: the caller gave up, or the host has gone.
	Canceled bool
	Err      error
}

// Error says what failed.
func (e *DialError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *DialError) Unwrap() error { return e.Err }

// Host is an endpoint of a cluster; it lives as long as its address is part of it.
type Host struct{}

// Cluster that the host belongs to.
func (h *Host) Cluster() *Cluster { panic("BUG: being built") }

// Addr is the address; the newest one of a LogicalDNS cluster, zero for a unix socket.
func (h *Host) Addr() netip.AddrPort { panic("BUG: being built") }

// String is the address as Envoy prints it.
func (h *Host) String() string { panic("BUG: being built") }

// Endpoint is the newest description; read only.
func (h *Host) Endpoint() *Endpoint { panic("BUG: being built") }

// Locality is the newest one; its Endpoints are nil.
func (h *Host) Locality() *Locality { panic("BUG: being built") }

// Secure tells whether connections to the host use TLS.
func (h *Host) Secure() bool { panic("BUG: being built") }

// Fill puts cluster, service, address and workload into u.
func (h *Host) Fill(u *filter.Upstream) { panic("BUG: being built") }

// Ejected tells whether outlier detection has taken the host out.
func (h *Host) Ejected() bool { panic("BUG: being built") }

// Stats of the host.
func (h *Host) Stats() *HostStats { panic("BUG: being built") }

// Begin counts a request to the host (load balancing looks at it); End must follow.
func (h *Host) Begin() { panic("BUG: being built") }

// End counts the end of a request.
func (h *Host) End(ok bool) { panic("BUG: being built") }

// Result is what traffic tells about a host.
type Result uint8

// Results of the proxy's own making; responses go by ReportStatus.
const (
	// Connected: a TCP proxy's connection was made.
	Connected Result = iota
	ConnectFailed
	ConnectTimedOut
	// RequestTimedOut: no response in time.
	RequestTimedOut
	// RemoteReset: the stream was reset or the connection ended before the response was whole.
	RemoteReset
)

// Report tells outlier detection about r.
func (h *Host) Report(r Result) { panic("BUG: being built") }

// ReportStatus tells outlier detection about a response; a gRPC status is given
// as the HTTP status that it maps to.
func (h *Host) ReportStatus(code int) { panic("BUG: being built") }

// Attach returns what hangs at the host under slot, made when there is none. It
// is closed, once, when the host or its cluster goes: the closer then lets
// what is under way end, and must still serve a request that chose the host just before.
// Slots are compared with ==; use pointers, which box without allocating.
func (h *Host) Attach(slot any, make func() io.Closer) io.Closer { panic("BUG: being built") }
