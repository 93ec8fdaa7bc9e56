package websocket

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"io"
)

// Opcodes.
const (
	opMore   = 0x0
	opText   = 0x1
	opBinary = 0x2
	opClose  = 0x8
	opPing   = 0x9
	opPong   = 0xa
)

// Bits of a frame's first byte.
const (
	bitFin  = 0x80
	bitRSV1 = 0x40
)

// appendFrame writes a frame; first is its first byte.
func appendFrame(out []byte, first byte, payload []byte, mask bool) []byte {
	out = append(out, first)
	var m byte
	if mask {
		m = 0x80
	}
	switch n := len(payload); {
	case n < 126:
		out = append(out, m|byte(n))
	case n < 1<<16:
		out = binary.BigEndian.AppendUint16(append(out, m|126), uint16(n))
	default:
		out = binary.BigEndian.AppendUint64(append(out, m|127), uint64(n))
	}
	if !mask {
		return append(out, payload...)
	}
	key := [4]byte{0x37, 0xfa, 0x21, byte(len(out))}
	out = append(out, key[:]...)
	for i, b := range payload {
		out = append(out, b^key[i%4])
	}
	return out
}

// frame is one as it came.
type frame struct {
	first   byte
	masked  bool
	payload []byte
}

func (f *frame) op() byte      { return f.first & 0xf }
func (f *frame) fin() bool     { return f.first&bitFin != 0 }
func (f *frame) control() bool { return f.first&0x8 != 0 }

// errTooLong is a control frame that is none.
var errTooLong = errors.New("a control frame of more than 125 bytes")

// readFrame reads one.
func readFrame(r io.Reader) (f frame, err error) {
	var h [8]byte
	if _, err := io.ReadFull(r, h[:2]); err != nil {
		return f, err
	}
	f.first, f.masked = h[0], h[1]&0x80 != 0
	n := uint64(h[1] & 0x7f)
	switch {
	case f.control() && n > 125:
		return f, errTooLong
	case n == 126:
		_, err = io.ReadFull(r, h[:2])
		n = uint64(binary.BigEndian.Uint16(h[:]))
	case n == 127:
		_, err = io.ReadFull(r, h[:])
		n = binary.BigEndian.Uint64(h[:])
	}
	if err != nil {
		return f, io.ErrUnexpectedEOF
	}
	var key [4]byte
	if f.masked {
		if _, err := io.ReadFull(r, key[:]); err != nil {
			return f, io.ErrUnexpectedEOF
		}
	}
	f.payload = make([]byte, n)
	if _, err := io.ReadFull(r, f.payload); err != nil {
		return f, io.ErrUnexpectedEOF
	}
	if f.masked {
		for i := range f.payload {
			f.payload[i] ^= key[i%4]
		}
	}
	return f, nil
}

// deflater is one direction of permessage-deflate. The zero value keeps no context.
type deflater struct {
	takeover bool // the context of one message goes on in the next
	w        *flate.Writer
	buf      bytes.Buffer
	window   []byte // of the other direction
}

// tail is what the end of a compressed message leaves out.
var tail = []byte{0, 0, 0xff, 0xff}

func (d *deflater) compress(p []byte) []byte {
	d.buf.Reset()
	switch {
	case d.w == nil:
		d.w, _ = flate.NewWriter(&d.buf, flate.DefaultCompression)
	case !d.takeover:
		d.w.Reset(&d.buf)
	}
	_, _ = d.w.Write(p)
	_ = d.w.Flush()
	return bytes.Clone(bytes.TrimSuffix(d.buf.Bytes(), tail))
}

func (d *deflater) decompress(p []byte) ([]byte, error) {
	in := io.MultiReader(bytes.NewReader(p), bytes.NewReader(tail), bytes.NewReader([]byte{1, 0, 0, 0xff, 0xff}))
	out, err := io.ReadAll(flate.NewReaderDict(in, d.window))
	if d.takeover {
		d.window = append(d.window, out...)
		d.window = d.window[max(0, len(d.window)-32<<10):]
	}
	return out, err
}
