package filter

import (
	"net"

	"github.com/weftmesh/weft/base/datagram"
)

// Datagrams is what is done with all that arrives at a listener's UDP sockets; the
// datagrams of one client are a session. It is to datagrams what a Terminal is to
// connections.
type Datagrams interface {
	// Take is told what arrived at a socket, on one goroutine per socket. What is
	// in b is valid during the call only. Answers go out by s.
	Take(s *datagram.Socket, b *datagram.Batch)
	// Succeed makes the sessions of before, which is another version of the same,
	// known: they go on as they began, and their datagrams come here from now on.
	Succeed(before Datagrams)
	// Drain begins no sessions any more; what arrives for others is dropped.
	Drain()
	// Close ends all sessions that began here. There are none later.
	Close()
	// Active is the number of sessions that began here.
	Active() int64
	// Move takes all sessions away, also those of versions before, without ending
	// them: each is given to yield, with the socket of its own. Nothing may be
	// under way in Take.
	Move(yield func(state []byte, upstream *net.UDPConn))
	// Adopt goes on with a session that another process has moved here. upstream is
	// closed when that is not possible.
	Adopt(s *datagram.Socket, state []byte, upstream *net.UDPConn) error
}
