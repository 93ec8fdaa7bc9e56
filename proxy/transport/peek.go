package transport

import (
	"io"
	"net"
	"os"
	"syscall"
)

// MaxPeek is how much of a connection's beginning Peek shows at most; a
// ClientHello may be 16 KiB and is rarely 2.
const MaxPeek = size16K

// Peek shows what a new connection brings without consuming it. look is called
// with all bytes so far whenever there are more, and says true when it has seen
// enough. A read deadline on nc bounds the wait.
//
// The returned connection replaces nc, also with an error: for a socket it is
// nc itself, so that it can still be spliced. io.EOF means that the peer sent
// nothing at all; a peer that ended after less than was wanted, or MaxPeek
// bytes, are no error.
func Peek(nc net.Conn, look func(b []byte) bool) (net.Conn, error) {
	buf := getBuffer(MaxPeek)
	defer buf.free()
	b := buf.b[:cap(buf.b)]
	if sc, ok := nc.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			return nc, peekSocket(raw, b, look)
		}
	}
	n := 0
	for n < len(b) {
		m, err := nc.Read(b[n:])
		n += m
		if m > 0 && look(b[:n]) {
			break
		}
		if err != nil {
			if err == io.EOF && n > 0 {
				break
			}
			return &replay{Conn: nc, first: append([]byte(nil), b[:n]...)}, err
		}
	}
	return &replay{Conn: nc, first: append([]byte(nil), b[:n]...)}, nil
}

func peekSocket(raw syscall.RawConn, b []byte, look func([]byte) bool) error {
	seen := 0
	var failed error
	err := raw.Read(func(fd uintptr) bool {
		n, _, err := syscall.Recvfrom(int(fd), b, syscall.MSG_PEEK)
		switch {
		case err == syscall.EAGAIN || err == syscall.EINTR:
			return false
		case err != nil:
			failed = os.NewSyscallError("recv", err)
			return true
		case n == 0:
			failed = io.EOF
			return true
		case n == seen:
			return peerEnded(int(fd)) // nothing new: it was the end that woke us, or nothing
		}
		seen = n
		return look(b[:n]) || n == len(b) || peerEnded(int(fd))
	})
	if err != nil {
		return err
	}
	return failed
}

// replay is a connection whose first bytes were read already.
type replay struct {
	net.Conn
	first []byte
}

// Read implements net.Conn.
func (r *replay) Read(p []byte) (int, error) {
	if len(r.first) > 0 {
		n := copy(p, r.first)
		r.first = r.first[n:]
		return n, nil
	}
	return r.Conn.Read(p)
}

// CloseWrite half-closes where the connection can.
func (r *replay) CloseWrite() error {
	if w, ok := r.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}
