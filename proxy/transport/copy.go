package transport

import (
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// canCopy tells whether a connection's socket may be used past the Conn.
func (c *conn) canCopy() bool {
	return c.raw != nil && c.tls == nil && c.cs == nil && !c.started && !c.closing && c.out == nil
}

// direct couples two sockets with a goroutine per direction, each of which
// waits for one thing at a time: no executor, no copies in user space once
// there is much to move.
func (j *Joint) direct(a, b *conn, first []byte) func() {
	d := &directJoint{j: j, a: a, b: b}
	a.started, b.started = true, true
	j.cancel = d.stop
	ab := &half{src: a, dst: b, n: &j.fromA, readEnd: JoinFailedA, writeEnd: JoinFailedB}
	ba := &half{src: b, dst: a, n: &j.fromB, readEnd: JoinFailedB, writeEnd: JoinFailedA}
	if len(first) > 0 {
		ab.n.Add(uint64(len(first)))
		ab.buf = appendTo(nil, first)
	}
	return func() {
		go d.run(ab)
		go d.run(ba)
	}
}

type directJoint struct {
	j    *Joint
	a, b *conn
	mu   sync.Mutex
	end  JoinEnd
	over bool
	left atomic.Int32
}

// stop makes both directions end now.
func (d *directJoint) stop(end JoinEnd) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over {
		return
	}
	d.over, d.end = true, end
	past := time.Unix(1, 0)
	_ = d.a.nc.SetDeadline(past)
	_ = d.b.nc.SetDeadline(past)
}

func (d *directJoint) run(h *half) {
	if end := h.run(); end != JoinFinished {
		d.stop(end)
	}
	if d.left.Add(1) < 2 {
		return
	}
	for _, c := range [...]*conn{d.a, d.b} {
		c.nc.Close()
		c.opts.sent()
		if c.opts.Closed != nil {
			c.opts.Closed()
		}
	}
	d.mu.Lock()
	end := d.end
	d.over = true
	d.mu.Unlock()
	d.j.finish(end)
}

// half is one direction of a direct Joint.
type half struct {
	src, dst          *conn
	n                 *atomic.Uint64
	readEnd, writeEnd JoinEnd

	buf   *buffer
	off   int
	full  int // reads in a row that filled the buffer
	pipe  *pipe
	piped int // bytes in the pipe
	noSys bool
	err   error
}

// fullReads in a row make a direction change to splice: small messages are
// cheaper to copy, and a pipe costs two descriptors.
const fullReads = 2

func (h *half) run() JoinEnd {
	defer h.release()
	readFn, writeFn := h.read, h.write
	if h.buf != nil {
		if err := h.dst.raw.Write(writeFn); err != nil || h.err != nil {
			return h.writeEnd
		}
	}
	for {
		if err := h.src.raw.Read(readFn); err != nil {
			return h.readEnd
		}
		if h.err == io.EOF {
			h.closeWrite()
			return JoinFinished
		}
		if h.err != nil {
			return h.readEnd
		}
		if err := h.dst.raw.Write(writeFn); err != nil || h.err != nil {
			return h.writeEnd
		}
	}
}

func (h *half) closeWrite() {
	if w, ok := h.dst.nc.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
	}
}

// read is called when src may have data. Buffer or pipe are held only while
// there is some.
func (h *half) read(fd uintptr) bool {
	if h.full >= fullReads && !h.noSys {
		if more, ok := h.spliceIn(int(fd)); ok {
			return more
		}
		h.noSys = true // this pair of sockets cannot
	}
	h.buf = getBuffer(size16K)
	for {
		n, err := syscall.Read(int(fd), h.buf.b[:cap(h.buf.b)])
		switch {
		case n > 0:
			h.buf.b = h.buf.b[:n]
			h.n.Add(uint64(n))
			if n == cap(h.buf.b) {
				h.full++
			} else {
				h.full = 0
			}
			return true
		case err == syscall.EINTR:
			continue
		case err == nil:
			h.err = io.EOF
		case err != syscall.EAGAIN:
			h.err = os.NewSyscallError("read", err)
		}
		h.buf.free()
		h.buf = nil
		return h.err != nil
	}
}

// write is called when dst may take data.
func (h *half) write(fd uintptr) bool {
	if h.piped > 0 {
		return h.spliceOut(int(fd))
	}
	for {
		p := h.buf.b[h.off:]
		n, err := syscall.Write(int(fd), p)
		switch {
		case n == len(p):
			h.buf.free()
			h.buf, h.off = nil, 0
			return true
		case n > 0:
			h.off += n
		case err == syscall.EAGAIN:
			return false
		case err != syscall.EINTR:
			h.err = os.NewSyscallError("write", err)
			return true
		}
	}
}

func (h *half) release() {
	if h.buf != nil {
		h.buf.free()
		h.buf = nil
	}
	h.releasePipe()
}
