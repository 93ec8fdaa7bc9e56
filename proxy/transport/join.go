package transport

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/base/serial"
	"github.com/weftmesh/weft/base/stream"
)

// JoinEnd says why a Joint ended.
type JoinEnd uint8

// Ends of a Joint.
const (
	JoinFinished JoinEnd = iota // both sides have ended their half
	JoinIdle                    // nothing moved for JoinOptions.Idle
	JoinStopped                 // Stop
	JoinFailedA                 // a was reset or could not be written
	JoinFailedB                 // b was
)

// JoinOptions of Join.
type JoinOptions struct {
	// Idle ends the Joint when no byte moved for so long; 0: never. It is
	// noticed up to a quarter later.
	Idle time.Duration
	// First are bytes already read from a; they go to b before all others. Not
	// kept after Join returns.
	First []byte
	// Done is called once, when both connections are closed: from a foreign
	// goroutine, or before Join has returned.
	Done func(JoinEnd)
}

// Joint is two connections coupled to each other.
type Joint struct {
	a, b       stream.Conn
	done       func(JoinEnd)
	fromA      atomic.Uint64
	fromB      atomic.Uint64
	idle       time.Duration
	cancel     func(JoinEnd) // ends whichever path is at work
	seen       uint64        // by the timer: bytes at the last look
	quiet      int           // by the timer: looks without a change
	timer      atomic.Pointer[time.Timer]
	ended      atomic.Bool
	finishOnce sync.Once
}

// idleLooks is how often per idle timeout the counters are looked at: that
// costs nothing per byte.
const idleLooks = 4

// Join couples a and b, both unbound, until both have ended: what one sends
// goes to the other, a half-close too. Where both are plain sockets the bytes
// go through the kernel; else through the Conns, with their back-pressure. The
// Joint owns both connections. Not to be called inside of an executor.
func Join(a, b stream.Conn, o JoinOptions) *Joint {
	j := &Joint{a: a, b: b, done: o.Done, idle: o.Idle}
	ca, cb := socketConn(a), socketConn(b)
	var start func()
	if ca != nil && cb != nil {
		start = j.direct(ca, cb, o.First)
	} else {
		start = j.relay(o.First)
	}
	if o.Idle > 0 {
		t := time.AfterFunc(o.Idle/idleLooks, j.look)
		j.timer.Store(t)
		if j.ended.Load() {
			t.Stop()
		}
	}
	start()
	return j
}

// Bytes are the bytes that came from a and from b so far. Any goroutine.
func (j *Joint) Bytes() (fromA, fromB uint64) { return j.fromA.Load(), j.fromB.Load() }

// Stop closes both connections. Any goroutine.
func (j *Joint) Stop() { j.cancel(JoinStopped) }

func (j *Joint) look() {
	now := j.fromA.Load() + j.fromB.Load()
	if now != j.seen {
		j.seen, j.quiet = now, 0
	} else if j.quiet++; j.quiet >= idleLooks {
		j.cancel(JoinIdle)
		return
	}
	if t := j.timer.Load(); t != nil && !j.ended.Load() {
		t.Reset(j.idle / idleLooks)
	}
}

func (j *Joint) finish(end JoinEnd) {
	j.finishOnce.Do(func() {
		j.ended.Store(true)
		if t := j.timer.Load(); t != nil {
			t.Stop()
		}
		if j.done != nil {
			j.done(end)
		}
	})
}

// relay couples through the Conns, on one executor.
func (j *Joint) relay(first []byte) func() {
	r := &relay{j: j, ex: executorOf(j.a, j.b)}
	r.a = relaySide{r: r, self: j.a, peer: j.b, other: &r.b, n: &j.fromA, fail: JoinFailedA}
	r.b = relaySide{r: r, self: j.b, peer: j.a, other: &r.a, n: &j.fromB, fail: JoinFailedB}
	j.cancel = func(end JoinEnd) {
		r.ex.Post(serial.Func(func() { r.close(end) }))
	}
	r.ex.Enter()
	if len(first) > 0 {
		j.fromA.Add(uint64(len(first)))
		j.b.Write(first)
		j.b.Flush()
	}
	return func() {
		j.a.Bind(r.ex, &r.a)
		j.b.Bind(r.ex, &r.b)
		r.ex.Leave()
	}
}

// executorOf is that of the connection which has one that it cannot leave (a
// tunnel), or a new one.
func executorOf(a, b stream.Conn) *serial.Executor {
	for _, c := range [...]stream.Conn{a, b} {
		if own, ok := c.(interface{ Executor() *serial.Executor }); ok {
			return own.Executor()
		}
	}
	return &serial.Executor{}
}

// relay is the state of a Joint through the Conns. It lives inside ex.
type relay struct {
	j       *Joint
	ex      *serial.Executor
	a, b    relaySide
	end     JoinEnd
	closing bool
}

// close ends both sides; the first reason counts.
func (r *relay) close(end JoinEnd) {
	if r.closing {
		return
	}
	r.closing, r.end = true, end
	r.a.self.Close()
	r.b.self.Close()
}

// relaySide handles one connection: what comes from self goes to peer.
type relaySide struct {
	r          *relay
	self, peer stream.Conn
	other      *relaySide
	n          *atomic.Uint64
	fail       JoinEnd
	ended      bool
	closed     bool
}

// OnData implements stream.Handler.
func (s *relaySide) OnData(b []byte) {
	s.n.Add(uint64(len(b)))
	s.peer.Write(b)
	s.peer.Flush()
	if s.peer.Buffered() > stream.HighWater {
		s.self.SetReading(false)
	}
}

// OnEnd implements stream.Handler.
func (s *relaySide) OnEnd() {
	s.ended = true
	s.peer.CloseWrite()
	if s.other.ended {
		s.r.close(JoinFinished)
	}
}

// OnDrain implements stream.Handler.
func (s *relaySide) OnDrain() { s.peer.SetReading(true) }

// OnClose implements stream.Handler.
func (s *relaySide) OnClose(error) {
	s.closed = true
	s.r.close(s.fail)
	if s.other.closed {
		s.r.j.finish(s.r.end)
	}
}
