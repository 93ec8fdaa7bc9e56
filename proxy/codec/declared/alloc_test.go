//go:build !race

package declared

import (
	"testing"

	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/filter"
)

// each are messages of all sorts of protocols, and a change that each can carry out.
func each(t testing.TB, f func(name string, p *codec.Protocol, raw []byte, changes []codec.Change)) {
	f("orders", made(t, ordersYAML), order(1, 7, "op=buy\nUser=jo\n", "body"), []codec.Change{{Name: "user", Value: "jane"}, {Name: "new", Value: "x"}})
	f("json", made(t, rpcYAML), []byte(`{"id": 7, "method": "buy", "params": {"user": "j\"\u00f6"}}`+"\n"), []codec.Change{{Name: "user", Value: "jane"}})
	f("bolt", made(t, boltYAML), bolt(9, "body", "service", "a.B", "Tag", "x"), []codec.Change{{Name: "tag", Value: "yy"}, {Name: "new", Value: "1"}})
	f("tlv", made(t, tlvYAML), tagged("\x01\x01", "\x02buy", "\x04\x01\x02"), []codec.Change{{Name: "user", Value: "jo"}})
	f("brpc", shipped(t, "brpc"), brpcCall(7, "Echo", "User", "jo"), []codec.Change{{Name: "user", Value: "jane"}, {Name: "x-request-id", Value: "1"}})
	f("trpc", shipped(t, "trpc"), trpcCall(7, false, "/f", "Env", "test"), []codec.Change{{Name: "env", Value: "x"}, {Name: "new", Value: "1"}})
}

func TestAllocatesNothing(t *testing.T) {
	each(t, func(name string, p *codec.Protocol, raw []byte, changes []codec.Change) {
		c, h, m, out := p.New(), &filter.Headers{}, &codec.Message{}, []byte(nil)
		if n := testing.AllocsPerRun(100, func() {
			h.Reset()
			*m = codec.Message{Head: h}
			_ = c.Decode(raw, codec.Client, m)
			out, _ = c.Encode(out[:0], raw, codec.Client, 7, changes)
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	})
}

func BenchmarkCodec(b *testing.B) {
	each(b, func(name string, p *codec.Protocol, raw []byte, _ []codec.Change) {
		b.Run(name, func(b *testing.B) {
			c, h, m, out := p.New(), &filter.Headers{}, &codec.Message{}, []byte(nil)
			for b.Loop() {
				h.Reset()
				*m = codec.Message{Head: h}
				_ = c.Decode(raw, codec.Client, m)
				out, _ = c.Encode(out[:0], raw, codec.Client, 7, nil)
			}
		})
	})
}
