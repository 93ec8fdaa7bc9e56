package transport

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/base/serial"
	"github.com/weftmesh/weft/base/stream"
)

// lconn is a stream.Conn on an event loop.
//
// Everything but schedule and Cut happens inside the executor that it is bound
// to: events are posted there, so no lock is needed, and it does not matter
// which goroutine brings them. Until the first Bind the socket stays a net.Conn.
type lconn struct {
	// Set at construction.
	loop          *loop
	tls           *tls.Conn // nil: plain
	input         tlsInput
	cs            *tls.ConnectionState
	opts          Options
	local, remote netip.AddrPort

	mu sync.Mutex
	// Guarded by mu: who owns the socket.
	nc net.Conn // until bound

	isBound bool // there was a Bind
	ex      atomic.Pointer[serial.Executor]
	// events is what has happened and was not handled yet; with evPosted a task
	// is under way.
	events atomic.Uint32
	posted *serial.Executor // where the task was posted to; of whoever set evPosted

	// Inside the executor.
	fd      int // -1: closed
	h       stream.Handler
	out     *buffer // output; out.b[off:] is to be sent
	off     int
	plain   *buffer // output before encryption
	size    int     // of the next read
	small   uint8   // small reads in a row
	werr    error   // writing has failed
	noPlain bool    // the encrypted stream has ended
	full    bool    // the socket takes no more for now
	above   bool    // output has passed HighWater, OnDrain is due
	late    bool    // to be flushed at the end of the batch
	paused  bool
	unread  bool // there may be more to read
	// dry: nothing to read before the next event. A read that was not full has
	// emptied the socket, unless the peer's end is behind it (hup).
	dry, hup bool
	ended    bool // the peer's end has been seen
	told     bool // and told
	halve    bool // half-close when the output is gone
	halved   bool
	closing  bool // the owner has closed
	aborted  bool
	closed   bool // OnClose has been called
	timer    *time.Timer
	left     int             // output, here and in the socket, when timer was set
	giveUp   time.Time       // on the peer's taking it
	own      serial.Executor // after OnClose
}

// Events of a connection.
const (
	evRead  uint32 = 1 << iota // there may be something to read
	evWrite                    // the socket takes output again
	evEnd                      // the peer has ended, or an error is there
	evFlush                    // the end of a batch
	evDrain                    // OnDrain is due
	evClose                    // the owner has closed
	evCut                      // Cut
	evLate                     // a bound has passed
	evPosted
)

var errCut = errors.New("cut off")

// loopable tells whether nc is a socket that a loop can take over.
func loopable(nc net.Conn) bool {
	switch t := nc.(type) {
	case *net.TCPConn, *net.UnixConn:
		return true
	case *tlsConn:
		return loopable(t.in.Conn)
	}
	return false
}

func newLoopConn(nc net.Conn, l *loop, opts Options) *lconn {
	c := &lconn{loop: l, opts: opts, fd: -1, size: size16K, nc: nc, local: addrPort(nc.LocalAddr()), remote: addrPort(nc.RemoteAddr())}
	if t, ok := nc.(*tlsConn); ok {
		c.tls, c.nc = t.Conn, t.in.Conn
		cs := t.ConnectionState()
		c.cs = &cs
		t.in.host = c
		c.input = newTLSInput(t.Conn)
	}
	return c
}

// Bind implements stream.Conn.
func (c *lconn) Bind(ex *serial.Executor, h stream.Handler) {
	c.h = h
	c.ex.Store(ex)
	if c.isBound {
		return
	}
	c.isBound = true
	// Events wait until the registration is complete, for the caller need not be inside
	// of ex, and the loop's goroutine might close the descriptor under it.
	c.events.Or(evPosted)
	if err := c.attach(); err != nil {
		c.werr = err
	}
	// What came with the handshake waits in crypto/tls, without an event.
	c.events.Or(evRead)
	c.post()
}

// attach takes the socket over from the runtime's poller.
func (c *lconn) attach() error {
	c.mu.Lock()
	nc := c.nc
	c.nc = nil
	c.mu.Unlock()
	raw, err := nc.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) { c.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); e != nil {
		err = e
	}
	nc.Close()
	if err != nil {
		c.fd = -1
		return os.NewSyscallError("dup", err)
	}
	if err = c.loop.attach(c); err != nil {
		unix.Close(c.fd)
		c.fd = -1
	}
	return err
}

