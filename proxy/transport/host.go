package transport

import (
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weftmesh/weft/base/serial"
	"github.com/weftmesh/weft/base/stream"
)

// Options of Serve.
type Options struct {
	// Linger is how long Close goes on to read and discard after it has sent
	// everything. Without it the kernel answers data that arrives late with a
	// reset, which can destroy the last response on its way. Use it for
	// accepted connections.
	Linger time.Duration
	// Sent, when set, is called once, when the connection is closed and what was written
	// has been taken by the peer's side, or will not be.
	Sent func()
	// Closed, when set, is called once, when the socket has gone.
	Closed func()
	// Goroutine serves the connection by a goroutine of its own also where there
	// are event loops.
	Goroutine bool
	// High is the high water mark of output in bytes, the low one is a fourth of it;
	// 0, and more than that: stream.HighWater. A producer may pause later, by a mark of its own, but
	// one that goes by stream.HighWater must be told to go on.
	High int
}

func (o *Options) high() int {
	if o.High > 0 {
		return min(o.High, stream.HighWater)
	}
	return stream.HighWater
}

// low is the low water mark.
func (o *Options) low() int { return max(o.high()/4, 1) }

// Close waits for a peer that takes none of the output for closeBound, and closeMost in all: what
// is left by then is lost, and a slow peer is to have its answer whole.
const (
	closeBound = 2 * time.Second
	closeMost  = time.Minute
)

// conn is a stream.Conn on a goroutine per connection.
//
// The reader goroutine lives from the first Bind to the end: it alone calls
// OnData, OnEnd and OnClose. Writes go to the socket directly at Flush; what it
// does not take is left to a writer goroutine that lives only while there is a
// remainder.
type conn struct {
	// Set at construction.
	nc    net.Conn
	raw   syscall.RawConn // nil: nc has no descriptor, and reads and writes block
	tls   *tls.Conn       // nil: plain
	input tlsInput        // the reader's
	cs    *tls.ConnectionState
	opts  Options
	// readFn and writeFn are method values, kept so that no call makes one.
	readFn, writeFn func(fd uintptr) bool

	// ex is where the handler runs; h is touched inside only.
	ex      atomic.Pointer[serial.Executor]
	h       stream.Handler
	started bool
	// plain is output before encryption, noPlain that the encrypted stream has
	// ended; the owner's.
	plain   *buffer
	noPlain bool

	// The reader's.
	rbuf   *buffer
	rerr   error
	rfd    int
	size   int
	sawEnd bool

	// stop is paused || closing || werr != nil: a look before mu.
	stop atomic.Bool
	mu   sync.Mutex
	cond sync.Cond // on mu: reading resumed, closing, output gone
	// Guarded by mu.
	out      *buffer // output; out.b[off:] is to be sent
	off      int
	inflight int   // bytes that the writer goroutine has taken
	writing  bool  // there is a writer goroutine
	werr     error // writing has failed
	above    bool  // output has passed HighWater and OnDrain is due
	drainDue bool  // unlock has to post OnDrain
	endWrite bool  // half-close when the output is gone
	endSent  bool
	paused   bool
	closing  bool // the owner has closed
	aborted  bool
	took     int       // by the peer, since the bound on writing was set
	giveUp   time.Time // on the peer's taking the output after Close
	drainAt  *serial.Executor
}

// Serve makes a stream.Conn of a connected socket: *net.TCPConn, *net.UnixConn
// or what ServerTLS and ClientTLS return. Where there are event loops it is served by
// one of them, else by a goroutine. Anything else than a socket works too, with a
// read buffer held all the time and writes on a goroutine. The Conn owns nc.
func Serve(nc net.Conn, opts Options) stream.Conn {
	if !opts.Goroutine {
		if c := serveOnLoop(nc, opts); c != nil {
			return c
		}
	}
	return newConn(nc, opts)
}

// CloseHard closes a socket with a reset. Any goroutine.
func CloseHard(nc net.Conn) {
	if l, ok := nc.(interface{ SetLinger(int) error }); ok {
		_ = l.SetLinger(0)
	}
	_ = nc.SetDeadline(time.Unix(1, 0))
	nc.Close()
}

func newConn(nc net.Conn, opts Options) *conn {
	c := &conn{nc: nc, opts: opts, size: size16K}
	c.cond.L = &c.mu
	var side *cipherSide
	switch t := nc.(type) {
	case *tlsConn:
		c.tls, side, c.nc = t.Conn, t.in, t.in.Conn
	case interface{ ConnectionState() tls.ConnectionState }:
		cs := t.ConnectionState() // TLS of somebody else's making
		c.cs = &cs
	}
	if c.tls != nil {
		cs := c.tls.ConnectionState()
		c.cs = &cs
	}
	if sc, ok := c.nc.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			c.raw = raw
		}
	}
	c.readFn, c.writeFn = c.readable, c.writable
	if side != nil {
		side.host = c
		c.input = newTLSInput(c.tls)
	}
	return c
}

