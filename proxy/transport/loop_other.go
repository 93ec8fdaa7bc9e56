//go:build !linux

package transport

import (
	"net"

	"github.com/weftmesh/weft/base/stream"
)

// serveOnLoop has no event loops here.
func serveOnLoop(net.Conn, Options) stream.Conn { return nil }

// socketConn returns the connection as one that Join may couple past the Conn;
// nil: it is not a plain socket, or in use.
func socketConn(c stream.Conn) *conn {
	if g, ok := c.(*conn); ok && g.canCopy() {
		return g
	}
	return nil
}
