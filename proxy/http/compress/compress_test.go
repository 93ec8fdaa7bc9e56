package compress

import (
	"bytes"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	typ  = `{"@type":"type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor"`
	dec  = `{"@type":"type.googleapis.com/envoy.extensions.filters.http.decompressor.v3.Decompressor"`
	gzc  = `,"compressorLibrary":{"name":"x","typedConfig":{"@type":"type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip"`
	gzd  = `,"decompressorLibrary":{"name":"x","typedConfig":{"@type":"type.googleapis.com/envoy.extensions.compression.gzip.decompressor.v3.Gzip"`
	zstD = `,"decompressorLibrary":{"name":"x","typedConfig":{"@type":"type.googleapis.com/envoy.extensions.compression.zstd.decompressor.v3.Zstd"`
)

func TestRefused(t *testing.T) {
	parse := func(c *filter.ParseContext, a *anypb.Any) error {
		_, err := CompressorKind().Parse(c, a)
		return err
	}
	filtertest.Refused(t, parse, map[string]string{
		typ + `}`: "CompressorLibrary",
		typ + `,"responseDirectionConfig":{"statusHeaderEnabled":true}` + gzc + `}}}`: "status_header_enabled",
		typ + gzc + `,"compressionStrategy":"RLE"}}}`:                                 "compression_strategy",
	})
	parse = func(c *filter.ParseContext, a *anypb.Any) error {
		_, err := DecompressorKind().Parse(c, a)
		return err
	}
	filtertest.Refused(t, parse, map[string]string{
		dec + `}`:                              "DecompressorLibrary",
		dec + zstD + `,"dictionaries":[{}]}}}`: "dictionaries",
	})
}

var libraries = []*library{gzipLibrary(6), brotliLibrary(3, 18), zstdLibrary(3, true)}

// FuzzRoundTrip: what was compressed in pieces decompresses in pieces to the same, with every
// library, and each piece comes out at once.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("hello hello hello"), uint8(4))
	f.Add([]byte{}, uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		for _, l := range libraries {
			e, d := l.encoder(), l.decoder(1<<40)
			var got bytes.Buffer
			for rest := b; ; {
				n := min(int(cut)+1, len(rest))
				end := n == len(rest)
				if err := d.decode(bytes.Clone(e.encode(rest[:n], end)), end, func(p []byte) { got.Write(p) }); err != nil {
					t.Fatalf("%s: %v", l.name, err)
				}
				rest = rest[n:]
				if !bytes.Equal(got.Bytes(), b[:len(b)-len(rest)]) {
					t.Fatalf("%s: %d bytes are out, %d went in", l.name, got.Len(), len(b)-len(rest))
				}
				if end {
					break
				}
			}
			d.stop()
			l.put(e)
		}
	})
}

// FuzzGarbage: bytes that are no compressed data end in an error, or in nothing.
func FuzzGarbage(f *testing.F) {
	f.Add([]byte("\x1f\x8b\x08\x00garbage"), uint8(4))
	f.Fuzz(func(_ *testing.T, b []byte, cut uint8) {
		for _, l := range libraries {
			d := l.decoder(maxRatio)
			n := min(int(cut), len(b))
			if d.decode(b[:n], false, func([]byte) {}) == nil {
				_ = d.decode(b[n:], true, func([]byte) {})
			}
			d.stop()
		}
	})
}

// A body that becomes too large is refused before it does.
func TestBomb(t *testing.T) {
	e := libraries[0].encoder()
	bomb := bytes.Clone(e.encode(make([]byte, 64<<20), true))
	libraries[0].put(e)
	s := filtertest.New("content-encoding", "gzip")
	x := filtertest.Filter(t, DecompressorKind(), dec+gzd+`}}}`, s)
	defer x.Done(s)
	x.RequestHeaders(s, s.Req, false)
	if v := x.RequestData(s, bomb, true); v != filter.Reply || s.Replies[0].Status != 400 {
		t.Errorf("verdict %v, replies %+v", v, s.Replies)
	}
	if len(s.Data) > 200*len(bomb) {
		t.Errorf("%d bytes became %d", len(bomb), len(s.Data))
	}
}

func TestCutOff(t *testing.T) {
	s := filtertest.New("content-encoding", "gzip")
	x := filtertest.Filter(t, DecompressorKind(), dec+gzd+`}}}`, s)
	defer x.Done(s)
	x.RequestHeaders(s, s.Req, false)
	if v := x.RequestData(s, []byte("\x1f\x8b\x08"), true); v != filter.Reply {
		t.Errorf("verdict %v", v)
	}
}

func TestStreaming(t *testing.T) {
	s := filtertest.New("accept-encoding", "gzip")
	s.Resp = &filter.Headers{Status: 200}
	x := filtertest.Filter(t, CompressorKind(), typ+gzc+`}}}`, s)
	defer x.Done(s)
	x.RequestHeaders(s, s.Req, true)
	x.ResponseHeaders(s, s.Resp, false)
	piece := []byte(strings.Repeat("some text ", 100))
	for range 3 {
		before := len(s.Data)
		if v := x.ResponseData(s, piece, false); v != filter.Stop || len(s.Data) == before {
			t.Fatal("a piece was held back")
		}
	}
}
