package pool

import (
	"testing"

	"github.com/weftmesh/weft/proxy/http/codec"
	"github.com/weftmesh/weft/proxy/http/h2"
)

// silent is the receiver of a codec that has no events.
type silent struct{ codec.Events }

// TestUnread: a peer that does not read has too many frames waiting for it in the end; one
// that reads late, however late, has not.
func TestUnread(t *testing.T) {
	const ping = "\x00\x00\x08\x06\x00\x00\x00\x00\x00........"
	for _, c := range []struct {
		name string
		// waits is how much of what was written waits after a round.
		waits func(written int) int
		ends  bool
	}{
		{"all is read", func(int) int { return 0 }, false},
		{"there is always something that waits", func(n int) int { return min(n, 500*len(ping)) }, false},
		{"the kernel takes something", func(n int) int { return max(n-1<<20, 0) }, true},
		{"nothing is read", func(n int) int { return n }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			cd := h2.NewServer(silent{}, h2.Options{})
			if err := cd.Feed([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
				t.Fatal(err)
			}
			var fc fakeConn
			var u Unread
			written, rounds := 0, 0
			for rounds = range 200_000 {
				if u.TooMany(cd, &fc) {
					break
				}
				if err := cd.Feed([]byte(ping)); err != nil {
					t.Fatal(err)
				}
				u.Wrote(len(cd.Output()))
				written += len(cd.Output())
				cd.ClearOutput()
				fc.buffered = c.waits(written)
			}
			if waiting := fc.buffered / len(ping); c.ends && (waiting <= maxReplies || waiting > 2*maxReplies+5) {
				t.Errorf("ended when %d waited", waiting)
			}
			if ended := rounds < 200_000-1; ended != c.ends {
				t.Errorf("ended %v after %d, want %v", ended, rounds, c.ends)
			}
		})
	}
}