// schedule notes events and has them handled inside the executor. Any goroutine.
func (c *lconn) schedule(bits uint32) {
	if c.events.Or(bits|evPosted)&evPosted == 0 {
		c.post()
	}
}

// post is called by whoever has set evPosted.
func (c *lconn) post() {
	ex := c.ex.Load()
	c.posted = ex
	ex.Post((*eventTask)(c))
}

// eventTask is the connection as a task that handles its events.
type eventTask lconn

// Run implements serial.Task.
func (t *eventTask) Run() {
	c := (*lconn)(t)
	if ex := c.ex.Load(); ex != c.posted { // it has moved meanwhile
		c.posted = ex
		ex.Post(t)
		return
	}
	ex := c.posted
	c.handle(c.events.Swap(0), ex)
}

// handle does what events ask for. Any of its calls to the handler may move the
// connection: then what is left is scheduled anew.
func (c *lconn) handle(ev uint32, ex *serial.Executor) {
	if ev&(evRead|evEnd) != 0 {
		c.dry = false
		c.hup = c.hup || ev&evEnd != 0
	}
	if c.closed {
		c.afterClose(ev)
		return
	}
	if ev&evCut != 0 && !c.closing {
		c.werr = errCut
		c.reset()
	}
	if ev&(evWrite|evFlush) != 0 && !c.aborted {
		c.full = c.full && ev&evWrite == 0
		c.late = false
		c.Flush()
	}
	// Somebody may have written again meanwhile: then OnDrain is due when that has gone.
	if ev&evDrain != 0 && c.above && !c.closing && c.Buffered() < c.opts.low() {
		c.above = false
		c.h.OnDrain()
		if c.ex.Load() != ex {
			c.schedule(ev &^ (evDrain | evWrite | evFlush | evPosted))
			return
		}
	}
	if c.closing || c.aborted {
		c.finish(c.werr)
		return
	}
	if ev&(evRead|evEnd) != 0 {
		c.read(ev, ex)
	}
}

// finish is the end, for the handler.
func (c *lconn) finish(err error) {
	if c.closing {
		err = nil
	}
	c.closed = true
	if c.plain != nil {
		c.plain.free()
		c.plain = nil
	}
	c.input.drop()
	byOwner := c.closing
	c.closing = true
	h := c.h
	c.h = nil
	h.OnClose(err)
	// The handler's executor is not ours any more.
	c.own.TryEnter()
	c.ex.Store(&c.own)
	if !byOwner || c.werr != nil || c.aborted {
		c.release()
	} else {
		c.afterClose(0)
	}
	c.own.Leave()
}

// afterClose sends what is left, tells the peer, and waits a little for its end, so
// that data that arrives late is not answered with a reset.
func (c *lconn) afterClose(ev uint32) {
	if c.fd < 0 {
		c.release()
		return
	}
	if ev&evWrite != 0 {
		c.full = false
	}
	if ev&evCut != 0 || ev&evLate != 0 && !c.keepsOn() {
		c.release()
		return
	}
	c.push()
	switch {
	case c.werr != nil || c.aborted:
		c.release()
	case c.out != nil:
		c.awaitTaking()
	case c.opts.Linger <= 0 || c.ended:
		c.release()
	default:
		c.linger()
	}
}

// awaitTaking waits until the peer takes the output, within the bounds of Close.
func (c *lconn) awaitTaking() {
	if c.timer == nil {
		if c.giveUp.IsZero() {
			c.giveUp = time.Now().Add(closeMost)
		}
		c.left = len(c.out.b) - c.off + unsent(c.fd)
		c.bound(closeBound)
	}
}

// keepsOn tells whether the peer has taken output since awaitTaking, and may have more time.
func (c *lconn) keepsOn() bool {
	if c.out == nil || len(c.out.b)-c.off+unsent(c.fd) >= c.left || time.Now().After(c.giveUp) {
		return false
	}
	c.timer.Stop()
	c.timer = nil
	return true
}

