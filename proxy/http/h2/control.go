package h2

import (
	"encoding/binary"

	"github.com/weftmesh/weft/proxy/http/codec"
)

// oneFrame takes the frame that b begins with; 0: it is incomplete.
func (c *Conn) oneFrame(b []byte) int {
	if len(b) < frameHeader {
		return 0
	}
	length := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	t, flags := frameType(b[3]), b[4]
	id := binary.BigEndian.Uint32(b[5:]) & maxStreamID
	if !c.inOrder(length, t, flags, id) {
		return 0
	}
	b = b[frameHeader:]
	if t == frameData {
		used, ok := c.dataHeader(id, flags, length, b)
		if !ok {
			return 0
		}
		return frameHeader + used
	}
	if len(b) < length {
		return 0
	}
	c.control(t, flags, id, b[:length])
	return frameHeader + length
}

// inOrder checks what can be said of a frame by its header.
func (c *Conn) inOrder(length int, t frameType, flags byte, id uint32) bool {
	switch {
	case !c.settled && (t != frameSettings || flags&flagAck != 0):
		c.fail(codec.ResetProtocol, violation, "first frame is not SETTINGS")
	case length > ourMaxFrame:
		c.fail(codec.ResetFrameSize, violation, "frame too large")
	case c.block.open && (t != frameContinuation || id != c.block.id):
		c.fail(codec.ResetProtocol, violation, "frame inside of a header block")
	case !c.block.open && t == frameContinuation:
		c.fail(codec.ResetProtocol, violation, "CONTINUATION of nothing")
	case id == 0 && (t == frameData || t == frameHeaders || t == framePriority || t == frameReset),
		id != 0 && (t == frameSettings || t == framePing || t == frameGoAway):
		c.fail(codec.ResetProtocol, violation, "frame on a stream that it cannot have")
	default:
		return true
	}
	return false
}

func (c *Conn) control(t frameType, flags byte, id uint32, b []byte) {
	switch t {
	case frameHeaders:
		c.headers(id, flags, b)
	case frameContinuation:
		c.continuation(flags, b)
	case framePriority:
		c.priority(id, b)
	case frameReset:
		c.resetFrame(id, b)
	case frameSettings:
		c.settings(flags, b)
	case framePushPromise:
		c.fail(codec.ResetProtocol, violation, "PUSH_PROMISE, which is switched off")
	case framePing:
		c.ping(flags, b)
	case frameGoAway:
		c.goAwayFrame(b)
	case frameWindowUpdate:
		c.windowUpdate(id, b)
	} // RFC 9113 5.5: unknown types are ignored
}

func (c *Conn) priority(id uint32, b []byte) {
	switch {
	case len(b) != 5:
		c.streamError(id, codec.ResetFrameSize)
	case binary.BigEndian.Uint32(b)&maxStreamID == id:
		c.streamError(id, codec.ResetProtocol)
	}
	c.flood.priority(c)
}

func (c *Conn) resetFrame(id uint32, b []byte) {
	switch {
	case len(b) != 4:
		c.fail(codec.ResetFrameSize, violation, "RST_STREAM of a wrong size")
		return
	case c.idle(id):
		c.fail(codec.ResetProtocol, violation, "RST_STREAM on an idle stream")
		return
	}
	s := c.stream(id)
	if s == nil {
		return
	}
	answered := s.sentHead
	c.forget(s)
	c.ev.OnReset(id, peerCode(b))
	if answered { // to end a watch is no attack
		c.flood.finished()
	} else {
		c.flood.cut(c)
	}
}

// peerCode is the code that the peer gives; what is beyond the known ones has no meaning (RFC 9113 7).
func peerCode(b []byte) codec.ResetCode {
	code := codec.ResetCode(binary.BigEndian.Uint32(b))
	if code > codec.ResetHTTP11Required {
		return codec.ResetInternal
	}
	return code
}

