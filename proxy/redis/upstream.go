package redis

import (
	"errors"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/redis/resp"
	"github.com/weftmesh/weft/proxy/transport"
)

// connKey tells connections to one server apart: what has been said on them at the beginning.
type connKey struct {
	proto  uint8 // 2 or 3
	db     uint16
	replic bool // READONLY was sent
	// user and password are the client's own, where neither the proxy nor the cluster has any.
	user, password string
}

// hostPool are the connections to one host, by worker: each is touched inside that worker only.
type hostPool struct {
	engine *Engine
	host   *cluster.Host
	lanes  []lane
}

type lane struct {
	shared map[connKey]*upConn
	idle   []*upConn // that had been somebody's own, the newest last
	gone   bool
}

// keepIdle bounds the connections that wait for the next who needs one of its own.
const keepIdle = 16

// poolOf is the pool of a host.
func (e *Engine) poolOf(h *cluster.Host) *hostPool {
	if p, ok := h.Attached(e).(*hostPool); ok {
		return p
	}
	return h.Attach(e, func() io.Closer { return &hostPool{engine: e, host: h, lanes: make([]lane, e.most)} }).(*hostPool)
}

// Close lets connections end when what is under way has ended.
func (p *hostPool) Close() error {
	for _, w := range *p.engine.all.Load() {
		w.do(func() {
			l := &p.lanes[w.index]
			l.gone = true
			for key, u := range l.shared {
				delete(l.shared, key)
				u.retire()
			}
			for _, u := range l.idle {
				u.retire()
			}
			l.idle = nil
		})
	}
	return nil
}

// get is the worker's shared connection to the host. It is made if there is none; nil: the circuit breaker says no.
func (p *hostPool) get(w *worker, key connKey) *upConn {
	l := &p.lanes[w.index]
	if u := l.shared[key]; u != nil {
		return u
	}
	u := p.open(w, key)
	if u != nil && !l.gone {
		if l.shared == nil {
			l.shared = map[connKey]*upConn{}
		}
		l.shared[key] = u
	}
	if u != nil && l.gone {
		u.retired = true
	}
	return u
}

// own is a connection that nobody else uses.
func (p *hostPool) own(w *worker, key connKey) *upConn {
	l := &p.lanes[w.index]
	for i := len(l.idle) - 1; i >= 0; i-- {
		if u := l.idle[i]; u.key == key {
			l.idle = slices.Delete(l.idle, i, i+1)
			return u
		}
	}
	u := p.open(w, key)
	if u != nil {
		u.single = true
	}
	return u
}

// giveBack takes back what own gave, in the state in which it was.
func (p *hostPool) giveBack(u *upConn) {
	l := &p.lanes[u.w.index]
	u.owner, u.timeout = nil, 0
	switch {
	case u.closed:
	case l.gone || u.pending() > 0 || len(l.idle) >= keepIdle:
		u.retire()
	default:
		l.idle = append(l.idle, u)
	}
}

// pending is what an answer is waited for.
type pending struct {
	r    *request // nil: the answer is nobody's
	part int32
	kind pendingKind
}

type pendingKind uint8

const (
	forRequest pendingKind = iota
	forMirror              // dropped
	forSetup               // must not be an error
	forNobody              // dropped, nothing is counted
)

// upConn is a connection to a server.
type upConn struct {
	w      *worker
	pool   *hostPool
	limits *cluster.Limits
	key    connKey
	single bool // never shared

	// Inside the worker.
	conn    stream.Conn // nil: it is being made
	cancel  func()
	out     []byte // until then
	q       []pending
	head    int
	scan    resp.Scanner
	in      []byte // the beginning of an answer
	timeout time.Duration
	since   time.Duration // when so much of the worker's time had elapsed, the last answer came
	owner   *down         // whose own it is; it is told of the end
	relay   *down         // who gets all that comes
	paused  []*down
	retired bool
	closed  bool
	why     string // the error that the server gave when it was greeted
}

var _ stream.Handler = (*upConn)(nil)

// refusedLogin goes before what a server says to the first words of a connection.
const refusedLogin = "upstream refused the connection: "

var errOverflow = errors.New("circuit breaker: too many connections")

