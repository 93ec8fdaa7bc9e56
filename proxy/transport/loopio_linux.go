package transport

import (
	"io"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/base/serial"
)

// turns is how many reads a connection has before others have theirs.
const turns = 4

// read brings what has arrived to the handler.
func (c *lconn) read(ev uint32, ex *serial.Executor) {
	for turn := 0; ; turn++ {
		switch {
		case c.told:
			c.watch()
			return
		case c.paused && c.werr != nil:
			c.finish(c.werr)
			return
		case c.paused:
			c.unread = true
			return
		case turn == turns:
			c.loop.send(c, evRead)
			return
		}
		c.unread = false
		b, n, err := c.fill()
		if n > 0 {
			drained := err == nil && c.dry && c.tls == nil
			b.b = b.b[:n]
			c.choose(n, cap(b.b))
			c.h.OnData(b.b)
			b.free()
			if c.ex.Load() != ex { // moved: whatever is left is another event
				if !drained {
					c.schedule(evRead | ev&evEnd)
				}
				return
			}
			if c.closing || c.aborted {
				return // evClose is on its way
			}
			if err == nil {
				if drained {
					return
				}
				continue
			}
		} else {
			b.free()
		}
		if err == errAgain {
			if c.werr != nil {
				c.finish(c.werr)
			}
			return
		}
		if err != io.EOF {
			c.finish(err)
			return
		}
		c.ended, c.told = true, true
		c.h.OnEnd()
		if c.ex.Load() != ex || c.closing {
			return
		}
	}
}

// fill reads once; with TLS, as many records as fit.
func (c *lconn) fill() (*buffer, int, error) {
	b := getBuffer(c.size)
	p := b.b[:cap(b.b)]
	if c.tls == nil {
		n, err := c.readNow(p)
		return b, n, err
	}
	n := 0
	c.input.lend(c.size != size16K)
	for {
		m, err := c.tls.Read(p[n:])
		n += m
		if err != nil || n == len(p) || c.size == size16K {
			c.input.give()
			c.push() // what crypto/tls wrote on its own: alerts, key updates
			return b, n, err
		}
	}
}

// smallReads in a row end the use of large buffers.
const smallReads = 16

// choose takes larger buffers for bulk.
func (c *lconn) choose(n, room int) {
	switch {
	case n == room || c.tls != nil && n == size16K:
		c.size, c.small = size128K, 0
	case c.size == size16K:
	case n > size16K:
		c.small = 0
	default:
		if c.small++; c.small == smallReads {
			c.size = size16K
		}
	}
}

// readNow reads without waiting. With recv and send, which only sockets know, a
// request costs 2 to 5 % less than with read and write.
func (c *lconn) readNow(p []byte) (int, error) {
	if c.fd < 0 {
		return 0, os.ErrClosed
	}
	if c.dry {
		return 0, errAgain
	}
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(c.fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), 0, 0, 0)
		switch errno {
		case 0:
			if n == 0 {
				return 0, io.EOF
			}
			c.dry = int(n) < len(p) && !c.hup
			return int(n), nil
		case unix.EAGAIN:
			c.dry = true
			return 0, errAgain
		case unix.EINTR:
		default:
			return 0, os.NewSyscallError("read", errno)
		}
	}
}

// watch looks for an error after the peer's end: reads only repeat the end.
func (c *lconn) watch() {
	if c.werr != nil {
		c.finish(c.werr)
		return
	}
	if no, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR); err == nil && no != 0 {
		c.finish(os.NewSyscallError("read", syscall.Errno(no)))
	}
}

// SetReading implements stream.Conn.
func (c *lconn) SetReading(on bool) {
	if c.paused != on {
		return
	}
	c.paused = !on
	if on && c.unread {
		c.schedule(evRead)
	}
}

// Write implements stream.Conn.
func (c *lconn) Write(p []byte) {
	if len(p) == 0 || c.closing || c.werr != nil {
		return
	}
	if c.tls != nil {
		if !c.noPlain { // encrypted at Flush, so that small pieces share a record
			c.plain = appendTo(c.plain, p)
		}
		return
	}
	c.appendCipher(p)
}

// appendCipher appends to what goes out on the socket.
func (c *lconn) appendCipher(p []byte) {
	if c.werr != nil || c.aborted || c.halve && c.tls == nil {
		return
	}
	c.closeUp(len(p))
	c.out = appendTo(c.out, p)
	c.mark()
}

// closeUp makes use of the room in front of the output, rather than of a larger buffer, before n
// bytes are appended. A reader that is always a little behind never lets all of it go, and its
// buffer would grow by all that passes. Every byte is moved once at most on the average.
func (c *lconn) closeUp(n int) {
	if c.out != nil && c.off > 0 && len(c.out.b)+n > cap(c.out.b) && c.off >= len(c.out.b)/2 {
		c.out.b = c.out.b[:copy(c.out.b, c.out.b[c.off:])]
		c.off = 0
	}
}

func (c *lconn) mark() {
	if c.Buffered() > c.opts.high() {
		c.above = true
	}
}

// Buffered implements stream.Conn.
func (c *lconn) Buffered() int {
	n := 0
	if c.out != nil {
		n = len(c.out.b) - c.off
	}
	if c.plain != nil {
		n += len(c.plain.b)
	}
	return n
}

