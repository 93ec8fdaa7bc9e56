package websocket

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// wsCase is one case: what the client sends, and what it gets for it.
type wsCase struct {
	name    string
	script  []byte
	chop    int // the size of the client's writes; 0: one
	deflate string
	mode    string // of the server
	abrupt  bool   // the client ends when it has got all, without a close frame
	reset   bool   // and that with a reset
	want    []message
	// code is that of the server's close frame: noCode for an empty one, 0: none.
	code int
}

// message is what the client is to get.
type message struct {
	op      byte
	payload []byte
}

const noCode = 1005

// builder makes a case step by step.
type builder struct {
	wsCase
	out deflater
}

func (b *builder) frame(first byte, payload []byte) *builder {
	b.script = appendFrame(b.script, first, payload, true)
	return b
}

// echo is a message that comes back.
func (b *builder) echo(op byte, payload []byte) *builder {
	return b.frame(bitFin|op, payload).expect(op, payload)
}

// parts is a message in fragments that comes back whole.
func (b *builder) parts(op byte, parts ...[]byte) *builder {
	for i, p := range parts {
		first := byte(opMore)
		if i == 0 {
			first = op
		}
		if i == len(parts)-1 {
			first |= bitFin
		}
		b.frame(first, p)
	}
	return b.expect(op, bytes.Join(parts, nil))
}

func (b *builder) expect(op byte, payload []byte) *builder {
	b.want = append(b.want, message{op, payload})
	return b
}

func (b *builder) ping(payload []byte) *builder {
	return b.frame(bitFin|opPing, payload).expect(opPong, payload)
}

// fails is the end of a case that the server ends with a code.
func (b *builder) fails(code int) wsCase {
	b.code = code
	return b.frame(bitFin|opClose, closing(1000, "")).wsCase
}

// fine is the usual end.
func (b *builder) fine() wsCase { return b.close(closing(1000, ""), 1000) }

func (b *builder) close(payload []byte, code int) wsCase {
	b.code = code
	return b.frame(bitFin|opClose, payload).wsCase
}

func closing(code int, reason string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...)
}

func begin(format string, args ...any) *builder {
	return &builder{wsCase: wsCase{name: fmt.Sprintf(format, args...)}}
}

func stars(n int) []byte { return bytes.Repeat([]byte("*"), n) }

func text(s string) []byte { return []byte(s) }

// data are the opcodes of messages.
var data = map[string]byte{"text": opText, "binary": opBinary}

// cases is the list, in the order of Autobahn's sections.
func cases() (all []wsCase) {
	for _, section := range []func() []wsCase{framing, pings, reserved, opcodes, fragments, unicode, closes, limits, compressed, ends} {
		all = append(all, section()...)
	}
	return all
}

// framing is section 1: every border of the length.
func framing() (out []wsCase) {
	for kind, op := range data {
		for _, n := range []int{0, 1, 124, 125, 126, 127, 128, 65534, 65535, 65536, 65537} {
			out = append(out, begin("1/%s/%d", kind, n).echo(op, stars(n)).fine())
		}
		for _, chop := range []int{1, 997} {
			b := begin("1/%s/chopped %d", kind, chop)
			b.chop = chop
			out = append(out, b.echo(op, stars(66*chop)).fine())
		}
	}
	return out
}

// pings is section 2.
func pings() (out []wsCase) {
	odd := []byte{0, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0, 0xff}
	for i, p := range [][]byte{nil, text("Hello, world!"), odd, stars(125)} {
		out = append(out, begin("2/ping %d", i).ping(p).fine())
	}
	chopped := begin("2/ping chopped").ping(odd).ping(stars(125))
	chopped.chop = 1
	ten, both := begin("2/ten pings"), begin("2/ten pings and pongs")
	for i := range 10 {
		p := fmt.Append(nil, "payload-", i)
		ten.ping(p)
		both.frame(bitFin|opPong, p).ping(p)
	}
	return append(out, chopped.fine(), ten.fine(), both.fine(),
		begin("2/ping too long").frame(bitFin|opPing, stars(126)).fails(1002),
		begin("2/pong").frame(bitFin|opPong, nil).fine(),
		begin("2/pong with payload").frame(bitFin|opPong, stars(125)).fine(),
		begin("2/pong, ping").frame(bitFin|opPong, text("a")).ping(text("b")).fine(),
		begin("2/ping, text, ping").ping(nil).echo(opText, text("x")).ping(text("y")).fine(),
	)
}