// open begins to connect; nil: the circuit breaker says no.
func (p *hostPool) open(w *worker, key connKey) *upConn {
	c := p.host.Cluster()
	u := &upConn{w: w, pool: p, key: key, limits: c.Limits(cluster.Default)}
	if !u.limits.AcquireConnection(p.host) {
		return nil
	}
	w.ups = append(w.ups, u)
	login := c.Spec().Redis
	if key.password != "" {
		login = &cluster.RedisLogin{User: key.user, Password: key.password}
	}
	u.greet(login)
	u.cancel = c.Dial(p.host, cluster.DialOptions{}, func(conn stream.Conn, err error) {
		if err == nil {
			transport.Near(conn, w.loop)
		}
		w.do(func() { u.dialled(conn, err) })
	})
	return u
}

// greet writes what has to be said first.
func (u *upConn) greet(login *cluster.RedisLogin) {
	say := func(words ...string) {
		u.out = resp.AppendCommand(u.out, words...)
		u.q = append(u.q, pending{kind: forSetup})
	}
	if login != nil && u.key.proto == 2 {
		if login.User != "" {
			say("AUTH", login.User, login.Password)
		} else {
			say("AUTH", login.Password)
		}
	}
	if u.key.proto == 3 {
		words := []string{"HELLO", "3"}
		if login != nil {
			user := login.User
			if user == "" {
				user = "default"
			}
			words = append(words, "AUTH", user, login.Password)
		}
		say(words...)
	}
	if u.key.db != 0 {
		say("SELECT", strconv.Itoa(int(u.key.db)))
	}
	if u.key.replic {
		say("READONLY")
		u.q[len(u.q)-1].kind = forNobody // one that is in no cluster refuses it
	}
}

func (u *upConn) dialled(conn stream.Conn, err error) {
	u.cancel = nil
	h := u.pool.host
	if err != nil {
		var de *cluster.DialError
		if errors.As(err, &de) && !de.Canceled {
			if de.Timeout {
				h.Report(cluster.ConnectTimedOut)
			} else {
				h.Report(cluster.ConnectFailed)
			}
		}
		u.end("upstream connection failed: " + err.Error())
		return
	}
	if u.closed { // given up meanwhile: the counts are those of a connection
		h.Disconnected(true, false)
		conn.Close()
		return
	}
	h.Report(cluster.Connected)
	u.conn = conn
	u.since = u.w.elapsed
	conn.Bind(&u.w.ex, u)
	conn.Write(u.out)
	u.out = nil
	conn.Flush()
	u.w.watch(u.timeout)
	if u.retired {
		u.retire()
	}
}

// pending is how many answers are owed.
func (u *upConn) pending() int { return len(u.q) - u.head }

// send sends a command.
func (u *upConn) send(p pending, raw []byte, timeout time.Duration) {
	if u.pending() == 0 {
		u.since = u.w.elapsed
	}
	u.q = append(u.q, p)
	if u.timeout = timeout; timeout > 0 && !u.w.armed {
		u.w.watch(timeout)
	}
	u.write(raw)
}

// write sends bytes at the end of the batch.
func (u *upConn) write(raw []byte) {
	if u.conn == nil {
		u.out = append(u.out, raw...)
		return
	}
	u.conn.Write(raw)
	u.conn.FlushSoon()
}

// full tells whether the server does not keep up; d goes on when it does.
func (u *upConn) full(d *down) bool {
	if u.conn == nil && len(u.out) < stream.HighWater || u.conn != nil && u.conn.Buffered() <= stream.HighWater {
		return false
	}
	if !slices.Contains(u.paused, d) {
		u.paused = append(u.paused, d)
		d.waits++
	}
	return true
}

func (u *upConn) unpause() {
	for i, d := range u.paused {
		u.paused[i] = nil
		d.waits--
		u.w.resume(d)
	}
	u.paused = u.paused[:0]
}

// OnData implements stream.Handler.
func (u *upConn) OnData(b []byte) {
	u.w.enter()
	defer u.w.leave()
	if len(u.in) > 0 {
		u.in = append(u.in, b...)
		b = u.in
	}
	n := 0
	for n < len(b) && !u.closed {
		size, err := u.scan.Scan(b[n:])
		if err != nil {
			u.pool.host.Cluster().Stats().UpstreamCxProtocolError.Add(1)
			u.end("upstream protocol error")
			return
		}
		if size == 0 {
			break
		}
		u.take(b[n : n+size])
		n += size
	}
	u.since = u.w.elapsed
	switch rest := b[n:]; {
	case len(rest) == 0 && cap(u.in) > 16*keepBuffer, u.closed:
		u.in = nil
	case len(u.in) > 0:
		u.in = u.in[:copy(u.in, rest)]
	default:
		u.in = append(u.in, rest...)
	}
	if u.retired && u.pending() == 0 && !u.closed {
		u.end("")
	}
}

