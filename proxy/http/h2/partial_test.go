package h2

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
)

// TestRefuseHead: a head of which a part is there can be answered, wherever it stops; what
// comes of it afterwards belongs to no stream, and the next request is served.
func TestRefuseHead(t *testing.T) {
	block := string(newWire().block(request("x-a", "b")...))
	for name, tt := range map[string]struct {
		whole *wire
		rest  int // bytes that are missing
		id    uint32
	}{
		"between two frames":      {newWire().raw(http2.FrameHeaders, 1, 1, block[:5]).raw(http2.FrameContinuation, 4, 1, block[5:]), 9 + len(block) - 5, 1},
		"within CONTINUATION":     {newWire().raw(http2.FrameHeaders, 1, 1, block[:5]).raw(http2.FrameContinuation, 4, 1, block[5:]), 1, 1},
		"within HEADERS":          {newWire().raw(http2.FrameHeaders, 5, 1, block), len(block), 1},
		"within a frame's header": {newWire().raw(http2.FrameHeaders, 5, 1, block), len(block) + 1, 0},
		"nothing is missing":      {newWire().raw(http2.FrameHeaders, 5, 1, block), 0, 0},
		"another frame":           {newWire().raw(http2.FramePing, 0, 0, "12345678"), 3, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r, c := newServer(Options{})
			in := append(clientWire().Bytes(), tt.whole.Bytes()...)
			if err := feed(c, in[:len(in)-tt.rest], 1); err != nil {
				t.Fatal(err)
			}
			if id := c.PartialHead(); id != tt.id {
				t.Fatalf("partial head of stream %d, want %d", id, tt.id)
			}
			c.ClearOutput()
			if said := c.RefuseHead(response(408), "late"); said != (tt.id != 0) {
				t.Fatalf("RefuseHead said %v", said)
			}
			if tt.id == 0 {
				return
			}
			want := []string{`HEADERS 1 :status=408 end=false`, `DATA 1 "late" end=true`, `RST 1 NO_ERROR`}
			if d := cmp.Diff(want, frames(t, c.Output())); d != "" {
				t.Errorf("output (-want +got):\n%s", d)
			}
			if id := c.PartialHead(); id != 0 {
				t.Errorf("stream %d still has a partial head", id)
			}
			c.ClearOutput()
			if err := feed(c, in[len(in)-tt.rest:], 1); err != nil {
				t.Fatal(err)
			}
			if got := r.events(); len(got) != 0 {
				t.Errorf("events of a refused head: %q", got)
			}
			if got := frames(t, c.Output()); len(got) != 0 || c.Streams() != 0 {
				t.Errorf("%d streams, output %q", c.Streams(), got)
			}
		})
	}
}
