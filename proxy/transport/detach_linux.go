package transport

import (
	"os"

	"golang.org/x/sys/unix"
)

// Detach takes the socket away from the connection, whose handler sees OnClose(nil)
// after that; inside the executor. nil: that is not possible, for something is on its
// way in this process (output, the peer's end, TLS), and nothing has changed. What the
// peer has sent and nobody has read is still in the socket.
func (c *lconn) Detach() *os.File {
	if c.tls != nil || !c.isBound || c.fd < 0 || c.closing || c.aborted || c.closed || c.werr != nil ||
		c.out != nil || c.hup || c.ended || c.halve {
		return nil
	}
	// Whoever gets the socket keeps it open, and with it the registration.
	if unix.EpollCtl(c.loop.ep, unix.EPOLL_CTL_DEL, c.fd, nil) != nil {
		return nil
	}
	f := os.NewFile(uintptr(c.fd), "connection")
	c.loop.detach(c)
	c.fd = -1
	c.closing, c.aborted = true, true
	c.schedule(evClose)
	return f
}