// take is given a whole answer.
func (u *upConn) take(reply []byte) {
	if u.relay != nil && u.pending() == 0 {
		u.relay.relayed(reply)
		return
	}
	if u.key.proto == 3 && resp.IsPush(reply) {
		return // of a subscription that has ended
	}
	if u.pending() == 0 {
		u.pool.host.Cluster().Stats().UpstreamCxProtocolError.Add(1)
		u.end("upstream protocol error")
		return
	}
	p := u.q[u.head]
	u.q[u.head] = pending{}
	u.head++
	if u.head == len(u.q) {
		u.q, u.head = u.q[:0], 0
		if cap(u.q) > keepRequests {
			u.q = nil
		}
	} else if u.head >= 1024 && u.head*2 >= len(u.q) {
		u.q = u.q[:copy(u.q, u.q[u.head:])]
		u.head = 0
	}
	switch p.kind {
	case forSetup:
		if resp.IsError(reply) {
			u.why = string(resp.ErrorText(reply))
			u.end(refusedLogin + u.why)
		}
	case forMirror, forRequest:
		u.count(reply)
		if p.kind == forRequest {
			if d := p.r.d; d != nil && d.cfg.CommandStats {
				d.p.stats.upstream(u.pool.host.Cluster().StatName(), p.r.cmd).count(reply)
			}
			p.r.answered(u, int(p.part), reply)
		}
	case forNobody:
	}
}

// count counts the end of a command.
func (u *upConn) count(reply []byte) {
	u.limits.Release(cluster.Requests)
	u.pool.host.End(!resp.IsError(reply))
}

// timedOut ends a connection whose server has not answered in time.
func (u *upConn) timedOut() {
	u.pool.host.Report(cluster.RequestTimedOut)
	u.pool.host.Cluster().Stats().UpstreamRqTimeout.Add(1)
	u.end("upstream timeout")
}

// retire ends the connection when nothing is under way.
func (u *upConn) retire() {
	u.retired = true
	if u.pending() == 0 && u.relay == nil && !u.closed {
		u.end("")
	}
}

// end closes the connection; what is under way is answered with that error.
func (u *upConn) end(why string) {
	if u.closed {
		return
	}
	u.closed = true
	busy := u.pending() > 0
	if u.conn != nil {
		u.pool.host.Disconnected(true, busy)
		u.conn.Close()
	}
	u.leave(why)
}

// leave takes a closed connection out of the accounts.
func (u *upConn) leave(why string) {
	w := u.w
	if u.cancel != nil {
		u.cancel()
	}
	u.limits.Release(cluster.Connections)
	l := &u.pool.lanes[w.index]
	if l.shared[u.key] == u {
		delete(l.shared, u.key)
	}
	if i := slices.Index(l.idle, u); i >= 0 {
		l.idle = slices.Delete(l.idle, i, i+1)
	}
	if i := slices.Index(w.ups, u); i >= 0 {
		w.ups[i] = w.ups[len(w.ups)-1]
		w.ups = w.ups[:len(w.ups)-1]
	}
	u.unpause()
	if t := topologyOf(u.pool.host.Cluster()); t != nil && why != "" {
		t.failed()
	}
	for _, p := range u.q[u.head:] {
		switch p.kind {
		case forRequest, forMirror:
			u.limits.Release(cluster.Requests)
			u.pool.host.End(false)
			if p.kind == forRequest {
				p.r.lost(int(p.part), why, u.single)
			}
		case forSetup, forNobody:
		}
	}
	u.q, u.head, u.in, u.out = nil, 0, nil, nil
	owner, relay := u.owner, u.relay
	u.owner, u.relay = nil, nil
	if owner != nil {
		owner.lostOwn(u)
	}
	if relay != nil {
		relay.lostRelay(u)
	}
}

// OnEnd implements stream.Handler.
func (u *upConn) OnEnd() {
	u.w.enter()
	u.lost()
	u.w.leave()
}

// lost: the server has closed.
func (u *upConn) lost() {
	if u.closed {
		return
	}
	u.closed = true
	busy := u.pending() > 0
	u.pool.host.Disconnected(false, busy)
	if busy {
		u.pool.host.Report(cluster.RemoteReset)
	}
	u.conn.Close()
	u.leave("upstream closed the connection")
}

// OnDrain implements stream.Handler.
func (u *upConn) OnDrain() {
	u.w.enter()
	u.unpause()
	u.w.leave()
}

// OnClose implements stream.Handler.
func (u *upConn) OnClose(error) {
	u.w.enter()
	u.lost()
	u.w.leave()
}
