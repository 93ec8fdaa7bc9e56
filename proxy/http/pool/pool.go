package pool

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/weftmesh/weft/base/serial"
	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/cluster"
	l7 "github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/filter"
)

// sweeps of idle connections per idle timeout.
const sweeps = 4

// defaultIdle is Envoy's idle timeout of pooled connections.
const defaultIdle = time.Hour

// Pool holds the connections of one protocol to one host.
type Pool struct {
	// Set at construction.
	cluster *cluster.Cluster
	host    *cluster.Host
	want    Want
	// messages is the protocol of WantMessages.
	messages *l7.Protocol
	idleFor  time.Duration // 0: for ever
	high     int           // water mark of output

	mu sync.Mutex
	// guarded by mu
	idle   []*h1Conn // last in, first out: the warm ones are used
	h2     []*h2Conn // that may take another stream
	queue  queue     // waiting for a connection
	http1  bool      // WantALPN: the host has turned out to speak HTTP/1
	closed bool
	tick   int
	armed  bool
	timer  *time.Timer
}

// key tells connections apart that must not be mixed up: what the first
// request brought into the handshake or the PROXY header.
type key struct {
	serverName, verifyName string
	alpn                   string // the first protocol that a request wants offered
	source, dest           netip.AddrPort
	origin                 filter.Origin
	tlvs                   string
	shared                 string // objects for an internal listener
	owner                  uint64 // the downstream connection that alone may use it; 0: all may
}

func keyOf(o *cluster.DialOptions) key {
	k := key{serverName: o.ServerName, verifyName: o.VerifyName, source: o.Source, dest: o.Dest, origin: o.Origin, owner: o.For}
	k.tlvs = o.TLVs
	if len(o.ALPN) > 0 {
		k.alpn = o.ALPN[0]
	}
	for _, s := range o.Shared { // rare
		k.shared += fmt.Sprintf("%s\x00%v\x00%d\x00", s.Key, s.Value, s.How)
	}
	return k
}

// slots are the keys under which pools hang on a host: their addresses are
// compared, so that they box without allocating.
var slots = [...]*slot{{WantHTTP1}, {WantHTTP2}, {WantALPN}}

type slot struct{ want Want } //nolint:unused // it tells the slots apart: equal ones of size zero might share an address

// of returns the host's pool for a protocol.
func of(x *Exchange, h *cluster.Host, want Want) *Pool {
	key := any(x.Messages) // each protocol of messages has a pool of its own
	if want != WantMessages {
		key = slots[want]
	}
	if p := h.Attached(key); p != nil {
		return p.(*Pool)
	}
	return h.Attach(key, func() io.Closer {
		p := newPool(x.Cluster, h, want)
		p.messages = x.Messages
		return p
	}).(*Pool)
}

func newPool(c *cluster.Cluster, h *cluster.Host, want Want) *Pool {
	p := &Pool{cluster: c, host: h, want: want, idleFor: defaultIdle, high: highOf(c)}
	if t := c.Spec().HTTP.IdleTimeout; t != nil {
		p.idleFor = *t
	}
	return p
}

// highOf is the high water mark of a cluster's connections.
func highOf(c *cluster.Cluster) int {
	if n := c.Spec().BufferLimit; n > 0 {
		return n
	}
	return stream.HighWater
}

var errOverflow = errors.New("circuit breaker open: too many pending requests; check connectionPool of the DestinationRule")

