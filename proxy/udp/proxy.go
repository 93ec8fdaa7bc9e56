// Package udp is Envoy's udp_proxy: what clients send to a listener's UDP socket goes
// on to a host of a cluster, and the answers back.
//
// All that comes from one client address to one local address is a session. It has
// a connected socket of its own, keeps its host as long as that is part of the
// cluster and not unhealthy, counts as one of the cluster's connections (which
// bounds how many there are), and ends when nothing has moved for the idle timeout.
// With PerPacket each datagram goes to a host of its own choice, and a session is of
// a client and a host.
//
// The goroutine that reads a listener's socket owns the way there; each session
// has one for the way back, which holds no buffer while it waits. Both move batches
// and allocate nothing per datagram. Nothing waits for a socket that is full:
// the datagram is lost and counted.
//
// A change of configuration ends no session (Envoy ends all): it goes on as it
// began, until the listener's drain time is over. On an upgrade sessions move to
// the new process with their sockets, so that neither end sees it and nothing is lost.
//
// The package has no tunnels over HTTP and no session filters.
package udp

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/weftmesh/weft/base/datagram"
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
)

// AccessLogger writes an access log. The Info has the parts of a connection
// only, and is not kept.
type AccessLogger interface{ Log(i *filter.Info) }

// Config of a Proxy. Immutable.
type Config struct {
	StatPrefix string
	// Route names the cluster for a new session; "": none, and the datagram is dropped.
	Route func(local, remote netip.AddrPort) string
	// Idle ends a session.
	Idle time.Duration
	// OriginalSource: hosts see the client's address (IP_TRANSPARENT).
	OriginalSource bool
	// PerPacket chooses a host for each datagram.
	PerPacket bool
	// HashSource: consistent hashing goes by the client's address; HashKey, when
	// not empty, by that.
	HashSource bool
	HashKey    string
	// UpstreamSize is how large a datagram of a host may be, in bytes; GRO: the kernel may
	// give several as one (and any size is taken).
	UpstreamSize int
	GRO          bool
	// AccessLogs are told of sessions that have ended, and every LogEvery (0: no)
	// of those that have not; ProxyLogs of the end of the Proxy itself.
	AccessLogs, ProxyLogs []AccessLogger
	LogEvery              time.Duration
}

// DefaultIdle and DefaultSize are Envoy's idle timeout and its bound on datagrams.
const (
	DefaultIdle = time.Minute
	DefaultSize = 1500
)

// BatchSize is how many datagrams are read at once.
const BatchSize = 16

// Stats of proxies with one prefix; names are Envoy's (udp.<stat_prefix>.…).
type Stats struct {
	NoRoute, RxBytes, RxDatagrams, RxErrors, Total *filter.Counter
	TxBytes, TxDatagrams, TxErrors, IdleTimeout    *filter.Counter
	Active                                         *filter.Gauge
}

// NewStats finds the statistics of a prefix.
func NewStats(s *filter.Stats, prefix string) *Stats {
	c := func(name string) *filter.Counter { return s.Counter("udp", prefix, name) }
	c("session_filter_config_missing") // Envoy has it, and there are no session filters
	return &Stats{
		NoRoute: c("downstream_sess_no_route"), RxBytes: c("downstream_sess_rx_bytes"), RxDatagrams: c("downstream_sess_rx_datagrams"),
		RxErrors: c("downstream_sess_rx_errors"), Total: c("downstream_sess_total"), TxBytes: c("downstream_sess_tx_bytes"),
		TxDatagrams: c("downstream_sess_tx_datagrams"), TxErrors: c("downstream_sess_tx_errors"), IdleTimeout: c("idle_timeout"),
		Active: s.Gauge("udp", prefix, "downstream_sess_active"),
	}
}

// Proxy is a filter.Datagrams. Safe for concurrent use.
type Proxy struct {
	cfg      Config
	clusters *cluster.Manager
	stats    *Stats
	upstream *datagram.Pool // batches for reading answers
	start    time.Time
	active   atomic.Int64
	arrived  atomic.Uint64 // bytes, also of what was dropped
	draining atomic.Bool
	table    *table
}

