package transport

import (
	"io"
	"testing"
	"time"

	"github.com/weftmesh/weft/base/serial"
	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/test/numbered"
)

func init() { boundPasses = func(c stream.Conn) { c.(*lconn).schedule(evLate) } }

// onLoop serves the host's side of a TCP connection on an event loop.
func onLoop(t *testing.T) (*lconn, io.ReadWriteCloser) {
	t.Helper()
	host, peer := tcpPair(t)
	c, ok := Serve(host, Options{}).(*lconn)
	if !ok {
		t.Fatal("not on a loop")
	}
	return c, peer
}

// TestDrainOfWhatIsWrittenAgain: between the output's going out and OnDrain somebody
// writes more than before. OnDrain is due when that has gone too, and not forgotten.
func TestDrainOfWhatIsWrittenAgain(t *testing.T) {
	c, peer := onLoop(t)
	h := newHandler(t)
	drained := make(chan int, 8)
	h.drain = func() { drained <- c.Buffered() }
	ex := new(serial.Executor)
	c.Bind(ex, h)
	data := noise(24 << 20)
	within(ex, func() {
		c.Write(data)
		c.Flush()
		go func() { _, _ = io.CopyN(io.Discard, peer, int64(len(data))) }()
		// Events wait while we are inside.
		for end := time.Now().Add(patience); c.Buffered() > 0 && time.Now().Before(end); {
			c.full = false
			c.Flush()
		}
		if !c.above || c.events.Load()&evDrain == 0 {
			t.Fatal("OnDrain is not due")
		}
		c.Write(data)
		c.Flush()
	})
	go func() { _, _ = io.Copy(io.Discard, peer) }()
	select {
	case n := <-drained:
		if n >= c.opts.low() {
			t.Errorf("OnDrain with %d bytes buffered", n)
		}
	case <-time.After(patience):
		t.Error("OnDrain does not come")
	}
	within(ex, c.Abort)
	h.waitClose()
	if n := len(drained); n != 0 {
		t.Errorf("OnDrain came %d times more", n)
	}
}

// TestHintsBeforeRegistration: a late event of a descriptor's owner before may come while
// its new owner is being registered, from outside of its executor. Nothing is done about
// it until that is complete, for it could end in the descriptor's being closed.
func TestHintsBeforeRegistration(t *testing.T) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			for fd := range 100 {
				if c := byFD.load(fd); c != nil {
					c.schedule(evRead | evEnd)
				}
			}
		}
	}()
	for range 200 {
		c, peer := onLoop(t)
		h := newHandler(t)
		h.end = c.Abort
		_ = peer.Close()
		c.Bind(new(serial.Executor), h)
		h.waitClose()
		if n := c.loop.n.Load(); n < 0 {
			t.Fatalf("the loop counts %d connections", n)
		}
	}
	close(stop)
	<-stopped
}

// TestOutputOfASlowReader: what waits for a reader that is always a little behind needs no more
// memory than what waits, however much has passed; and all of it comes.
func TestOutputOfASlowReader(t *testing.T) {
	const size = 32 << 20
	host, peer := tcpPair(t)
	narrowed(peer)
	_ = host.SetWriteBuffer(16 << 10) // so that never all goes out at once
	c := Serve(host, Options{}).(*lconn)
	h := newHandler(t)
	src := &numbered.Reader{Stream: 1, Size: size}
	p := make([]byte, 32<<10)
	most := 0
	fill := func() {
		for c.Buffered() <= stream.HighWater {
			n, err := src.Read(p)
			if err != nil {
				c.CloseWrite()
				return
			}
			c.Write(p[:n])
			c.Flush()
			if c.out != nil {
				most = max(most, cap(c.out.b))
			}
		}
	}
	h.drain = fill
	ex := new(serial.Executor)
	c.Bind(ex, h)
	within(ex, fill)
	if err := numbered.Receive(peer, 1, size, false); err != nil {
		t.Error(err)
	}
	within(ex, func() {
		if most > 4*stream.HighWater {
			t.Errorf("%d KiB of memory for %d KiB that wait at most", most>>10, stream.HighWater>>10)
		}
		c.Abort()
	})
	h.waitClose()
}
