package transport

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/weftmesh/weft/base/serial"
)

// Write implements stream.Conn.
func (c *conn) Write(p []byte) {
	if len(p) == 0 {
		return // an empty buffer would look like a socket that takes nothing
	}
	if c.tls != nil {
		// Encrypted at Flush, so that small pieces share a record.
		if !c.noPlain {
			c.plain = appendTo(c.plain, p)
		}
		return
	}
	c.appendCipher(p)
}

// appendCipher appends to what goes out on the socket.
func (c *conn) appendCipher(p []byte) {
	c.mu.Lock()
	if c.werr == nil && !c.aborted && !c.endWrite {
		c.out = appendTo(c.out, p)
		if !c.above && c.bufferedLocked() > c.opts.high() {
			c.above = true
		}
	}
	c.mu.Unlock()
}

// Buffered implements stream.Conn.
func (c *conn) Buffered() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.bufferedLocked()
	if c.plain != nil {
		n += len(c.plain.b)
	}
	return n
}

func (c *conn) bufferedLocked() int {
	n := c.inflight
	if c.out != nil {
		n += len(c.out.b) - c.off
	}
	return n
}

// Flush implements stream.Conn.
func (c *conn) Flush() {
	if c.tls != nil {
		c.encrypt()
	}
	c.mu.Lock()
	c.flushLocked()
	c.unlock()
}

// encrypt turns plain into records on the output.
func (c *conn) encrypt() {
	if c.plain == nil {
		return
	}
	if n := len(c.plain.b); n > c.opts.high() {
		// A producer that asked Buffered before Flush may wait for OnDrain.
		c.mu.Lock()
		c.above = true
		c.mu.Unlock()
	}
	if _, err := c.tls.Write(c.plain.b); err != nil {
		c.mu.Lock()
		c.failLocked(err)
		c.mu.Unlock()
	}
	c.plain.free()
	c.plain = nil
}

// endPlain ends the encrypted stream with an alert.
func (c *conn) endPlain() {
	if c.tls == nil || c.noPlain {
		return
	}
	c.encrypt()
	c.noPlain = true
	_ = c.tls.CloseWrite() // appends the alert; an error means that it cannot matter
}

// flushReply sends what crypto/tls wrote on its own while reading: alerts, key
// updates.
func (c *conn) flushReply() {
	c.mu.Lock()
	if c.out != nil && !c.writing {
		c.flushLocked()
	}
	c.unlock()
}

// flushLocked sends what the socket takes now and leaves the rest to the
// writer goroutine.
func (c *conn) flushLocked() {
	if c.writing || c.aborted || c.werr != nil {
		return
	}
	if c.out != nil && c.raw != nil {
		if err := c.raw.Write(c.writeFn); err != nil {
			c.failLocked(err)
			return
		}
	}
	if c.out != nil && c.werr == nil {
		c.writing = true
		go c.writeLoop()
		return
	}
	c.sentLocked()
}

// writable writes without waiting. It holds mu (through flushLocked).
func (c *conn) writable(fd uintptr) bool {
	for {
		p := c.out.b[c.off:]
		n, err := syscall.Write(int(fd), p)
		if n > 0 {
			c.off += n
			if n == len(p) {
				c.dropOutLocked()
				return true
			}
			continue
		}
		if err == syscall.EINTR {
			continue
		}
		if err == nil {
			err = io.ErrShortWrite
		}
		if err != syscall.EAGAIN {
			c.failLocked(os.NewSyscallError("write", err))
		}
		return true
	}
}

func (c *conn) dropOutLocked() {
	if c.out != nil {
		c.out.free()
		c.out, c.off = nil, 0
	}
}

// writeLoop is the writer goroutine: it blocks where Flush may not.
func (c *conn) writeLoop() {
	c.mu.Lock()
	defer c.unlock()
	for c.out != nil && c.werr == nil && !c.aborted {
		b, off := c.out, c.off
		c.out, c.off = nil, 0
		c.writeOutLocked(b, off)
	}
	c.writing = false
	c.sentLocked()
	c.cond.Broadcast()
}

// writeOutLocked writes one buffer in pieces, so that OnDrain comes early.
func (c *conn) writeOutLocked(b *buffer, off int) {
	for off < len(b.b) && c.werr == nil && !c.aborted {
		c.inflight = len(b.b) - off
		p := b.b[off:min(off+size64K, len(b.b))]
		c.mu.Unlock()
		n, err := c.nc.Write(p)
		c.mu.Lock()
		off += n
		c.took += n
		switch {
		case err == nil:
		case c.closing && c.took > 0 && errors.Is(err, os.ErrDeadlineExceeded):
			c.boundWriteLocked() // it is slow, but goes on
		default:
			c.failLocked(err)
		}
		c.inflight = len(b.b) - off
		if c.noteDrainLocked() {
			c.unlock()
			c.mu.Lock()
		}
	}
	c.inflight = 0
	b.free()
}

// boundWriteLocked lets the writer goroutine go on after Close, within its bounds.
func (c *conn) boundWriteLocked() {
	now := time.Now()
	c.took = 0
	if c.giveUp.IsZero() {
		c.giveUp = now.Add(closeMost)
	}
	end := now.Add(closeBound)
	if end.After(c.giveUp) {
		end = c.giveUp
	}
	_ = c.nc.SetWriteDeadline(end)
}

// sentLocked is called when nothing is left to be sent.
func (c *conn) sentLocked() {
	c.noteDrainLocked()
	if !c.endWrite || c.endSent || c.out != nil || c.werr != nil || c.aborted || c.tls != nil {
		return
	}
	c.endSent = true
	if w, ok := c.nc.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
	}
}

// noteDrainLocked makes OnDrain due when the output has fallen far enough;
// unlock posts it.
func (c *conn) noteDrainLocked() bool {
	if c.above && c.bufferedLocked() < c.opts.low() {
		c.above = false
		c.drainDue = true
	}
	return c.drainDue
}

// unlock unlocks mu and posts OnDrain when it is due: not under mu, for the
// task may run at once and takes it.
func (c *conn) unlock() {
	ex := c.ex.Load()
	due := c.drainDue && !c.closing && ex != nil
	c.drainDue = false
	if due {
		c.drainAt = ex
	}
	c.mu.Unlock()
	if due {
		ex.Post((*drainTask)(c))
	}
}

// failLocked notes that writing has failed. The reader goroutine reports it,
// after it has delivered what the peer has sent before, e.g. a response to a
// request that it did not read to the end.
func (c *conn) failLocked(err error) {
	if c.werr != nil {
		return
	}
	c.werr = err
	c.stop.Store(true)
	c.dropOutLocked()
	c.cond.Broadcast()
	if !c.closing {
		_ = c.nc.SetReadDeadline(time.Now().Add(time.Second))
	}
}

// CloseWrite implements stream.Conn.
func (c *conn) CloseWrite() {
	c.endPlain()
	c.mu.Lock()
	if !c.endWrite {
		c.endWrite = true
		if c.writing || c.out != nil {
			c.flushLocked()
		} else {
			c.sentLocked()
		}
	}
	c.unlock()
}

// drainTask is the connection as a task that calls OnDrain.
type drainTask conn

// Run implements serial.Task.
func (t *drainTask) Run() {
	c := (*conn)(t)
	ex := c.ex.Load()
	c.mu.Lock()
	moved, closing := c.drainAt != ex, c.closing
	c.drainAt = ex
	c.mu.Unlock()
	switch {
	case closing:
	case moved:
		ex.Post(t)
	default:
		c.h.OnDrain()
	}
}

var _ serial.Task = (*drainTask)(nil)
