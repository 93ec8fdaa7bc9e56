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
	replies     int // to frames that cost the peer nothing, since Heard
}

// Replies is how many frames have been written, since Heard, only because the peer made
// us: acknowledgements and resets. A peer that does not read them can have any number.
func (c *Conn) Replies() int { return c.flood.replies }

// Heard says that the peer has read what was written so far, or the kernel for it.
func (c *Conn) Heard() { c.flood.replies = 0 }

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