func (c *Conn) ping(flags byte, b []byte) {
	switch {
	case len(b) != 8:
		c.fail(codec.ResetFrameSize, violation, "PING of a wrong size")
	case flags&flagAck == 0:
		c.flood.replied()
		c.out = appendFrame(c.out, 8, framePing, flagAck, 0)
		c.out = append(c.out, b...)
	case string(b) == pingData:
		c.pinged = false
	}
}

// pingData is what our PINGs hold.
const pingData = "are you?"

// Ping asks the peer for a sign of life.
func (c *Conn) Ping() {
	if c.err != nil || c.mute {
		return
	}
	c.pinged = true
	c.out = appendFrame(c.out, 8, framePing, 0, 0)
	c.out = append(c.out, pingData...)
}

// Pinged tells whether a Ping has not been answered yet.
func (c *Conn) Pinged() bool { return c.pinged }

func (c *Conn) goAwayFrame(b []byte) {
	if len(b) < 8 {
		c.fail(codec.ResetFrameSize, violation, "GOAWAY of a wrong size")
		return
	}
	last := binary.BigEndian.Uint32(b) & maxStreamID
	code := codec.ResetCode(binary.BigEndian.Uint32(b[4:]))
	c.gone = true
	if !c.client {
		c.ev.OnGoAway(last, true) // of our streams there are none
		return
	}
	c.ev.OnGoAway(last, code == codec.ResetNone && last == maxStreamID)
	c.resetAll(last, codec.ResetRefused)
}

func (c *Conn) settings(flags byte, b []byte) {
	switch {
	case flags&flagAck != 0:
		if len(b) != 0 {
			c.fail(codec.ResetFrameSize, violation, "SETTINGS acknowledgement with a payload")
		}
		return
	case len(b)%6 != 0:
		c.fail(codec.ResetFrameSize, violation, "SETTINGS of a wrong size")
		return
	case len(b)/6 > maxSettingsInOneMessage:
		c.fail(codec.ResetEnhanceYourCalm, violation, "too many settings")
		return
	case c.flood.setting(c):
		return
	}
	if !c.settled {
		c.peerStreams = manyStreams // unless it says another
	}
	c.settled = true
	for ; len(b) > 0; b = b[6:] {
		if reason := c.setting(binary.BigEndian.Uint16(b), binary.BigEndian.Uint32(b[2:])); reason != "" {
			c.fail(codec.ResetProtocol, violation, reason)
			return
		}
		if c.err != nil {
			return
		}
	}
	c.flood.replied()
	c.out = appendFrame(c.out, 0, frameSettings, flagAck, 0)
	c.unblock()
}

func (c *Conn) setting(id uint16, v uint32) (reason string) {
	switch id {
	case settingHeaderTable:
		c.enc.SetLimit(v)
	case settingEnablePush:
		if v > 1 || c.client && v == 1 {
			return "ENABLE_PUSH out of range"
		}
	case settingMaxStreams:
		c.peerStreams = min(v, manyStreams)
	case settingInitialWindow:
		c.initialWindow(v)
	case settingMaxFrame:
		if v < ourMaxFrame || v > 1<<24-1 {
			return "MAX_FRAME_SIZE out of range"
		}
		c.peerMaxFrame = int(min(v, 64<<10)) // larger ones only keep other streams waiting
	case settingExtendedConnect:
		if v > 1 {
			return "ENABLE_CONNECT_PROTOCOL out of range"
		}
		c.peerUpgrades = v == 1
	}
	return ""
}

// initialWindow changes the send windows of all streams; they may become negative.
func (c *Conn) initialWindow(v uint32) {
	if v > maxWindow {
		c.fail(codec.ResetFlowControl, violation, "INITIAL_WINDOW_SIZE out of range")
		return
	}
	change := int64(v) - c.peerWindow
	c.peerWindow = int64(v)
	for _, s := range c.streams.All() {
		s.sendWin += change
		if s.sendWin > maxWindow {
			c.fail(codec.ResetFlowControl, violation, "INITIAL_WINDOW_SIZE overflows a window")
			return
		}
	}
}
