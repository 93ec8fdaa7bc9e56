package listener

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/base/overload"
	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/runtime"
	"github.com/weftmesh/weft/proxy/transport"
)

// Options of a Manager.
type Options struct {
	Log *slog.Logger
	// Listen binds sockets; nil: Listen. A sidecar without a way out has the
	// supervisor do it.
	Listen func(ctx context.Context, l *Listener, a Address) (net.Listener, error)
	// ListenUDP binds UDP sockets; nil: ListenUDP.
	ListenUDP func(ctx context.Context, l *Listener, a Address) (net.PacketConn, error)
	// Hold, when not nil, has UDP sockets read only after it was closed: until then
	// another process does.
	Hold <-chan struct{}
	// DrainTime is how long connections of a chain that goes have to end; 0: 45 s.
	DrainTime time.Duration
	// OriginalDst finds the original destination of a redirected connection;
	// nil: the kernel is asked.
	OriginalDst func(nc net.Conn, local netip.AddrPort) (netip.AddrPort, bool)
	// Serve makes a stream of a connected socket; nil: transport.Serve.
	Serve func(nc net.Conn, o transport.Options) stream.Conn
	// Overload tells when to take no connections; nil: never.
	Overload *overload.State
	// MaxConns bounds the connections of all listeners together, where Overload does not.
	MaxConns *runtime.Key
}

// Manager holds the listeners. Safe for concurrent use.
type Manager struct {
	log         *slog.Logger
	listen      func(context.Context, *Listener, Address) (net.Listener, error)
	listenUDP   func(context.Context, *Listener, Address) (net.PacketConn, error)
	hold        <-chan struct{}
	originalDst func(net.Conn, netip.AddrPort) (netip.AddrPort, bool)
	drainTime   time.Duration
	serveConn   func(net.Conn, transport.Options) stream.Conn
	overload    *overload.State
	maxConns    *runtime.Key
	// accepted are the connections of sockets, from when they are accepted until they have ended.
	accepted atomic.Int64

	table atomic.Pointer[table]
	ids   atomic.Uint64
	wg    sync.WaitGroup // accept loops and arrivals
	loops sync.WaitGroup // accept loops
	// arriving are connections that were accepted and are not Active yet.
	arriving atomic.Int64
	// lingering are connections that nobody uses any more, and whose last bytes have not gone.
	lingering atomic.Int64
	retired   atomic.Bool
	moves     atomic.Pointer[moves] // nil: connections stay

	mu sync.Mutex
	// Guarded by mu.
	ctx      context.Context // nil before Run
	early    []*arrival      // admitted before Run
	bindCtx  context.Context // of the Update at work
	sockets  map[socketKey]*socket
	packets  map[socketKey]*packetSocket
	ending   map[filter.Datagrams]*time.Timer // versions that were replaced
	stats    map[string]*Stats
	leaving  map[*chain]*time.Timer // chains being drained
	drained  drained
	stopping bool
	idle     chan struct{} // closed when stopping and no chain is left
}

// drained is what Drain has stopped for good.
type drained uint8

const (
	drainedNone drained = iota
	drainedInbound
	drainedAll
)

func (d drained) covers(l *Listener) bool {
	return d == drainedAll || d == drainedInbound && !l.Outbound
}

// active is a listener at work. Immutable.
type active struct {
	*Listener
	stats    *Stats
	tree     *tree             // nil: a Matcher chooses
	byName   map[string]*chain // with a Matcher
	chains   []*chain          // with fallback
	fallback *chain
	udp      *UDP // nil: of connections
}

// find chooses the chain for a connection, nil: none.
func (a *active) find(f *Facts) *chain {
	if a.tree == nil {
		if name, ok := a.Matcher.Choose(f); ok {
			return a.byName[name] // nil, if there is none of that name: not the default
		}
		return a.fallback
	}
	if c := a.tree.find(f); c != nil {
		return c
	}
	return a.fallback
}

// looks tells which inspectors matter for a destination.
func (a *active) looks(dst netip.AddrPort) looks {
	if a.tree != nil {
		return a.tree.looks(dst)
	}
	l := looks{tls: a.MatcherReads.TLS, http: a.MatcherReads.HTTP}
	for _, c := range a.chains {
		l.tls = l.tls || c.readsSNI()
	}
	return l
}