// linger discards what the peer still sends.
func (c *lconn) linger() {
	if !c.halved {
		c.halved = true
		c.opts.sent()
		if unix.Shutdown(c.fd, unix.SHUT_WR) != nil {
			c.release()
			return
		}
		if c.timer != nil {
			c.timer.Stop()
			c.timer = nil
		}
		c.bound(c.opts.Linger)
	}
	b := getBuffer(size4K)
	defer b.free()
	for range turns {
		_, err := c.readNow(b.b[:cap(b.b)])
		if err == errAgain {
			return
		}
		if err != nil {
			c.release()
			return
		}
	}
	c.loop.send(c, evRead)
}

// bound ends the wait for the peer after d.
func (c *lconn) bound(d time.Duration) {
	if c.timer == nil {
		c.timer = time.AfterFunc(d, func() { c.schedule(evLate) })
	}
}

// release closes the socket.
func (c *lconn) release() {
	if c.out != nil {
		c.out.free()
		c.out = nil
	}
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	c.closeFD()
	c.opts.sent()
	if f := c.opts.Closed; f != nil {
		c.opts.Closed = nil
		f()
	}
}

func (c *lconn) closeFD() {
	if c.fd >= 0 {
		fd := c.fd
		c.loop.detach(c)
		c.fd = -1
		unix.Close(fd)
	}
}

// Close implements stream.Conn.
func (c *lconn) Close() {
	if c.closing {
		return
	}
	c.endPlain()
	c.closing = true
	if !c.isBound {
		c.closeUnbound(false)
		return
	}
	c.push()
	c.schedule(evClose)
}

// closeUnbound closes a connection that has no handler.
func (c *lconn) closeUnbound(hard bool) {
	c.mu.Lock()
	nc := c.nc
	c.nc = nil
	c.mu.Unlock()
	if nc == nil {
		return
	}
	if hard {
		CloseHard(nc)
	} else if c.out != nil {
		_ = nc.SetWriteDeadline(time.Now().Add(closeBound))
		_, _ = nc.Write(c.out.b)
	}
	c.dropOut()
	nc.Close()
	c.opts.sent()
	if c.opts.Closed != nil {
		c.opts.Closed()
	}
}

// Abort implements stream.Conn.
func (c *lconn) Abort() {
	if c.aborted {
		return
	}
	c.closing = true
	if !c.isBound {
		c.aborted = true
		c.closeUnbound(true)
		return
	}
	c.reset()
	c.schedule(evClose)
}

// reset closes the socket at once, with a reset where it has one.
func (c *lconn) reset() {
	c.aborted = true
	c.dropOut()
	if c.fd >= 0 {
		_ = unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		c.closeFD()
	}
}

// Cut ends the connection under its owner, who sees an error. Any goroutine.
func (c *lconn) Cut() {
	c.mu.Lock()
	nc := c.nc
	c.mu.Unlock()
	if nc != nil {
		CloseHard(nc)
		return
	}
	if c.ex.Load() != nil { // else it was closed before anybody had it
		c.loop.send(c, evCut)
	}
}

// SetLinger replaces Options.Linger. Before the first Bind only.
func (c *lconn) SetLinger(d time.Duration) { c.opts.Linger = d }

// LocalAddr implements stream.Conn.
func (c *lconn) LocalAddr() netip.AddrPort { return c.local }

// RemoteAddr implements stream.Conn.
func (c *lconn) RemoteAddr() netip.AddrPort { return c.remote }

// TLS implements stream.Conn.
func (c *lconn) TLS() *tls.ConnectionState { return c.cs }

// blocks implements cipherHost.
func (c *lconn) blocks() bool { return false }

// serveOnLoop serves a socket; nil: nc is none, or there can be no loops.
func serveOnLoop(nc net.Conn, opts Options) stream.Conn {
	if !loopable(nc) {
		return nil
	}
	l, err := pickLoop()
	if err != nil {
		return nil
	}
	return newLoopConn(nc, l, opts)
}

// socketConn returns the connection as one that Join may couple in the kernel; nil:
// it is not a plain socket, or in use.
func socketConn(c stream.Conn) *conn {
	switch c := c.(type) {
	case *conn:
		if c.canCopy() {
			return c
		}
	case *lconn:
		if c.tls == nil && !c.isBound && !c.closing && c.out == nil {
			return newConn(c.nc, c.opts)
		}
	}
	return nil
}
