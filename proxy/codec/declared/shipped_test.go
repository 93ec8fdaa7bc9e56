package declared

import (
	"encoding/binary"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/codec/codectest"
)

// text, num and sub append fields of protobuf.
func text(b []byte, n protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
}

func num(b []byte, n protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
}

func sub(b []byte, n protowire.Number, in []byte) []byte { return text(b, n, string(in)) }

// brpc makes a frame of baidu_std by hand.
func brpc(meta []byte, body string) []byte {
	b := binary.BigEndian.AppendUint32([]byte("PRPC"), uint32(len(meta)+len(body)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(meta)))
	return append(append(b, meta...), body...)
}

func brpcCall(id uint64, method string, more ...string) []byte {
	m := sub(nil, 1, num(text(text(nil, 1, "EchoService"), 2, method), 3, 77))
	m = num(m, 4, id)
	for i := 0; i < len(more); i += 2 {
		m = sub(m, 9, text(text(nil, 1, more[i]), 2, more[i+1]))
	}
	return brpc(m, "\x0a\x02hi")
}

// trpc makes a frame of tRPC by hand.
func trpc(kind uint16, stream uint32, head []byte, body string) []byte {
	b := binary.BigEndian.AppendUint16([]byte{9, 0x30}, kind)
	b = binary.BigEndian.AppendUint32(b, uint32(16+len(head)+len(body)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(head)))
	b = binary.BigEndian.AppendUint32(b, stream)
	b = append(b, 0, 0)
	return append(append(b, head...), body...)
}

func trpcCall(id uint64, oneWay bool, fn string, more ...string) []byte {
	var h []byte
	if oneWay {
		h = num(h, 2, 1)
	}
	h = text(text(text(num(h, 3, id), 5, "trpc.a.client"), 6, "trpc.a.server.Greeter"), 7, fn)
	for i := 0; i < len(more); i += 2 {
		h = sub(h, 9, text(text(nil, 1, more[i]), 2, more[i+1]))
	}
	return trpc(0, 0, h, "body")
}

func TestBRPC(t *testing.T) {
	p := shipped(t, "brpc")
	failed := brpc(sub(num(nil, 4, 7), 2, text(num(nil, 1, 1001), 2, "gone")), "")
	codectest.Check(t, p, []codectest.Sample{
		{Name: "request", Raw: brpcCall(7, "Echo", "User", "jo"), Kind: codec.Request, ID: 7,
			Want: map[string]string{":authority": "EchoService", ":method": "Echo", ":path": "/EchoService/Echo", "service": "EchoService", "log-id": "77", "user": "jo"}},
		{Name: "answer", From: codec.Server, Raw: brpc(num(sub(nil, 2, nil), 4, 7), "body"), Kind: codec.Response, ID: 7, Want: map[string]string{":status": "200"}},
		{Name: "error", From: codec.Server, Raw: failed, Kind: codec.Response, ID: 7, Want: map[string]string{":status": "404"}},
	})
	raw := brpcCall(1, "Echo", "User", "jo")
	got, err := p.New().Encode(nil, raw, codec.Client, 1<<30, []codec.Change{{Name: "user", Value: "jane"}, {Name: "tag", Value: "blue"}, {Name: ":method", Value: "Echo2"}})
	m := decoded(t, p, codec.Client, got)
	if err != nil || m.ID != 1<<30 || m.Head.Get("user") != "jane" || m.Head.Get("tag") != "blue" || m.Head.Path != "/EchoService/Echo2" || m.Head.Get("log-id") != "77" || string(got[len(got)-4:]) != "\x0a\x02hi" {
		t.Errorf("%q: %+v, %v", got, m, err)
	}
	m = decoded(t, p, codec.Client, raw)
	answer := p.New().Answer(nil, &m, codec.Answer{Status: 429, Text: "slow down"})
	want := brpc(sub(num(nil, 4, 1), 2, text(num(nil, 1, 2004), 2, "slow down")), "")
	if string(answer) != string(want) {
		t.Errorf("%q, want %q", answer, want)
	}
}