// table is all listeners. Immutable.
type table struct {
	list   []*active // in the order of the update
	byName map[string]*active
	byAddr map[netip.AddrPort]*active
}

func (t *table) named(name string) *active { return t.byName[name] }

// find returns the listener for an original destination: the one of just that
// address, or of the port on all addresses.
func (t *table) find(dst netip.AddrPort) *active {
	if l := t.byAddr[dst]; l != nil {
		return l
	}
	all := netip.IPv6Unspecified()
	if dst.Addr().Is4() {
		if l := t.byAddr[netip.AddrPortFrom(netip.IPv4Unspecified(), dst.Port())]; l != nil {
			return l
		}
		if l := t.byAddr[netip.AddrPortFrom(all, dst.Port())]; l != nil && l.IPv4Compat {
			return l
		}
		return nil
	}
	return t.byAddr[netip.AddrPortFrom(all, dst.Port())]
}

// NewManager makes a Manager without listeners.
func NewManager(o Options) *Manager {
	m := &Manager{
		log: o.Log, listen: o.Listen, listenUDP: o.ListenUDP, hold: o.Hold, originalDst: o.OriginalDst, drainTime: o.DrainTime, serveConn: o.Serve, overload: o.Overload, maxConns: o.MaxConns,
		packets: map[socketKey]*packetSocket{}, ending: map[filter.Datagrams]*time.Timer{},
		sockets: map[socketKey]*socket{}, stats: map[string]*Stats{}, leaving: map[*chain]*time.Timer{},
		idle: make(chan struct{}),
	}
	if m.serveConn == nil {
		m.serveConn = transport.Serve
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if m.listen == nil {
		m.listen = Listen
	}
	if m.listenUDP == nil {
		m.listenUDP = ListenUDP
	}
	if m.originalDst == nil {
		m.originalDst = originalDst
	}
	if m.drainTime == 0 {
		m.drainTime = 45 * time.Second
	}
	m.table.Store(&table{byName: map[string]*active{}, byAddr: map[netip.AddrPort]*active{}})
	return m
}

// Run accepts connections until ctx ends; then it closes sockets and
// connections at once. Sockets are bound by Update, also before Run: the kernel
// queues connections meanwhile.
func (m *Manager) Run(ctx context.Context) error {
	m.mu.Lock()
	m.ctx = ctx
	for _, a := range m.early {
		m.settle(a)
	}
	m.early = nil
	for _, s := range m.sockets {
		m.run(s)
	}
	for _, s := range m.packets {
		m.runPacket(s)
	}
	m.mu.Unlock()
	<-ctx.Done()
	m.stop()
	m.wg.Wait()
	bound := time.NewTimer(stopBound)
	defer bound.Stop()
	select {
	case <-m.idle:
	case <-bound.C:
		m.log.Warn("connections did not end in time", "left", m.Active())
	}
	return nil
}

// stopBound is how long Run waits for the owners of connections that it has cut.
const stopBound = 2 * time.Second

// stop closes everything.
func (m *Manager) stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopping = true
	for _, s := range m.sockets {
		s.ln.Close()
	}
	clear(m.sockets)
	m.stopUDP()
	for _, l := range m.table.Load().list {
		for _, c := range l.chains {
			m.leave(c, m.drainTime)
		}
	}
	for c := range m.leaving {
		c.cut()
	}
	if len(m.leaving) == 0 {
		close(m.idle)
	}
}

// Error is what is wrong with one listener.
type Error struct {
	Listener string
	Err      error
}

