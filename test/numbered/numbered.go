// Package numbered makes bytes of which any eight say which stream they belong to and where in
// it, for tests of what carries bytes: a piece that is lost, comes twice, at another place or
// out of another stream is seen, and the test can say which it was. (A pattern that repeats is
// the same after a shift by its length.)
package numbered

import (
	"encoding/binary"
	"fmt"
	"io"
)

// A word is the mark, the stream, and the word's place in the stream, in units of its size.
const (
	wordSize = 8
	mark     = 0xa5
)

func word(stream uint16, i int64) (w [wordSize]byte) {
	binary.BigEndian.PutUint64(w[:], mark<<56|uint64(stream)<<40|uint64(i)&(1<<40-1))
	return w
}

// fill writes what is at offset at of a stream to p.
func fill(p []byte, stream uint16, at int64) {
	for len(p) > 0 {
		w := word(stream, at/wordSize)
		n := copy(p, w[at%wordSize:])
		p, at = p[n:], at+int64(n)
	}
}

// Bytes are the first n of a stream.
func Bytes(stream uint16, n int) []byte {
	b := make([]byte, n)
	fill(b, stream, 0)
	return b
}

// Reader reads a stream of Size bytes.
type Reader struct {
	Stream uint16
	Size   int64
	at     int64
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	left := r.Size - r.at
	if left <= 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), left)]
	fill(p, r.Stream, r.at)
	r.at += int64(len(p))
	return len(p), nil
}

// Checker takes a stream by Write and compares it with what it should be. The first difference
// is Write's error, and Err's from then on.
type Checker struct {
	Stream uint16
	at     int64
	err    error
	want   []byte
}

// Len is how many bytes were right.
func (c *Checker) Len() int64 { return c.at }

// Err is the first difference, nil: there was none.
func (c *Checker) Err() error { return c.err }

// Write implements io.Writer.
func (c *Checker) Write(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	if len(c.want) < len(p) {
		c.want = make([]byte, len(p))
	}
	fill(c.want[:len(p)], c.Stream, c.at)
	for i, b := range p {
		if b != c.want[i] {
			c.at += int64(i)
			c.err = fmt.Errorf("stream %d differs at byte %d: %s", c.Stream, c.at, c.what(p[i:]))
			return i, c.err
		}
	}
	c.at += int64(len(p))
	return len(p), nil
}

// Check compares all of a stream of n bytes.
func Check(stream uint16, got []byte, n int) error {
	c := Checker{Stream: stream}
	if _, err := c.Write(got); err != nil {
		return err
	}
	if len(got) != n {
		return fmt.Errorf("stream %d has %d bytes, want %d", stream, len(got), n)
	}
	return nil
}

// what says what came instead.
func (c *Checker) what(p []byte) string {
	for i := range min(2*wordSize, len(p)) {
		rest := p[i:]
		if len(rest) < 2*wordSize {
			break
		}
		a, b := binary.BigEndian.Uint64(rest), binary.BigEndian.Uint64(rest[wordSize:])
		if a>>56 != mark || b != a+1 {
			continue
		}
		stream, at := uint16(a>>40), int64(a&(1<<40-1))*wordSize-int64(i)
		if stream != c.Stream {
			return fmt.Sprintf("what is at %d of stream %d", at, stream)
		}
		if at < c.at {
			return fmt.Sprintf("what was at %d comes again", at)
		}
		return fmt.Sprintf("what is at %d comes already, %d bytes too early", at, at-c.at)
	}
	zeros := 0
	for zeros < len(p) && p[zeros] == 0 {
		zeros++
	}
	if zeros > 0 {
		return fmt.Sprintf("%d zeros or more", zeros)
	}
	return fmt.Sprintf("% x, of no stream", p[:min(len(p), 2*wordSize)])
}
