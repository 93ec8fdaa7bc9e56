package h2

import (
	"slices"
	"testing"

	"golang.org/x/net/http2"

	"github.com/weftmesh/weft/proxy/http/codec"
)

// TestWindowForEverybody: a stream that is told of its window blocks again and
// ends another one; those that wait behind are told all the same.
func TestWindowForEverybody(t *testing.T) {
	r, c := newServer(Options{})
	in := clientWire(http2.Setting{ID: 4, Val: 0})
	for id := uint32(1); id <= 7; id += 2 {
		in.get(id)
	}
	if err := feed(c, in.Bytes(), 1<<20); err != nil {
		t.Fatal(err)
	}
	for id := uint32(1); id <= 7; id += 2 {
		c.Headers(id, response(200), false)
		c.Data(id, []byte("xx"), true)
	}
	var told []uint32
	r.onWin = func(id uint32) {
		told = append(told, id)
		if id == 3 {
			c.Data(3, []byte("xx"), true) // all but one byte
			c.Reset(1, codec.ResetCancel)
		}
	}
	w := newWire()
	for _, id := range []uint32{5, 7, 3} {
		w.raw(http2.FrameWindowUpdate, 0, id, "\x00\x00\x00\x01")
	}
	// The connection's window lets them wait until the last update.
	c.sendWin = 0
	if err := feed(c, w.raw(http2.FrameWindowUpdate, 0, 0, "\x00\x00\x00\x09").Bytes(), 1<<20); err != nil {
		t.Fatal(err)
	}
	for _, id := range []uint32{3, 5, 7} {
		if !slices.Contains(told, id) {
			t.Errorf("stream %d was not told; only %v were", id, told)
		}
	}
}

// TestContradictionsAreAFlood: requests that are reset because they contradict
// themselves cost the peer as little as resets of its own.
func TestContradictionsAreAFlood(t *testing.T) {
	_, c := newServer(Options{})
	in := clientWire()
	for id := uint32(1); id < 4*maxPremature; id += 2 {
		in.headers(id, true, request("content-length", "5")...)
	}
	if err := feed(c, in.Bytes(), 1<<20); err == nil {
		t.Errorf("%d requests that contradict themselves were taken", 2*maxPremature)
	}
}

// TestSettingsWithoutMaxStreams: the caution ends with the peer's first SETTINGS.
func TestSettingsWithoutMaxStreams(t *testing.T) {
	_, c := newClient(Options{})
	if n := c.PeerStreams(); n != peerStreams {
		t.Errorf("%d streams before SETTINGS, want %d", n, peerStreams)
	}
	if err := feed(c, serverWire().Bytes(), 1<<20); err != nil {
		t.Fatal(err)
	}
	if n := c.PeerStreams(); n != manyStreams {
		t.Errorf("%d streams after SETTINGS without a limit, want %d", n, manyStreams)
	}
	if err := feed(c, newWire().raw(http2.FrameSettings, 0, 0, "\x00\x03\x00\x00\x00\x07\x00\x04\x00\x00\xff\xff").raw(http2.FrameSettings, 0, 0, "").Bytes(), 1<<20); err != nil {
		t.Fatal(err)
	}
	if n := c.PeerStreams(); n != 7 {
		t.Errorf("%d streams after a limit and SETTINGS without one, want 7", n)
	}
}
