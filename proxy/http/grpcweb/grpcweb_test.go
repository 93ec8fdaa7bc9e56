package grpcweb

import (
	"encoding/base64"
	"encoding/binary"
	"testing"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
)

// A text request decodes to the same bytes however it is cut.
func FuzzTextRequest(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x02hi"), uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		s := filtertest.New("content-type", text)
		x := filtertest.Filter(t, Kind(), `{"@type":"type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb"}`, s)
		x.RequestHeaders(s, s.Req, false)
		for rest := base64.StdEncoding.AppendEncode(nil, b); len(rest) > 0; {
			n := min(int(cut)+1, len(rest))
			if v := x.RequestData(s, rest[:n], n == len(rest)); v != filter.Stop {
				t.Fatalf("verdict %v", v)
			}
			rest = rest[n:]
		}
		if string(s.Data) != string(b) {
			t.Errorf("%q became %q", b, s.Data)
		}
	})
}

// TestTextResponseStreams: a frame of any announced size is passed on as it comes, and what
// comes out is each frame's base64 with its padding, however the bytes were cut.
func TestTextResponseStreams(t *testing.T) {
	frame := func(n int) []byte {
		f := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(n)), make([]byte, n)...)
		for i := range n {
			f[5+i] = byte(i)
		}
		return f
	}
	open := func(t *testing.T) (*filtertest.Stream, filter.HTTPFilter) {
		s := filtertest.New("content-type", text, "accept", text)
		x := filtertest.Filter(t, Kind(), `{"@type":"type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb"}`, s)
		x.RequestHeaders(s, s.Req, false)
		return s, x
	}
	for cut := 1; cut < 9; cut++ {
		s, x := open(t)
		var in, want []byte
		for _, n := range []int{0, 1, 2, 3, 4, 100} {
			in = append(in, frame(n)...)
			want = base64.StdEncoding.AppendEncode(want, frame(n))
		}
		for len(in) > 0 {
			n := min(cut, len(in))
			if v := x.ResponseData(s, in[:n], n == len(in)); v != filter.Stop {
				t.Fatalf("verdict %v", v)
			}
			in = in[n:]
		}
		if string(s.Data) != string(want) {
			t.Errorf("cut by %d: %q, want %q", cut, s.Data, want)
		}
	}
	s, x := open(t)
	x.ResponseData(s, []byte("\x00\xff\xff\xff\xff"), false) // 4 GiB are to come
	for i := range 100 {
		x.ResponseData(s, make([]byte, 1000), false)
		if in := 5 + 1000*(i+1); base64.StdEncoding.DecodedLen(len(s.Data)) < in-2 {
			t.Fatalf("of %d bytes %d characters have gone on", in, len(s.Data))
		}
	}
}

func TestOtherRequestsHaveNoFilter(t *testing.T) {
	s := filtertest.New("content-type", "application/grpc")
	if f := (factory{}).New(s); f != nil {
		t.Errorf("%T", f)
	}
}
