package transport

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// readLoop is the reader goroutine.
func (c *conn) readLoop() {
	for {
		b, err := c.fill()
		if b != nil {
			ok := c.deliver(b)
			b.free()
			if !ok {
				break
			}
		}
		if err == nil {
			continue
		}
		if err == io.EOF {
			c.sawEnd = true
			if c.deliver(nil) {
				err = c.watch()
			}
		}
		c.finish(err)
		return
	}
	c.finish(nil)
}

// fill waits for data. It returns a buffer, an error, or both.
func (c *conn) fill() (*buffer, error) {
	c.rbuf, c.rerr = nil, nil
	if c.raw != nil {
		if err := c.raw.Read(c.readFn); err != nil {
			if c.rbuf != nil {
				c.rbuf.free()
			}
			return nil, err
		}
	} else {
		c.rbuf = getBuffer(c.size)
		var n int
		if c.tls != nil {
			n, c.rerr = c.tls.Read(c.rbuf.b[:cap(c.rbuf.b)])
		} else {
			n, c.rerr = c.nc.Read(c.rbuf.b[:cap(c.rbuf.b)])
		}
		c.got(n)
	}
	if c.tls != nil {
		c.flushReply()
	}
	return c.rbuf, c.rerr
}

// readable is called by the runtime when the socket may have data; false waits
// for more. A buffer is held only while there is data.
func (c *conn) readable(fd uintptr) bool {
	c.rbuf = getBuffer(c.size)
	c.rfd = int(fd)
	b := c.rbuf.b[:cap(c.rbuf.b)]
	var n int
	if c.tls == nil {
		n, c.rerr = c.readNow(b)
	} else {
		n, c.rerr = c.readRecords(b)
	}
	wait := n == 0 && c.rerr == errAgain
	if c.rerr == errAgain {
		c.rerr = nil
	}
	c.got(n)
	return !wait
}

// readRecords decrypts what has arrived: one record, or as many as fit while
// data comes in bulk.
func (c *conn) readRecords(b []byte) (n int, err error) {
	c.input.lend(c.size != size16K)
	defer c.input.give()
	for {
		m, err := c.tls.Read(b[n:])
		n += m
		if err != nil || n == len(b) || c.size == size16K {
			return n, err
		}
	}
}

// got takes n bytes of rbuf, or gives it back, and chooses the size of the next.
func (c *conn) got(n int) {
	switch {
	case n == 0:
		c.rbuf.free()
		c.rbuf = nil
		return
	case n == cap(c.rbuf.b) || c.tls != nil && n == size16K:
		c.size = size64K
	case n < size16K/2:
		c.size = size16K
	}
	c.rbuf.b = c.rbuf.b[:n]
}

// readNow reads without waiting.
func (c *conn) readNow(p []byte) (int, error) {
	for {
		n, err := syscall.Read(c.rfd, p)
		switch {
		case n > 0:
			return n, nil
		case err == nil:
			return 0, io.EOF
		case err == syscall.EAGAIN:
			return 0, errAgain
		case err != syscall.EINTR:
			return 0, os.NewSyscallError("read", err)
		}
	}
}

// deliver brings data, or with nil the end, to the handler, when it wants to
// read. false: the connection is closing.
func (c *conn) deliver(b *buffer) bool {
	for {
		if !c.mayRead() {
			return false
		}
		ex := c.enter()
		if c.stop.Load() && !c.mayReadNow() { // things changed while this goroutine waited
			ex.Leave()
			continue
		}
		if b != nil {
			c.h.OnData(b.b)
		} else {
			c.h.OnEnd()
		}
		ex.Leave()
		return true
	}
}

// mayRead waits while reading is stopped. false: the connection is closing, or
// writing has failed while reading is stopped.
func (c *conn) mayRead() bool {
	if !c.stop.Load() {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.paused && !c.closing && c.werr == nil {
		c.cond.Wait()
	}
	// What the peer sent before a failure to write is still delivered.
	return !c.closing && !c.paused
}

func (c *conn) mayReadNow() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.paused && !c.closing
}

// watch waits after the peer's end for the owner's Close, or for an error.
func (c *conn) watch() error {
	if c.raw != nil && c.tls == nil {
		var failed error
		err := c.raw.Read(func(fd uintptr) bool {
			// Reads only repeat the end; a reset shows here.
			no, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
			if err != nil || no == 0 {
				return false
			}
			failed = os.NewSyscallError("read", syscall.Errno(no))
			return true
		})
		if failed != nil {
			return failed
		}
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.closing && c.werr == nil {
		c.cond.Wait()
	}
	return errors.New("closed")
}
