package declared

import (
	"testing"

	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/filter"
)

// FuzzMessage: no bytes do harm, what was changed can be read again, and so can the proxy's own answers.
func FuzzMessage(f *testing.F) {
	var all []*codec.Protocol
	for _, y := range []string{ordersYAML, rpcYAML, boltYAML, tlvYAML, fixedYAML, wordsYAML} {
		all = append(all, made(f, y))
	}
	all = append(all, shipped(f, "brpc"), shipped(f, "trpc"))
	for i, s := range [][]byte{
		order(1, 7, "op=buy\nUser=jo\n", "body"), []byte(`{"id": 7, "method": "buy", "params": {"user": "j\"\u00f6", "list": [1, {}]}, "meta": {"a": null}}` + "\n"),
		bolt(9, "body", "service", "a.B", "Tag", "x"), tagged("\x01\x01", "\x02buy", "\x04\x01\x02"), []byte("Q...buy     000042......"), []byte("GET name\r\n"),
		brpcCall(7, "Echo", "User", "jo"), trpcCall(7, true, "/f", "Env", "test"),
	} {
		f.Add(uint8(i), s, "user", "v", uint32(9)) //nolint:gosec // small
	}
	f.Add(uint8(7), trpc(0x101, 5, nil, "\x0a\x00"), "k", "", uint32(1))
	f.Fuzz(func(t *testing.T, which uint8, raw []byte, name, val string, id uint32) {
		p := all[int(which)%len(all)]
		c := p.New()
		for _, from := range []codec.Peer{codec.Client, codec.Server} {
			m := codec.Message{Head: &filter.Headers{}}
			if c.Decode(raw, from, &m) != nil || m.Size == 0 || m.Size > len(raw) {
				continue
			}
			msg := raw[:m.Size:m.Size]
			a := c.Answer(nil, &m, codec.Answer{Status: 404, Text: val})
			back := codec.Message{}
			if err := c.Decode(a, codec.Server, &back); err != nil || back.Size != len(a) {
				t.Fatalf("answer %q to %q: size %d, %v", a, msg, back.Size, err)
			}
			for _, ch := range [][]codec.Change{nil, {{Name: name, Value: val}}, {{Name: name, Remove: true}}, {{Name: ":method", Value: val}, {Name: "user", Value: val}}} {
				out, err := c.Encode(nil, msg, from, uint64(id), ch)
				if err != nil {
					continue
				}
				back := codec.Message{Head: &filter.Headers{}}
				if err := c.Decode(out, from, &back); err != nil || back.Size != len(out) || back.Kind != m.Kind && m.Fault == nil && ch == nil {
					t.Fatalf("%q changed by %v is %q: kind %d, size %d of %d, %v", msg, ch, out, back.Kind, back.Size, len(out), err)
				}
			}
		}
	})
}