// Error names the listener.
func (e *Error) Error() string { return fmt.Sprintf("listener %q: %v", e.Listener, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Update makes all the set of listeners. The error joins one *Error for each
// listener that could not be changed; the others are in effect, and its last
// good version stays. ctx bounds the binding of sockets.
func (m *Manager) Update(ctx context.Context, all []*Listener) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopping {
		return errors.New("listeners: the proxy is stopping")
	}
	m.bindCtx = ctx
	defer func() { m.bindCtx = nil }()
	u := &update{
		m: m, old: m.table.Load(), wanted: map[socketKey]*active{},
		next: &table{byName: map[string]*active{}, byAddr: map[netip.AddrPort]*active{}},
	}
	for _, l := range all {
		u.add(l)
	}
	u.commit()
	return errors.Join(u.errs...)
}

// leave drains a chain; its connections are cut after d. The caller holds mu.
func (m *Manager) leave(c *chain, d time.Duration) {
	idle, ok := c.beginDrain(func() { m.gone(c) })
	if !ok {
		return
	}
	c.stats.ChainsDraining.Add(1)
	m.leaving[c] = time.AfterFunc(d, func() {
		if n := c.cut(); n > 0 {
			c.stats.ForcedByDrainTime.Add(uint64(n))
		}
	})
	m.wg.Go(func() { // a terminal may take its time, and here is mu
		c.Terminal.Drain()
		if idle {
			m.gone(c)
		}
	})
}

// gone forgets a chain whose last connection has ended.
func (m *Manager) gone(c *chain) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.leaving[c]
	if t == nil {
		return
	}
	t.Stop()
	delete(m.leaving, c)
	c.stats.ChainsDraining.Add(-1)
	if m.stopping && len(m.leaving) == 0 {
		close(m.idle)
	}
}

// Drain stops accepting and asks all connections to end, those of inbound
// listeners only if so wanted. The listeners stay visible; no Update opens
// their sockets again.
func (m *Manager) Drain(inboundOnly bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopping {
		return
	}
	what := drainedAll
	if inboundOnly {
		what = drainedInbound
	}
	m.drained = max(m.drained, what)
	for key, s := range m.sockets {
		if what.covers(s.listener.Load().Listener) {
			s.ln.Close()
			delete(m.sockets, key)
		}
	}
	for _, l := range m.table.Load().list {
		if !what.covers(l.Listener) {
			continue
		}
		for _, c := range l.chains {
			m.leave(c, m.drainTime)
		}
		if l.udp != nil { // sessions go on, for a while, with the socket that they have
			m.leaveUDP(l.udp.Filter, true)
		}
	}
}

// Retire stops accepting for good, because another process accepts from the same
// sockets now, and asks all connections to end at their next border. Unlike
// Drain it cuts nothing: connections live as long as they need, also those that
// had been accepted but not begun, and updates go on to take effect on them. When
// Retire returns, nothing is accepted any more, and no datagrams are read of
// sockets of listeners; MoveSessions is then to be called. give, if not nil, is
// called with
// connections that the other process may take, one after the other; it may block, and
// leaves the file to its caller. What it gives back an error for stays here, and it
// is not called again.
func (m *Manager) Retire(give func(f *os.File, c Moved) error) {
	m.retired.Store(true)
	m.mu.Lock()
	if give != nil && m.ctx != nil && !m.stopping {
		m.startMoves(give)
	}
	m.drained = drainedAll
	for key, s := range m.sockets {
		s.ln.Close()
		delete(m.sockets, key)
	}
	for _, s := range m.packets {
		s.sock.Interrupt()
	}
	var chains []*chain
	for _, l := range m.table.Load().list {
		chains = append(chains, l.chains...)
	}
	m.mu.Unlock()
	m.loops.Wait()
	for _, c := range chains {
		c.Terminal.Drain()
	}
}

// Busy is the number of connections, with those that are just arriving, and those that
// nobody uses any more and whose last bytes are still on their way.
func (m *Manager) Busy() int64 { return m.arriving.Load() + m.Active() + m.lingering.Load() }

// Status is a listener for admin pages.
type Status struct {
	Listener *Listener
	Stats    *Stats
	// Bound are the addresses of its sockets, as the system knows them.
	Bound []net.Addr
}

// All returns the listeners in effect, in the order of the last Update.
func (m *Manager) All() []Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Status
	for _, l := range m.table.Load().list {
		st := Status{Listener: l.Listener, Stats: l.stats}
		for _, a := range l.Addresses {
			if s := m.sockets[l.key(a)]; s != nil && s.listener.Load() == l {
				st.Bound = append(st.Bound, s.ln.Addr())
			}
			if s := m.packets[l.key(a)]; s != nil {
				st.Bound = append(st.Bound, s.sock.Conn().LocalAddr())
			}
		}
		out = append(out, st)
	}
	return out
}

// Active is the number of connections and of sessions of datagrams, also of chains
// being drained.
func (m *Manager) Active() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	var n int64
	for _, s := range m.stats {
		n += s.Active.Load()
	}
	return n + m.sessions()
}