// reserved is section 3: bits that mean nothing.
func reserved() (out []wsCase) {
	for rsv := byte(1); rsv < 8; rsv++ {
		for _, op := range []byte{opText, opBinary, opClose, opPing} {
			b := begin("3/rsv %d, opcode %d", rsv, op)
			if rsv%2 == 0 {
				b.echo(opText, text("before")).ping(nil)
			}
			b.frame(bitFin|rsv<<4|op, text("x"))
			out = append(out, b.fails(1002))
		}
	}
	return out
}

// opcodes is section 4: opcodes that mean nothing.
func opcodes() (out []wsCase) {
	for _, op := range []byte{3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf} {
		out = append(out,
			begin("4/opcode %d", op).frame(bitFin|op, nil).fails(1002),
			begin("4/opcode %d with payload", op).echo(opText, text("before")).frame(bitFin|op, text("x")).fails(1002))
	}
	return out
}

// fragments is section 5.
func fragments() (out []wsCase) {
	a, b := text("fragment1"), text("fragment2")
	for kind, op := range data {
		out = append(out,
			begin("5/%s in two", kind).parts(op, a, b).fine(),
			begin("5/%s in five, some empty", kind).parts(op, nil, a, nil, b, nil).fine(),
			begin("5/%s, all empty", kind).parts(op, nil, nil, nil).fine(),
			begin("5/%s twice", kind).parts(op, a, b).parts(op, b, a).fine(),
			begin("5/ping within %s", kind).frame(op, a).ping(text("ping")).frame(bitFin, b).expect(op, text("fragment1fragment2")).fine(),
			begin("5/pong within %s", kind).frame(op, a).frame(bitFin|opPong, text("pong")).frame(bitFin, b).expect(op, text("fragment1fragment2")).fine(),
			begin("5/close within %s", kind).frame(op, a).close(closing(1001, "going"), 1001),
			begin("5/%s within %s", kind, kind).frame(op, a).frame(bitFin|op, b).fails(1002),
			begin("5/%s of bytes", kind).parts(op, bytes.SplitAfter(stars(300), []byte("*"))...).fine(),
		)
	}
	for name, first := range map[string]byte{"not the last": opMore, "the last": bitFin} {
		out = append(out,
			begin("5/continuation of nothing, %s", name).frame(first, a).fails(1002),
			begin("5/continuation after a message, %s", name).parts(opText, a, b).frame(first, a).fails(1002))
	}
	for _, op := range []byte{opPing, opPong, opClose} {
		out = append(out, begin("5/opcode %d in fragments", op).frame(op, a).frame(bitFin, b).fails(1002))
	}
	return out
}

// closes is section 7.
func closes() (out []wsCase) {
	hi := text("hello")
	out = append(out,
		begin("7/after a message").echo(opText, hi).fine(),
		begin("7/twice").frame(bitFin|opClose, closing(1000, "")).fine(),
		begin("7/ping after it").frame(bitFin|opClose, closing(1000, "")).frame(bitFin|opPing, nil).code1000(),
		begin("7/text after it").frame(bitFin|opClose, closing(1000, "")).frame(bitFin|opText, hi).code1000(),
		begin("7/a large message before it").echo(opText, stars(256<<10)).fine(),
		begin("7/no payload").close(nil, noCode),
		begin("7/one byte").close([]byte{3}, 1002),
		begin("7/a reason").close(closing(1000, "Hello World!"), 1000),
		begin("7/the longest reason").close(closing(1000, string(stars(123))), 1000),
		begin("7/too long a reason").close(closing(1000, string(stars(124))), 1002),
		begin("7/a reason that is no text").close(closing(1000, "\xce\xba\xed\xa0\x80"), 1007),
	)
	for _, c := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		out = append(out, begin("7/code %d", c).close(closing(c, ""), c), begin("7/code %d with a reason", c).close(closing(c, "why"), c))
	}
	for _, c := range []int{0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		out = append(out, begin("7/code %d", c).close(closing(c, ""), 1002))
	}
	return out
}

// code1000 is the end of a script that has closed already.
func (b *builder) code1000() wsCase {
	b.code = 1000
	return b.wsCase
}

