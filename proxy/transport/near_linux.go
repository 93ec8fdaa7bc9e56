package transport

import "github.com/weftmesh/weft/base/stream"

// Loop numbers the event loop that serves c, from 0; -1: none does.
func Loop(c stream.Conn) int {
	if l, ok := c.(*lconn); ok {
		for i, other := range loops.all {
			if other == l.loop {
				return i
			}
		}
	}
	return -1
}

// Near has c, which has not been bound, served by the event loop of that number, if there are
// loops: connections that work for each other then need no other thread.
func Near(c stream.Conn, loop int) {
	if l, ok := c.(*lconn); ok && !l.isBound && loop >= 0 && loop < len(loops.all) {
		l.loop = loops.all[loop]
	}
}
