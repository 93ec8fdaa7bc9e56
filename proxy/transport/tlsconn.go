package transport

import (
	"crypto/tls"
	"net"
	"time"
)

// tlsConn is a TLS connection whose cipher side Serve can take over.
type tlsConn struct {
	*tls.Conn
	in *cipherSide
}

// NetConn is the socket.
func (c *tlsConn) NetConn() net.Conn { return c.in.Conn }

// cipherSide is the connection under crypto/tls. During the handshake it is
// the socket; when hosted its reads and writes never block: writes append to
// the host's output, reads return errAgain when the socket has nothing, which
// crypto/tls lets through as a temporary error and goes on after.
type cipherSide struct {
	net.Conn
	host cipherHost // nil: during the handshake
}

// cipherHost is who has taken over the socket under a TLS connection.
type cipherHost interface {
	// readNow reads without waiting; blocks tells that it cannot.
	readNow(p []byte) (int, error)
	blocks() bool
	appendCipher(p []byte)
}

// Read implements net.Conn.
func (s *cipherSide) Read(p []byte) (int, error) {
	if h := s.host; h != nil && !h.blocks() {
		return h.readNow(p)
	}
	return s.Conn.Read(p)
}

// Write implements net.Conn.
func (s *cipherSide) Write(p []byte) (int, error) {
	if h := s.host; h != nil {
		h.appendCipher(p)
		return len(p), nil
	}
	return s.Conn.Write(p)
}

// SetWriteDeadline is kept from the socket when hosted: crypto/tls leaves a
// deadline in the past behind after its close alert, and the host's writer
// still has to send that alert.
func (s *cipherSide) SetWriteDeadline(t time.Time) error {
	if s.host != nil {
		return nil
	}
	return s.Conn.SetWriteDeadline(t)
}

// again is the temporary error of a socket without data.
type again struct{}

func (again) Error() string   { return "no data yet" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

var errAgain net.Error = again{}