// start finds a connection for x: an idle one, one with room, or a new one.
func (p *Pool) start(x *Exchange) {
	for {
		p.mu.Lock()
		hc, h2 := p.takeLocked(x)
		if hc == nil && h2 == nil {
			break
		}
		p.mu.Unlock()
		if h2 != nil {
			h2.begin(x)
			return
		}
		if p.lend(hc, x) {
			return
		}
		// It died this moment, or is held up: look again.
	}
	if !x.Limits.Acquire(cluster.Pending) {
		p.mu.Unlock()
		x.fail(Failure{FailOverflow, errOverflow})
		return
	}
	w := newWaiter(x)
	p.queue.push(w)
	dial := p.wantsDialLocked(w.key)
	if dial {
		p.beginDialLocked(w.key)
	}
	p.mu.Unlock()
	st := p.cluster.Stats()
	st.UpstreamRqPendingTotal.Add(1)
	st.UpstreamRqPendingActive.Add(1)
	p.host.Stats().RqPendingActive.Add(1)
	if dial {
		p.dial(w)
	}
	p.preconnect(&w.dial, w.limits)
}

// takeLocked reserves a connection that is there.
func (p *Pool) takeLocked(x *Exchange) (*h1Conn, *h2Conn) {
	k := keyOf(&x.Dial)
	for _, c := range p.h2 {
		if c.key == k && c.active < c.limit {
			p.occupyLocked(c)
			return nil, c
		}
	}
	if x.Fresh {
		return nil, nil
	}
	for i := len(p.idle) - 1; i >= 0; i-- {
		if hc := p.idle[i]; hc.key == k {
			copy(p.idle[i:], p.idle[i+1:])
			p.idle[len(p.idle)-1] = nil
			p.idle = p.idle[:len(p.idle)-1]
			return hc, nil
		}
	}
	return nil, nil
}

// dropLocked takes w out of the queue.
func (p *Pool) dropLocked(w *waiter) {
	if p.queue.drop(w) {
		w.limits.Release(cluster.Pending)
		p.cluster.Stats().UpstreamRqPendingActive.Add(-1)
		p.host.Stats().RqPendingActive.Add(-1)
	}
}

// popLocked takes the first in the queue that a connection with that key may serve.
func (p *Pool) popLocked(k key) *waiter {
	w := p.queue.firstOf(k)
	if w != nil {
		p.dropLocked(w)
	}
	return w
}

// cancel forgets a waiting exchange.
func (p *Pool) cancel(w *waiter) {
	p.mu.Lock()
	p.dropLocked(w)
	p.mu.Unlock()
	p.cluster.Stats().UpstreamRqCancelled.Add(1)
}

// wantsDialLocked tells whether who waits with that key needs another
// connection: one each in HTTP/1; in HTTP/2, and while the protocol is not known,
// one for all.
func (p *Pool) wantsDialLocked(k key) bool {
	t := p.queue.tallies[k]
	if t == nil || t.waiting == 0 {
		return false
	}
	if p.multiplexed() {
		return t.dialing == 0
	}
	return t.dialing < t.waiting
}

func (p *Pool) beginDialLocked(k key) {
	t := p.queue.of(k)
	t.dialing++
	t.live++
}

func (p *Pool) endDial(k key) {
	p.mu.Lock()
	p.endDialLocked(k)
	p.mu.Unlock()
}

// endDialLocked counts the end of an attempt; live is left to gone.
func (p *Pool) endDialLocked(k key) {
	p.queue.of(k).dialing--
	p.queue.forget(k)
}

func (p *Pool) multiplexed() bool {
	return p.want == WantHTTP2 || p.want == WantALPN && !p.http1 || p.messages != nil && p.messages.Order != l7.OneByOne
}

var alpnBoth = []string{"h2", "http/1.1"}

// dial makes a connection, with the options of w; beginDialLocked has been
// called. false: the circuit breaker is open, and there are others that will become free.
func (p *Pool) dial(w *waiter) bool {
	cc := common{pool: p, key: w.key}
	if w.limits.AcquireConnection(p.host) {
		cc.limits = w.limits
	} else {
		p.mu.Lock()
		if t := p.queue.of(w.key); t.live > 1 {
			t.live--
			p.endDialLocked(w.key)
			p.mu.Unlock()
			return false
		}
		p.mu.Unlock() // at least one of each key, or nobody would ever be served
	}
	o := w.dial
	if p.want == WantALPN && o.ALPN == nil {
		o.ALPN = alpnBoth
	}
	p.cluster.Dial(p.host, o, func(c stream.Conn, err error) { p.dialled(cc, c, err) })
	return true
}

