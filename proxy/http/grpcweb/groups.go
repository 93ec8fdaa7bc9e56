package grpcweb

import "encoding/base64"

// groups makes base64 of gRPC frames, without holding them.
type groups struct {
	part [3]byte // bytes that are no group of three yet
	n    int
	head [5]byte // of the frame at hand, as far as it has come
	got  int     // bytes of head
	left uint64  // bytes of the frame after its head
}

// encode is the base64 of b, as far as groups are whole; the end of a frame makes them so.
func (g *groups) encode(b []byte) (out []byte) {
	for len(b) > 0 {
		if g.got < len(g.head) {
			n := copy(g.head[g.got:], b)
			g.got += n
			out, b = g.add(out, b[:n]), b[n:]
			if g.got == len(g.head) {
				g.left = uint64(g.head[1])<<24 | uint64(g.head[2])<<16 | uint64(g.head[3])<<8 | uint64(g.head[4])
			}
		} else {
			n := int(min(g.left, uint64(len(b))))
			g.left -= uint64(n)
			out, b = g.add(out, b[:n]), b[n:]
		}
		if g.got == len(g.head) && g.left == 0 {
			g.got = 0
			out = g.flush(out)
		}
	}
	return out
}

// add encodes whole groups and keeps the rest.
func (g *groups) add(out, b []byte) []byte {
	if g.n > 0 {
		n := copy(g.part[g.n:], b)
		g.n += n
		b = b[n:]
		if g.n < len(g.part) {
			return out
		}
		out = base64.StdEncoding.AppendEncode(out, g.part[:])
		g.n = 0
	}
	whole := len(b) / 3 * 3
	g.n = copy(g.part[:], b[whole:])
	return base64.StdEncoding.AppendEncode(out, b[:whole])
}

// flush pads what is there.
func (g *groups) flush(out []byte) []byte {
	out = base64.StdEncoding.AppendEncode(out, g.part[:g.n])
	g.n = 0
	return out
}
