// Package tcp is the terminal filter for bytes that the data plane does not
// understand (Envoy's tcp_proxy): it chooses a cluster and a host when a
// connection arrives, connects, and couples the two until both have ended.
//
// The coupling is transport.Join's: through the kernel where both sides are
// plain sockets, with half-close in both directions. Idle timeout and maximum
// duration cost nothing per byte. A connection that can have no upstream is
// closed, with Envoy's response flags in its ConnInfo.
//
// With a tunnel configured the bytes go through an HTTP proxy (proxy/http/tunnel).
// Objects of the connection's filter state may name the cluster, the idle timeout
// and what the TLS connection upstream asks for.
//
// Drain ends no connection: there is no border in a byte stream at which that would be safe.
// The listener cuts them when its drain time is over.
package tcp

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/tunnel"
)

// Observer is told about connections, for metrics. Calls for one connection
// come one after the other, on any goroutine.
type Observer interface {
	// ConnOpened: the upstream is connected.
	ConnOpened(i *filter.ConnInfo)
	// ConnClosed: the connection has ended, also one that was never opened. What
	// ConnProgress has told is in i.Reported.
	ConnClosed(i *filter.ConnInfo)
	// Every is how often ConnProgress is to be called; 0: never.
	Every(i *filter.ConnInfo) time.Duration
	// ConnProgress: more bytes have come and gone since the last call. i is a copy
	// from when the upstream was connected.
	ConnProgress(i *filter.ConnInfo, received, sent uint64)
}

// AccessLogger writes an access log. The Info has the parts of a connection
// only, and is not kept.
type AccessLogger interface{ Log(i *filter.Info) }

// Weighted is a cluster with its share of the connections.
type Weighted struct {
	Name   string
	Weight uint32
	// Subset is a filter.SubsetKey.
	Subset string
}

// Config of a Proxy. Immutable.
type Config struct {
	StatPrefix string
	// Stats keeps what is counted, nil: nobody reads it.
	Stats *filter.Stats
	// Clusters has one at least; a single one needs no weight.
	Clusters []Weighted
	// Subset is that of a cluster which a filter before has named.
	Subset string
	// Attempts to connect, 0: 1. Backoff, when set, is waited between them.
	Attempts uint32
	Backoff  *Backoff
	// Tunnel goes through an HTTP proxy, nil: directly.
	Tunnel *tunnel.Config
	// Idle ends a connection on which nothing moves; nil: one hour, 0: never.
	Idle *time.Duration
	// MaxDuration of a connection, 0: unbounded. Up to MaxDurationJitter percent are added.
	MaxDuration       time.Duration
	MaxDurationJitter float64
	// HashSourceIP: consistent hashing goes by the client's address; HashState: by
	// the object under that key of filter state.
	HashSourceIP bool
	HashState    string
	Observers    []Observer
	AccessLogs   []AccessLogger
	// LogEvery writes access logs of connections that last, LogConnected when the
	// upstream is connected.
	LogEvery     time.Duration
	LogConnected bool
	// Ask, when set, asks for a cluster that is not there (on-demand CDS). wake is
	// called once, on any goroutine, unless cancel returned true. It must not block.
	Ask func(cluster string, wake func(filter.Outcome)) (o filter.Outcome, cancel func() bool)
}

// Backoff is how long to wait between attempts to connect: a random time up to
// Base, twice that the next time, up to Max.
type Backoff struct{ Base, Max time.Duration }

// DefaultIdle is Envoy's idle timeout.
const DefaultIdle = time.Hour

// Proxy is a filter.Terminal. Safe for concurrent use.
type Proxy struct {
	cfg      Config
	clusters *cluster.Manager
	idle     time.Duration
	total    uint64 // of weights
	stats    *stats
	progress progress
}

// New checks a configuration. Its clusters need not exist yet.
func New(m *cluster.Manager, c Config) (*Proxy, error) {
	p := &Proxy{cfg: c, clusters: m, idle: DefaultIdle, stats: newStats(&c)}
	if len(c.Clusters) == 0 {
		return nil, errors.New("tcp proxy: no cluster is named")
	}
	for _, w := range c.Clusters {
		if w.Name == "" {
			return nil, errors.New("tcp proxy: a cluster has no name")
		}
		p.total += uint64(w.Weight)
	}
	if len(c.Clusters) > 1 && (p.total == 0 || p.total > math.MaxUint32) {
		return nil, fmt.Errorf("tcp proxy: the weights of the clusters add up to %d: want 1 to %d", p.total, uint32(math.MaxUint32))
	}
	if c.Idle != nil {
		p.idle = *c.Idle
	}
	if p.cfg.Attempts == 0 {
		p.cfg.Attempts = 1
	}
	return p, nil
}

// StatPrefix as configured.
func (p *Proxy) StatPrefix() string { return p.cfg.StatPrefix }

// Clusters are those that a connection may be sent to, with their weights: the one that
// a filter has named, or else all that are configured.
func (p *Proxy) Clusters(info *filter.ConnInfo) []Weighted {
	if w := p.named(info); w != nil {
		return []Weighted{*w}
	}
	return p.cfg.Clusters
}

// Asks tells whether clusters that are not there are asked for.
func (p *Proxy) Asks() bool { return p.cfg.Ask != nil }

// Serve implements filter.Terminal.
func (p *Proxy) Serve(c stream.Conn, info *filter.ConnInfo, done func()) {
	p.stats.total.Add(1)
	s := &session{p: p, down: c, info: info, done: done}
	if d := p.cfg.MaxDuration; d > 0 {
		if j := p.cfg.MaxDurationJitter; j > 0 {
			d += time.Duration(rand.Float64() * j / 100 * float64(d))
		}
		s.arm(d)
	}
	s.begin(p.choose(info))
}

// HalfCloses tells that a client that will send no more may wait for an answer.
func (p *Proxy) HalfCloses() bool { return true }

// Drain implements filter.Terminal. See the package comment.
func (p *Proxy) Drain() {}

// choose draws a cluster, unless a filter has named one.
func (p *Proxy) choose(info *filter.ConnInfo) *Weighted {
	if w := p.named(info); w != nil {
		return w
	}
	if len(p.cfg.Clusters) == 1 {
		return &p.cfg.Clusters[0]
	}
	n := rand.Uint64N(p.total)
	for i := range p.cfg.Clusters {
		w := uint64(p.cfg.Clusters[i].Weight)
		if n < w {
			return &p.cfg.Clusters[i]
		}
		n -= w
	}
	panic("BUG: weights do not add up")
}

// named is the cluster that a filter has named; nil: none has.
func (p *Proxy) named(info *filter.ConnInfo) *Weighted {
	if info.TCPCluster != "" {
		return &Weighted{Name: info.TCPCluster, Subset: p.cfg.Subset}
	}
	if name := info.Text(filter.StateTCPCluster); name != "" {
		return &Weighted{Name: name, Subset: p.cfg.Subset}
	}
	return nil
}

// hashAddr hashes an address for consistent hashing.
func hashAddr(a netip.Addr) uint64 {
	b := a.As16()
	return xxhash.Sum64(b[:])
}