// dialled takes the result of Dial, on a goroutine of its own.
func (p *Pool) dialled(cc common, c stream.Conn, err error) {
	if err != nil {
		p.endDial(cc.key)
		p.gone(&cc)
		p.dialFailed(cc.key, err)
		return
	}
	cc.connected(c)
	two := p.want == WantHTTP2 || p.want == WantMessages
	if p.want == WantALPN {
		two = cc.tls != nil && cc.tls.NegotiatedProtocol == "h2"
		p.mu.Lock()
		p.http1 = !two
		p.mu.Unlock()
	}
	if two {
		if p.messages == nil {
			p.cluster.Stats().UpstreamCxHTTP2Total.Add(1)
		}
		newH2Conn(cc).open()
	} else {
		p.endDial(cc.key)
		p.cluster.Stats().UpstreamCxHTTP1Total.Add(1)
		hc := newH1Conn(cc)
		hc.park()
		p.offer(hc)
	}
	// Who is left may have waited for this connection to carry all, or have
	// another key.
	p.dialForQueue()
}

// dialForQueue makes the connections that those who wait need.
func (p *Pool) dialForQueue() {
	for {
		var w *waiter
		p.mu.Lock()
		for k := range p.queue.tallies {
			if p.wantsDialLocked(k) {
				w = p.queue.firstOf(k)
				p.beginDialLocked(k)
				break
			}
		}
		p.mu.Unlock()
		if w == nil || !p.dial(w) {
			return
		}
	}
}

// dialFailed fails those who waited for that connection: the first in an
// HTTP/1 pool, all in a multiplexed one.
func (p *Pool) dialFailed(k key, err error) {
	f := failureOf(err)
	for {
		p.mu.Lock()
		w := p.popLocked(k)
		t := p.queue.tallies[k]
		all := p.multiplexed() && (t == nil || t.dialing == 0)
		p.mu.Unlock()
		if w == nil {
			break
		}
		w.lane.Do(func() {
			if x := w.take(); x != nil {
				x.fail(f)
			}
		})
		if !all {
			break
		}
	}
	p.dialForQueue()
}

func failureOf(err error) Failure {
	f := Failure{Kind: FailConnect, Err: err}
	var de *cluster.DialError
	if errors.As(err, &de) {
		switch {
		case de.Timeout:
			f.Kind = FailTimeout
		case de.Canceled:
			f.Kind = FailLocal
		}
	}
	return f
}

// offer gives a free HTTP/1 connection, parked, to the first who waits, or keeps it.
func (p *Pool) offer(hc *h1Conn) {
	p.mu.Lock()
	w := p.popLocked(hc.key)
	switch {
	case w != nil:
		p.mu.Unlock()
		w.lane.Do(func() { p.handOver(hc, w) })
		return
	case p.closed:
		p.mu.Unlock()
		hc.retire()
		return
	}
	hc.tick = p.tick
	p.idle = append(p.idle, hc)
	p.armLocked()
	p.mu.Unlock()
}

// handOver lends an offered connection, inside the lane of w: at once, or when who is
// inside of its idle executor leaves that.
func (p *Pool) handOver(hc *h1Conn, w *waiter) {
	switch {
	case w.x == nil:
		p.offer(hc) // given up meanwhile
	case hc.enter():
		ok := hc.claim(w.lane)
		hc.ex.Leave()
		p.handed(hc, w, ok)
	default:
		hc.ex.Post(serial.Func(func() {
			ok := hc.claim(w.lane)
			w.lane.Do(func() { p.handed(hc, w, ok) })
		}))
	}
}

