// Package compress is the HTTP filters envoy.filters.http.compressor and
// envoy.filters.http.decompressor, with gzip, brotli and zstd.
//
// Bodies stream: every piece that comes is flushed, so that nobody waits for
// more, and nothing is held. Several compressors in a chain settle together, by
// the client's Accept-Encoding, which of them works. Settings that only tune the
// memory of Envoy's libraries (window_bits, memory_level, chunk_size,
// input_block_bits of some) are taken and have no effect on what decoders see.
package compress

import (
	"bytes"
	"io"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Names of the filters, in Envoy's words.
const (
	CompressorName   = "envoy.filters.http.compressor"
	DecompressorName = "envoy.filters.http.decompressor"
)

// writer is what all three have.
type writer interface {
	io.WriteCloser
	Flush() error
	Reset(io.Writer)
}

// library compresses and decompresses one content coding.
type library struct {
	name   string // in statistics
	coding string // in headers
	pool   sync.Pool
	reader func(io.Reader) (io.Reader, func(), error)
}

func gzipLibrary(level int) *library {
	l := &library{name: "gzip", coding: "gzip"}
	l.pool.New = func() any {
		w, err := gzip.NewWriterLevel(nil, level)
		if err != nil {
			w = gzip.NewWriter(nil) // the API has checked the level
		}
		return &encoder{w: w}
	}
	l.reader = func(r io.Reader) (io.Reader, func(), error) {
		z, err := gzip.NewReader(r)
		return z, func() {}, err
	}
	return l
}

func brotliLibrary(quality, window int) *library {
	l := &library{name: "brotli", coding: "br"}
	l.pool.New = func() any {
		return &encoder{w: brotli.NewWriterOptions(nil, brotli.WriterOptions{Quality: quality, LGWin: window})}
	}
	l.reader = func(r io.Reader) (io.Reader, func(), error) { return brotli.NewReader(r), func() {}, nil }
	return l
}

func zstdLibrary(level int, checksum bool) *library {
	l := &library{name: "zstd", coding: "zstd"}
	l.pool.New = func() any {
		w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(checksum),
			zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)))
		if err != nil {
			panic("BUG: zstd options: " + err.Error())
		}
		return &encoder{w: w}
	}
	l.reader = func(r io.Reader) (io.Reader, func(), error) {
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return l
}

// encoder compresses one body. It comes from the library's pool.
type encoder struct {
	w   writer
	out bytes.Buffer
}

func (l *library) encoder() *encoder {
	e := l.pool.Get().(*encoder) //nolint:forcetypeassert // the pool's own
	e.out.Reset()
	e.w.Reset(&e.out)
	return e
}

func (l *library) put(e *encoder) {
	e.w.Reset(io.Discard)
	if e.out.Cap() <= 64<<10 {
		l.pool.Put(e)
	}
}

// encode returns what b becomes, valid until the next call.
func (e *encoder) encode(b []byte, end bool) []byte {
	e.out.Reset()
	if len(b) > 0 {
		_, _ = e.w.Write(b) // a buffer does not fail
	}
	if end {
		_ = e.w.Close()
	} else {
		_ = e.w.Flush()
	}
	return e.out.Bytes()
}