func TestTRPC(t *testing.T) {
	p := shipped(t, "trpc")
	open := string(sub(nil, 1, sub(text(text(text(nil, 1, "c"), 2, "s"), 3, "/s/Chat"), 5, text(text(nil, 1, "k"), 2, "v"))))
	codectest.Check(t, p, []codectest.Sample{
		{Name: "request", Raw: trpcCall(7, false, "/trpc.a.Greeter/Hi", "Env", "test"), Kind: codec.Request, ID: 7,
			Want: map[string]string{":authority": "trpc.a.server.Greeter", ":method": "/trpc.a.Greeter/Hi", ":path": "/trpc.a.Greeter/Hi", "caller": "trpc.a.client", "callee": "trpc.a.server.Greeter", "env": "test"}},
		{Name: "one way", Raw: trpcCall(7, true, "/f"), Kind: codec.OneWay, ID: 7},
		{Name: "answer", From: codec.Server, Raw: trpc(0, 0, sub(num(nil, 3, 7), 8, text(text(nil, 1, "k"), 2, "v")), "body"), Kind: codec.Response, ID: 7, Want: map[string]string{":status": "200", "k": "v", "caller": ""}},
		{Name: "error", From: codec.Server, Raw: trpc(0, 0, num(num(nil, 3, 7), 4, 22), ""), Kind: codec.Response, ID: 7, Want: map[string]string{":status": "503"}},
		{Name: "stream", Raw: trpc(0x101, 5, nil, open), Kind: codec.StreamOpen, ID: 5, Want: map[string]string{":path": "/s/Chat", "caller": "c", "k": "v"}},
		{Name: "opened", From: codec.Server, Raw: trpc(0x101, 5, nil, ""), Kind: codec.StreamData, ID: 5},
		{Name: "data", Raw: trpc(0x102, 5, nil, "x"), Kind: codec.StreamData, ID: 5},
		{Name: "feedback", From: codec.Server, Raw: trpc(0x103, 5, nil, "\x08\x01"), Kind: codec.StreamData, ID: 5},
		{Name: "close", From: codec.Server, Raw: trpc(0x104, 5, nil, ""), Kind: codec.StreamEnd, ID: 5},
		{Name: "reset", From: codec.Server, Raw: trpc(0x104, 5, nil, "\x08\x01"), Kind: codec.StreamReset, ID: 5},
	})
	m := decoded(t, p, codec.Client, trpcCall(7, false, "/f"))
	answer := p.New().Answer(nil, &m, codec.Answer{Status: 404, Text: "no route"})
	if want := trpc(0, 0, text(num(num(nil, 3, 7), 4, 11), 6, "no route"), ""); string(answer) != string(want) {
		t.Errorf("%q, want %q", answer, want)
	}
	m = decoded(t, p, codec.Client, trpc(0x101, 5, nil, open))
	answer = p.New().Answer(nil, &m, codec.Answer{Status: 404, Text: "no route"})
	if want := trpc(0x104, 5, nil, string(text(num(num(nil, 1, 1), 2, 11), 3, "no route"))); string(answer) != string(want) {
		t.Errorf("%q, want %q", answer, want)
	}
	if got, want := p.New().(codec.Resetter).Reset(nil, 5), trpc(0x104, 5, nil, "\x08\x01"); string(got) != string(want) {
		t.Errorf("%q, want %q", got, want)
	}
	got, err := p.New().Encode(nil, trpcCall(7, false, "/f", "Env", "test"), codec.Client, 9, []codec.Change{{Name: "env", Remove: true}, {Name: "x", Value: "y"}})
	if want := trpcCall(9, false, "/f", "x", "y"); string(got) != string(want) || err != nil {
		t.Errorf("%q, want %q (%v)", got, want, err)
	}
}