// handed is handOver's end. ok: the lane has claimed the connection; it may have died since.
func (p *Pool) handed(hc *h1Conn, w *waiter, ok bool) {
	x := w.take()
	ok = ok && !hc.dead && !hc.closing
	switch {
	case x == nil && ok:
		hc.park()
		p.offer(hc)
	case x == nil:
	case ok:
		hc.serve(x)
	case hc.requests > 0:
		p.start(x)
	default:
		x.fail(Failure{FailConnect, errClosedEarly})
	}
}

var errClosedEarly = errors.New("the peer closed the connection right after it was made")

// forget takes a dead connection out of the store.
func (p *Pool) forget(hc *h1Conn) {
	p.mu.Lock()
	if i := slices.Index(p.idle, hc); i >= 0 {
		p.idle = slices.Delete(p.idle, i, i+1)
	}
	p.mu.Unlock()
}

// ended notes that a connection which had been made has gone. local: this side
// closed it; busy: an exchange was under way. Its place may be somebody's who
// waits: a connection that is not used again is never offered.
func (p *Pool) ended(cc *common, local, busy bool) {
	p.host.Disconnected(local, busy)
	p.gone(cc)
	p.dialForQueue()
}

// gone counts the end of a connection, or of the attempt to make one.
func (p *Pool) gone(cc *common) {
	if cc.limits != nil {
		cc.limits.Release(cluster.Connections)
	}
	p.mu.Lock()
	p.queue.of(cc.key).live--
	p.queue.forget(cc.key)
	p.mu.Unlock()
}

// armLocked starts the sweeper of idle connections.
func (p *Pool) armLocked() {
	if p.armed || p.idleFor <= 0 {
		return
	}
	p.armed = true
	if p.timer == nil {
		p.timer = time.AfterFunc(p.idleFor/sweeps, p.sweep)
	} else {
		p.timer.Reset(p.idleFor / sweeps)
	}
}

// sweep closes what has not been used for the idle timeout. The timer's goroutine.
func (p *Pool) sweep() {
	var old []*h1Conn
	var old2 []*h2Conn
	p.mu.Lock()
	p.armed = false
	p.tick++
	kept := p.idle[:0]
	for _, hc := range p.idle {
		if p.tick-hc.tick > sweeps {
			old = append(old, hc)
		} else {
			kept = append(kept, hc)
		}
	}
	clear(p.idle[len(kept):])
	p.idle = kept
	for _, c := range p.h2 {
		if c.active == 0 && p.tick-c.tick > sweeps {
			old2 = append(old2, c)
		}
	}
	for _, c := range old2 {
		p.withdrawLocked(c)
	}
	if !p.closed && (len(p.idle) > 0 || len(p.h2) > 0) {
		p.armLocked()
	}
	p.mu.Unlock()
	p.cluster.Stats().UpstreamCxIdleTimeout.Add(uint64(len(old) + len(old2)))
	for _, hc := range old {
		hc.retire()
	}
	for _, c := range old2 {
		c.retire()
	}
}

// Close implements io.Closer: the host has gone. What is under way ends in
// peace, what is idle is closed; a request that comes late is still served.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	idle, h2 := p.idle, slices.Clone(p.h2)
	p.idle = nil
	for _, c := range h2 {
		p.withdrawLocked(c)
	}
	if p.timer != nil {
		p.timer.Stop()
	}
	p.mu.Unlock()
	for _, hc := range idle {
		hc.retire()
	}
	for _, c := range h2 {
		c.retire()
	}
	return nil
}

// occupyLocked reserves a stream of c.
func (p *Pool) occupyLocked(c *h2Conn) {
	c.active++
	c.taken++
	if c.taken == c.maxStreams {
		p.cluster.Stats().UpstreamCxMaxRequests.Add(1)
		p.withdrawLocked(c)
	}
}

// withdrawLocked makes c take no new streams.
func (p *Pool) withdrawLocked(c *h2Conn) {
	c.withdrawn = true
	if i := slices.Index(p.h2, c); i >= 0 {
		p.h2 = slices.Delete(p.h2, i, i+1)
	}
}
