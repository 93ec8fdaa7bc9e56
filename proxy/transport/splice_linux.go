package transport

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// pipe is what splice needs between two sockets.
type pipe struct{ r, w int }

const (
	pipeSize  = 512 << 10
	maxSplice = 1 << 20
	// fewBytes make a direction change back to copying.
	fewBytes = 2 << 10
)

// pipes keeps some empty pipes for the whole process.
var pipes = make(chan *pipe, 32)

func getPipe() (*pipe, error) {
	select {
	case p := <-pipes:
		return p, nil
	default:
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, err
	}
	// More in flight per system call. A user's share may be used up: then the
	// default size has to do.
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, pipeSize)
	return &pipe{fds[0], fds[1]}, nil
}

func (p *pipe) free() {
	select {
	case pipes <- p:
	default:
		p.close()
	}
}

func (p *pipe) close() {
	unix.Close(p.r)
	unix.Close(p.w)
}

// spliceIn moves what the socket has into a pipe. ok is false when that is not
// possible here; more is what the caller returns to the runtime.
func (h *half) spliceIn(fd int) (more, ok bool) {
	p, err := getPipe()
	if err != nil {
		return false, false
	}
	for {
		n, err := unix.Splice(fd, nil, p.w, nil, maxSplice, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		if err == unix.EINTR {
			continue
		}
		if n > 0 {
			h.pipe, h.piped = p, int(n)
			h.n.Add(uint64(n))
			if n < fewBytes {
				h.full = 0
			}
			return true, true
		}
		p.free() // it is empty
		switch err {
		case nil:
			h.err = io.EOF
			return true, true
		case unix.EAGAIN:
			return false, true
		case unix.EINVAL, unix.ENOSYS:
			return false, false
		}
		h.err = os.NewSyscallError("splice", err)
		return true, true
	}
}

// spliceOut moves what is in the pipe to the socket.
func (h *half) spliceOut(fd int) bool {
	for h.piped > 0 {
		n, err := unix.Splice(h.pipe.r, nil, fd, nil, h.piped, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		switch {
		case n > 0:
			h.piped -= int(n)
		case err == unix.EAGAIN:
			return false
		case err != unix.EINTR:
			h.err = os.NewSyscallError("splice", err)
			return true
		}
	}
	h.pipe.free()
	h.pipe = nil
	return true
}

// releasePipe drops a pipe that was left with bytes in it.
func (h *half) releasePipe() {
	if h.pipe != nil {
		h.pipe.close()
		h.pipe = nil
	}
}
