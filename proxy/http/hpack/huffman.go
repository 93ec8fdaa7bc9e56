package hpack

import "encoding/binary"

// codeLengths are the lengths of the codes of RFC 7541 appendix B, by symbol. The code is
// canonical: codes of one length follow each other in the order of the symbols, so the
// lengths say it all. The last is the end of the string.
var codeLengths = [257]uint8{
	13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
	6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
	13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
	15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
	20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
	22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
	26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
	20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
	30,
}

const (
	endOfString = 256
	longest     = 30
)

// short is a symbol whose code has at most 8 bits; bits 0: it is longer.
type short struct{ symbol, bits uint8 }

// code is the Huffman code for decoding.
var code = newHuffman()

type huffman struct {
	// first is by the next 8 bits.
	first [256]short
	// Codes of n bits are the numbers from start[n] on, count[n] of them, for the
	// symbols from symbols[at[n]] on.
	start, count, at [longest + 1]uint32
	symbols          [257]uint16
}

func newHuffman() *huffman {
	h := &huffman{}
	next, n := uint32(0), 0
	for bits := 1; bits <= longest; bits++ {
		next <<= 1
		h.start[bits], h.at[bits] = next, uint32(n)
		for symbol, length := range codeLengths {
			if int(length) != bits {
				continue
			}
			if bits <= 8 {
				for i := next << (8 - bits); i < (next+1)<<(8-bits); i++ {
					h.first[i] = short{uint8(symbol), uint8(bits)}
				}
			}
			h.symbols[n] = uint16(symbol)
			n++
			next++
		}
		h.count[bits] = next - h.start[bits]
	}
	return h
}

// long finds the symbol of a code of more than 8 bits that w begins with.
func (h *huffman) long(w uint64) (symbol uint16, bits uint) {
	for bits = 9; bits < longest; bits++ {
		if d := uint32(w>>(64-bits)) - h.start[bits]; d < h.count[bits] {
			return h.symbols[h.at[bits]+d], bits
		}
	}
	return h.symbols[h.at[bits]+uint32(w>>(64-bits))-h.start[bits]], bits
}

// appendHuffman decodes src; not ok: it holds the end of the string, or is padded
// by anything but less than 8 of its bits.
func appendHuffman(dst, src []byte) ([]byte, bool) {
	h := code
	var w uint64 // the next n bits, from the top; below them zeros
	var n uint
	for {
		if n <= 32 && len(src) >= 4 {
			w |= uint64(binary.BigEndian.Uint32(src)) << (32 - n)
			n += 32
			src = src[4:]
		}
		for ; n <= 56 && len(src) > 0 && len(src) < 4; src = src[1:] {
			w |= uint64(src[0]) << (56 - n)
			n += 8
		}
		for n >= 8 {
			s := h.first[w>>56]
			if s.bits == 0 {
				break
			}
			dst = append(dst, s.symbol)
			w <<= s.bits
			n -= uint(s.bits)
		}
		switch {
		case n < longest && len(src) == 0:
			return h.appendLast(dst, w, n)
		case n < longest:
			continue // a short one that is cut, or a long one
		}
		symbol, bits := h.long(w)
		if symbol == endOfString {
			return dst, false
		}
		dst = append(dst, byte(symbol))
		w <<= bits
		n -= bits
	}
}

// appendLast decodes the last n bits, fewer than the longest code has.
func (h *huffman) appendLast(dst []byte, w uint64, n uint) ([]byte, bool) {
	for n > 0 {
		padded := w | (1<<(64-n) - 1)
		symbol, bits := uint16(h.first[padded>>56].symbol), uint(h.first[padded>>56].bits)
		if bits == 0 {
			symbol, bits = h.long(padded)
		}
		if bits > n { // no whole code: it must be padding
			return dst, n < 8 && padded == 1<<64-1
		}
		dst = append(dst, byte(symbol))
		w <<= bits
		n -= bits
	}
	return dst, true
}