// limits are sections 9 and 10: sizes of messages, fragments and writes.
func limits() (out []wsCase) {
	for kind, op := range data {
		for _, n := range []int{64 << 10, 256 << 10, 1 << 20} {
			out = append(out, begin("9/%s of %d", kind, n).echo(op, stars(n)).fine())
		}
		for _, n := range []int{64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10} {
			out = append(out, begin("9/%s in fragments of %d", kind, n).parts(op, slices.Collect(slices.Chunk(stars(64<<10), n))...).fine())
			b := begin("9/%s in writes of %d", kind, n)
			b.chop = n
			out = append(out, b.echo(op, stars(64<<10)).fine())
		}
		for _, n := range []int{0, 16, 64, 256, 1024} {
			b := begin("9/100 %ss of %d", kind, n)
			for range 100 {
				b.echo(op, stars(n))
			}
			out = append(out, b.fine())
		}
	}
	return append(out, begin("10/fragments of 1300").parts(opText, slices.Collect(slices.Chunk(stars(65536), 1300))...).fine())
}

// offers are section 13's: what client and server keep.
var offers = map[string]string{
	"both keep": "permessage-deflate", "client keeps": "permessage-deflate; server_no_context_takeover",
	"server keeps": "permessage-deflate; client_no_context_takeover",
	"none keeps":   "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
}

// compressed are sections 12 and 13.
func compressed() (out []wsCase) {
	prose := text(strings.Repeat("It was the best of times, it was the worst of times, it was the age of wisdom. ", 2000))
	noise := make([]byte, len(prose))
	r := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	for name, offer := range offers {
		start := func(format string, args ...any) *builder {
			b := begin("12/%s/%s", name, fmt.Sprintf(format, args...))
			b.deflate, b.out.takeover = offer, !strings.Contains(offer, "client_no")
			return b
		}
		for _, n := range []int{0, 16, 64, 256, 1 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10} {
			b, c := start("text of %d", n), start("binary of %d", n)
			for range 5 {
				b.squeezed(opText, prose[:n], 0)
				c.squeezed(opBinary, noise[:n], 0)
			}
			out = append(out, b.fine(), c.fine())
		}
		parts := start("in fragments")
		for range 3 {
			parts.squeezed(opText, prose[:20000], 64)
		}
		out = append(out, parts.fine(),
			start("one message is not").squeezed(opText, prose[:500], 0).echo(opText, text("as it is")).squeezed(opText, prose[:500], 0).fine(),
			start("ping within").frame(bitRSV1|opText, start("").out.compress(text("x"))[:1]).ping(nil).frame(bitFin|bitRSV1, nil).fails(1002),
			start("bit of a control frame").frame(bitFin|bitRSV1|opPing, nil).fails(1002),
			start("no deflate data").frame(bitFin|bitRSV1|opText, []byte{0xff, 0xff, 0xff, 0xff}).fails(1007),
			start("no text").squeezed(opText, text("\xff"), 0).unexpect().fails(1007),
		)
	}
	return out
}

// squeezed is a compressed message that comes back, in fragments of size; 0: one.
func (b *builder) squeezed(op byte, payload []byte, size int) *builder {
	z := b.out.compress(payload)
	if size == 0 {
		size = max(len(z), 1)
	}
	first := bitRSV1 | op
	for len(z) > size {
		b.frame(first, z[:size])
		first, z = opMore, z[size:]
	}
	return b.frame(first|bitFin, z).expect(op, payload)
}

// unexpect: the last message does not come back.
func (b *builder) unexpect() *builder {
	b.want = b.want[:len(b.want)-1]
	return b
}

// ends are connections that end without a word.
func ends() (out []wsCase) {
	for _, n := range []int{5, 70000} {
		b := begin("7/the client is gone after %d", n).echo(opText, stars(n)).wsCase
		b.abrupt = true
		r := begin("7/the client resets after %d", n).echo(opText, stars(n)).wsCase
		r.abrupt, r.reset = true, true
		d := begin("7/the server is gone after %d", n).frame(bitFin|opText, stars(n)).wsCase
		d.mode = modeDrop
		e := begin("7/the server resets after %d", n).frame(bitFin|opText, stars(n)).wsCase
		e.mode = modeReset
		out = append(out, b, r, d, e)
	}
	return out
}