// table has the sessions of all versions of a listener.
type table struct {
	scratches sync.Pool
	mu        sync.Mutex
	// Guarded by mu.
	sessions map[key]*session
	closed   map[*Proxy]bool
}

// key tells sessions apart.
type key struct {
	peer, local netip.AddrPort
	host        *cluster.Host // with PerPacket
}

// New makes a Proxy. Clusters need not exist yet.
func New(m *cluster.Manager, stats *Stats, c Config) (*Proxy, error) {
	if c.Route == nil {
		return nil, errors.New("udp proxy: no cluster is named")
	}
	if c.Idle <= 0 {
		c.Idle = DefaultIdle
	}
	if c.UpstreamSize <= 0 {
		c.UpstreamSize = DefaultSize
	}
	size := c.UpstreamSize
	if c.GRO {
		size = datagram.MaxSize
	}
	return &Proxy{
		cfg: c, clusters: m, stats: stats, upstream: datagram.NewPool(size, BatchSize), start: time.Now(),
		table: &table{sessions: map[key]*session{}, closed: map[*Proxy]bool{}},
	}, nil
}

// Succeed implements filter.Datagrams.
func (p *Proxy) Succeed(before filter.Datagrams) {
	if b, ok := before.(*Proxy); ok {
		p.table = b.table
	}
}

// Active implements filter.Datagrams.
func (p *Proxy) Active() int64 { return p.active.Load() }

// Drain implements filter.Datagrams.
func (p *Proxy) Drain() { p.draining.Store(true) }

// Close implements filter.Datagrams.
func (p *Proxy) Close() {
	p.draining.Store(true)
	t := p.table
	t.mu.Lock()
	first := !t.closed[p]
	t.closed[p] = true
	var own []*session
	for _, s := range t.sessions {
		if s.p == p {
			own = append(own, s)
		}
	}
	t.mu.Unlock()
	for _, s := range own {
		s.end()
	}
	if first {
		p.log()
	}
}

// log writes the access logs of the proxy itself.
func (p *Proxy) log() {
	if len(p.cfg.ProxyLogs) == 0 {
		return
	}
	st := p.stats
	i := &filter.ConnInfo{Start: p.start, Duration: time.Since(p.start), Received: p.arrived.Load(), Sent: st.TxBytes.Load()}
	i.SetMetadata("udp.proxy.proxy", map[string]any{
		"bytes_received": float64(st.RxBytes.Load()), "bytes_sent": float64(i.Sent),
		"datagrams_received": float64(st.RxDatagrams.Load()), "datagrams_sent": float64(st.TxDatagrams.Load()),
		"errors_received": float64(st.RxErrors.Load()), "errors_sent": float64(st.TxErrors.Load()),
		"idle_timeout": float64(st.IdleTimeout.Load()), "no_route": float64(st.NoRoute.Load()), "session_total": float64(st.Total.Load()),
	})
	write(p.cfg.ProxyLogs, filter.EventNone, i)
}

func write(logs []AccessLogger, e filter.Event, i *filter.ConnInfo) {
	entry := filter.Info{
		Conn: i, Start: i.Start, Duration: i.Duration, Remote: i.Remote, Upstream: i.Upstream,
		Flags: i.Flags, Received: i.Received, Sent: i.Sent, Metadata: i.Metadata, Event: e,
	}
	for _, l := range logs {
		l.Log(&entry)
	}
}

// pick chooses a host for a client, nil: there is none.
func (p *Proxy) pick(c *cluster.Cluster, peer netip.Addr, random uint64) *cluster.Host {
	pick := cluster.Pick{Random: random}
	switch {
	case p.cfg.HashKey != "":
		pick.Hash, pick.HasHash = xxhash.Sum64String(p.cfg.HashKey), true
	case p.cfg.HashSource:
		b := peer.As16()
		pick.Hash, pick.HasHash = xxhash.Sum64(b[:]), true
	}
	h, _ := c.Pick(&pick)
	return h
}
