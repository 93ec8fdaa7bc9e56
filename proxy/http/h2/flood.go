package h2

import "github.com/weftmesh/weft/proxy/http/codec"

// Bounds on what a peer may make us do for nothing; Envoy's defaults.
const (
	maxEmptyFrames       = 1   // in a row, without END_STREAM
	maxPriorityPerStream = 100 // PRIORITY
	maxUpdatesPerFrame   = 10  // WINDOW_UPDATE per DATA frame sent
	// maxSettings is how many SETTINGS frames a peer may send beside one for each stream:
	// each may cost as much as there are streams. Envoy knows no such bound.
	maxSettings = 100
	// maxPremature is how many more streams may be cut off than were served.
	maxPremature = 500
)

// flood counts frames that cost the peer nothing.
type flood struct {
	emptyFrames int
	priorities  int
	updates     int
	settings    int
	sentData    int
	begun       int
	premature   int
	frames      Frames // written, since TakeFrames
}

// Frames is a number of frames written. A peer that does not read can have any number of
// them; DATA, which windows bound, is not counted.
type Frames struct {
	// Replies only because the peer made us: acknowledgements and resets.
	Replies int
	// All with window updates, and what a server answers: heads, trailers, resets.
	All int
}

// TakeFrames is how many were written since it was called last.
func (c *Conn) TakeFrames() Frames {
	f := c.flood.frames
	c.flood.frames = Frames{}
	return f
}

// Unread fails the connection of a peer that makes us write and reads nothing.
func (c *Conn) Unread() {
	c.fail(codec.ResetEnhanceYourCalm, "http2.outbound_frames_flood", "too many frames wait to be read")
}

func (f *flood) replied() {
	f.frames.Replies++
	f.frames.All++
}

func (f *flood) finished() {
	if f.premature > 0 {
		f.premature--
	}
}

// empty counts a frame without payload; true: the connection has failed.
func (f *flood) empty(c *Conn) bool {
	if f.emptyFrames++; f.emptyFrames > maxEmptyFrames {
		c.fail(codec.ResetEnhanceYourCalm, "http2.inbound_empty_frames_flood", "too many empty frames")
		return true
	}
	return false
}

func (f *flood) priority(c *Conn) bool {
	if f.priorities++; f.priorities > maxPriorityPerStream*(1+f.begun) {
		c.fail(codec.ResetEnhanceYourCalm, "http2.inbound_priority_frames_flood", "too many PRIORITY frames")
		return true
	}
	return false
}

func (f *flood) setting(c *Conn) bool {
	if f.settings++; f.settings > maxSettings+f.begun+f.sentData {
		c.fail(codec.ResetEnhanceYourCalm, "http2.inbound_settings_frames_flood", "too many SETTINGS frames")
		return true
	}
	return false
}

func (f *flood) window(c *Conn) bool {
	if f.updates++; f.updates > 5+2*(f.begun+maxUpdatesPerFrame*f.sentData) {
		c.fail(codec.ResetEnhanceYourCalm, "http2.inbound_window_update_frames_flood", "too many WINDOW_UPDATE frames")
		return true
	}
	return false
}

// cut counts a stream that was begun for nothing.
func (f *flood) cut(c *Conn) bool {
	if c.client {
		return false
	}
	if f.premature++; f.premature > maxPremature {
		c.fail(codec.ResetEnhanceYourCalm, "http2.premature_reset_flood", "too many streams reset before they were answered")
		return true
	}
	return false
}