// Bind implements stream.Conn.
func (c *conn) Bind(ex *serial.Executor, h stream.Handler) {
	c.h = h
	c.ex.Store(ex)
	if !c.started {
		c.started = true
		go c.readLoop()
	}
}

// enter goes into the executor that the connection is bound to.
func (c *conn) enter() *serial.Executor {
	for {
		ex := c.ex.Load()
		ex.Enter()
		if c.ex.Load() == ex {
			return ex
		}
		ex.Leave() // it has moved meanwhile
	}
}

// SetReading implements stream.Conn.
func (c *conn) SetReading(on bool) {
	c.mu.Lock()
	if c.paused == on {
		c.paused = !on
		c.stop.Store(c.paused || c.closing || c.werr != nil)
		if on {
			c.cond.Broadcast()
		}
	}
	c.mu.Unlock()
}

// SetLinger replaces Options.Linger. Before the first Bind only.
func (c *conn) SetLinger(d time.Duration) { c.opts.Linger = d }

// LocalAddr implements stream.Conn.
func (c *conn) LocalAddr() netip.AddrPort { return addrPort(c.nc.LocalAddr()) }

// RemoteAddr implements stream.Conn.
func (c *conn) RemoteAddr() netip.AddrPort { return addrPort(c.nc.RemoteAddr()) }

// TLS implements stream.Conn.
func (c *conn) TLS() *tls.ConnectionState { return c.cs }

// addrPort is the zero value for addresses without a port.
func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

// Close implements stream.Conn.
func (c *conn) Close() {
	c.endPlain()
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		return
	}
	c.closing = true
	c.stop.Store(true)
	c.flushLocked()
	if c.writing {
		c.boundWriteLocked()
	}
	c.cond.Broadcast()
	c.mu.Unlock()
	c.kick()
}

// Abort implements stream.Conn.
func (c *conn) Abort() {
	c.mu.Lock()
	if c.aborted {
		c.mu.Unlock()
		return
	}
	c.closing, c.aborted = true, true
	c.stop.Store(true)
	c.cond.Broadcast()
	c.mu.Unlock()
	if l, ok := c.nc.(interface{ SetLinger(int) error }); ok {
		_ = l.SetLinger(0)
	}
	c.nc.Close()
	c.kick()
}

// kick makes the reader goroutine look at the state; without one it finishes
// the connection here.
func (c *conn) kick() {
	if c.started {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0))
		return
	}
	c.started = true
	go c.settle() // may have to wait for the output
}

// finish reports the end and ends the socket. Reader goroutine.
func (c *conn) finish(err error) {
	ex := c.enter()
	c.mu.Lock()
	byOwner := c.closing
	if byOwner {
		err = nil
	} else if c.werr != nil {
		err = c.werr
	}
	c.closing = true
	c.stop.Store(true)
	c.mu.Unlock()
	if c.plain != nil {
		c.plain.free()
		c.plain = nil
	}
	c.input.drop()
	c.h.OnClose(err)
	ex.Leave()
	if !byOwner {
		c.mu.Lock()
		c.aborted = true // nothing more can be sent
		c.mu.Unlock()
		c.nc.Close()
	}
	c.settle()
}

// settle waits until the output is gone and closes the socket.
func (c *conn) settle() {
	c.mu.Lock()
	for c.writing && !c.aborted {
		c.cond.Wait()
	}
	graceful := !c.aborted && c.werr == nil && c.opts.Linger > 0 && !c.sawEnd
	c.mu.Unlock()
	c.opts.sent()
	if graceful {
		c.linger()
	}
	c.nc.Close()
	if c.opts.Closed != nil {
		c.opts.Closed()
	}
	c.mu.Lock()
	c.aborted = true
	if c.out != nil {
		c.out.free()
		c.out = nil
	}
	c.mu.Unlock()
}

// linger tells the peer that nothing more comes and discards what it still
// sends, until it closes too or the time is over.
func (c *conn) linger() {
	w, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || w.CloseWrite() != nil {
		return
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(c.opts.Linger))
	b := getBuffer(size4K)
	defer b.free()
	for {
		if _, err := c.nc.Read(b.b[:cap(b.b)]); err != nil {
			return
		}
	}
}

// Cut ends the connection under its owner, who sees an error. Any goroutine.
func (c *conn) Cut() { CloseHard(c.nc) }

// blocks implements cipherHost.
func (c *conn) blocks() bool { return c.raw == nil }

// Send implements stream.Conn.
func (c *conn) Send(p, q []byte) {
	c.Write(p)
	c.Write(q)
	c.Flush()
}

// FlushSoon implements stream.Conn.
func (c *conn) FlushSoon() { c.Flush() }

// sent tells that there is nothing more to send.
func (o *Options) sent() {
	if f := o.Sent; f != nil {
		o.Sent = nil
		f()
	}
}