// Flush implements stream.Conn.
func (c *lconn) Flush() {
	c.encrypt()
	c.push()
	c.drained()
}

// Send implements stream.Conn.
func (c *lconn) Send(p, q []byte) {
	switch {
	case c.out != nil || c.plain != nil || c.full || c.halve || c.closing || c.werr != nil || c.fd < 0:
		c.Write(p)
		c.Write(q)
		c.Flush()
	case c.tls != nil:
		c.seal(p, q)
		c.push()
		c.mark()
	default:
		n := 0
		if len(p) > 0 && len(q) > 0 {
			n = c.writeBoth(p, q)
		}
		if n < len(p) {
			n += c.writeRest(p[n:])
		}
		if n >= len(p) {
			c.writeRest(q[n-len(p):])
		} else {
			c.appendCipher(q)
		}
	}
}

// seal encrypts p and q; the beginning of q shares a record with p.
func (c *lconn) seal(p, q []byte) {
	if len(p) > 0 && len(q) > 0 {
		n := max(0, min(len(q), size16K-len(p)))
		b := getBuffer(len(p) + n)
		b.b = append(append(b.b, p...), q[:n]...)
		c.encryptNow(b.b)
		b.free()
		p, q = nil, q[n:]
	}
	c.encryptNow(p)
	c.encryptNow(q)
}

func (c *lconn) encryptNow(p []byte) {
	if len(p) == 0 || c.werr != nil {
		return
	}
	if _, err := c.tls.Write(p); err != nil {
		c.fail(err)
	}
}

// writeRest writes p, keeps what the socket does not take, and returns what it took.
func (c *lconn) writeRest(p []byte) int {
	n := 0
	if !c.full && c.werr == nil {
		n = c.writeNow(p)
	}
	if n < len(p) {
		c.appendCipher(p[n:])
	}
	return n
}

// FlushSoon implements stream.Conn.
func (c *lconn) FlushSoon() {
	switch {
	case c.late:
	case c.isBound && c.loop.flushSoon(c):
		c.late = true
	default:
		c.Flush()
	}
}

// drained makes OnDrain come when output has fallen far enough.
func (c *lconn) drained() {
	if c.above && !c.closing && c.Buffered() < c.opts.low() {
		c.schedule(evDrain)
	}
}

// encrypt turns plain into records on the output.
func (c *lconn) encrypt() {
	if c.plain == nil {
		return
	}
	c.mark() // a producer that asked Buffered before Flush may wait for OnDrain
	c.encryptNow(c.plain.b)
	c.plain.free()
	c.plain = nil
}

// endPlain ends the encrypted stream with an alert.
func (c *lconn) endPlain() {
	if c.tls == nil || c.noPlain || c.aborted {
		return
	}
	c.encrypt()
	c.noPlain = true
	_ = c.tls.CloseWrite() // appends the alert; an error means that it cannot matter
}

// push sends what the socket takes.
func (c *lconn) push() {
	if c.out != nil && !c.full && c.fd >= 0 && c.werr == nil {
		p := c.out.b[c.off:]
		switch n := c.writeNow(p); {
		case n == len(p):
			c.dropOut()
		case c.out != nil: // it has not failed
			c.off += n
		}
	}
	if c.halve && !c.halved && c.out == nil && c.fd >= 0 && c.tls == nil {
		c.halved = true
		_ = unix.Shutdown(c.fd, unix.SHUT_WR)
	}
}

// writeBoth writes two pieces with one system call. What it leaves is tried again.
func (c *lconn) writeBoth(p, q []byte) int {
	v := [2]unix.Iovec{{Base: &p[0]}, {Base: &q[0]}}
	v[0].SetLen(len(p))
	v[1].SetLen(len(q))
	n, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(c.fd), uintptr(unsafe.Pointer(&v[0])), 2)
	if errno != 0 {
		return 0 // the write that follows tells why
	}
	return int(n)
}

// writeNow writes what the socket takes.
func (c *lconn) writeNow(p []byte) (n int) {
	for n < len(p) {
		m, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(c.fd), uintptr(unsafe.Pointer(&p[n])), uintptr(len(p)-n), unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			n += int(m)
		case unix.EAGAIN:
			c.full = true
			return n
		case unix.EINTR:
		default:
			c.fail(os.NewSyscallError("write", errno))
			return n
		}
	}
	return n
}

// unsent is how much output is in a socket, not acknowledged by its peer. Even a peer that reads
// all the time makes room for more output in large steps only.
func unsent(fd int) int {
	n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil {
		return 0
	}
	return n
}

func (c *lconn) dropOut() {
	if c.out != nil {
		c.out.free()
		c.out, c.off = nil, 0
	}
}

// fail notes that writing has failed. It is reported after what the peer has
// sent before, e.g. a response to a request that it did not read to the end.
func (c *lconn) fail(err error) {
	if c.werr != nil {
		return
	}
	c.werr = err
	c.dropOut()
	if !c.closing {
		c.schedule(evRead | evEnd)
	}
}

// CloseWrite implements stream.Conn.
func (c *lconn) CloseWrite() {
	c.endPlain()
	if !c.halve {
		c.halve = true
		c.push()
	}
}
