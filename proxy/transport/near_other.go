//go:build !linux

package transport

import "github.com/weftmesh/weft/base/stream"

// Loop is -1: there are no event loops here.
func Loop(stream.Conn) int { return -1 }

// Near has no effect where there are no event loops.
func Near(stream.Conn, int) {}
