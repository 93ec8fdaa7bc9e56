package grpcweb

import (
	"encoding/base64"
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

func TestOtherRequestsHaveNoFilter(t *testing.T) {
	s := filtertest.New("content-type", "application/grpc")
	if f := (factory{}).New(s); f != nil {
		t.Errorf("%T", f)
	}
}
