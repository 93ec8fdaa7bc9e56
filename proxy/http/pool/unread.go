package pool

import (
	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/http/h2"
)

// How many frames may wait for a peer that does not read; Envoy's defaults of
// max_outbound_control_frames and max_outbound_frames.
const (
	maxReplies = 1000
	maxFrames  = 10000
)

// Unread bounds the frames that wait for the peer of an HTTP/2 connection: those that it
// makes us write know no window. The zero value is ready.
type Unread struct {
	written, mark int64     // bytes given to the connection: all, and when frames was begun
	frames        h2.Frames // since then
}

// Wrote notes bytes of frames given to the connection.
func (u *Unread) Wrote(n int) { u.written += int64(n) }

// TooMany tells whether more frames of cd wait in c than are allowed, or up to twice as many:
// so many have been written since a time before which not everything has been sent yet.
// All output of cd has been given to c.
func (u *Unread) TooMany(cd interface{ TakeFrames() h2.Frames }, c stream.Conn) bool {
	f := cd.TakeFrames()
	u.frames.Replies += f.Replies
	u.frames.All += f.All
	if u.frames.Replies <= maxReplies && u.frames.All <= maxFrames {
		return false
	}
	c.Flush()
	if u.written-int64(c.Buffered()) < u.mark { // TLS makes the waiting ones a little longer
		return true
	}
	u.mark, u.frames = u.written, h2.Frames{}
	return false
}
