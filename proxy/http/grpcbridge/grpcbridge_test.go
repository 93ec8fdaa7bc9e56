package grpcbridge

import (
	"testing"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
)

const typ = `{"@type":"type.googleapis.com/envoy.extensions.filters.http.grpc_http1_bridge.v3.Config"`

func TestRefused(t *testing.T) {
	parse := func(c *filter.ParseContext, a *anypb.Any) error {
		_, err := Kind().Parse(c, a)
		return err
	}
	filtertest.Refused(t, parse, map[string]string{`{"@type":"type.googleapis.com/google.protobuf.Empty"}`: "Empty"})
}

// open is a filter in the middle of a response.
func open(t *testing.T, more, kind string) (*filtertest.Stream, filter.HTTPFilter) {
	t.Helper()
	s := filtertest.New("content-type", kind)
	s.StreamInfo.Protocol = "HTTP/1.1"
	x := filtertest.Filter(t, Kind(), typ+more+`}`, s)
	x.RequestHeaders(s, s.Req, true)
	s.Resp = &filter.Headers{Status: 200}
	s.Resp.Add("content-type", "application/grpc")
	return s, x
}

func TestTrailersBecomeHeaders(t *testing.T) {
	for _, c := range []struct {
		trailers []string
		status   int
		want     string // grpc-status
	}{
		{[]string{"grpc-status", "0"}, 200, "0"},
		{[]string{"grpc-status", "5", "grpc-message", "gone"}, 503, "5"},
		{[]string{"grpc-status", "x"}, 503, "x"},
		{nil, 200, ""},
	} {
		s, x := open(t, "", "application/grpc+proto")
		if v := x.ResponseHeaders(s, s.Resp, false); v != filter.Wait {
			t.Fatalf("headers: %v", v)
		}
		x.ResponseData(s, []byte("abc"), false)
		tail := &filter.Headers{}
		for i := 0; i < len(c.trailers); i += 2 {
			tail.Add(c.trailers[i], c.trailers[i+1])
		}
		x.ResponseTrailers(s, tail)
		if got := s.Resp; got.Status != c.status || got.Get("grpc-status") != c.want || got.Get("content-length") != "3" || len(s.Resumed) != 1 {
			t.Errorf("%v: %d, grpc-status %q, content-length %q", c.trailers, got.Status, got.Get("grpc-status"), got.Get("content-length"))
		}
		if got := s.Resp.Get("grpc-message"); got != tail.Get("grpc-message") {
			t.Errorf("grpc-message %q", got)
		}
	}
}

func TestPassesWhatIsNotForIt(t *testing.T) {
	s, x := open(t, "", "text/plain")
	if v := x.ResponseHeaders(s, s.Resp, false); v != filter.Continue {
		t.Errorf("a request that is not gRPC: %v", v)
	}
	s = filtertest.New("content-type", "application/grpc")
	s.StreamInfo.Protocol = "HTTP/2"
	if f, err := Kind().Parse(&filter.ParseContext{}, filtertest.Any(t, typ+`}`)); err != nil || f.New(s) != nil {
		t.Errorf("HTTP/2 is bridged (%v)", err)
	}
}

func TestFrames(t *testing.T) {
	s := filtertest.New("content-type", protobuf, "content-length", "3")
	s.StreamInfo.Protocol = "HTTP/1.1"
	s.Req.Path = "/a.B/C?x=1"
	x := filtertest.Filter(t, Kind(), typ+`,"upgradeProtobufToGrpc":true,"ignoreQueryParameters":true}`, s)
	if v := x.RequestHeaders(s, s.Req, false); v != filter.Wait || s.Cleared != 1 {
		t.Fatalf("headers: %v", v)
	}
	if s.Req.Has("content-length") || s.Req.Get("content-type") != "application/grpc" || s.Req.Path != "/a.B/C" {
		t.Errorf("the head is %q %q", s.Req.Path, s.Req.Get("content-type"))
	}
	x.RequestData(s, []byte("a"), false)
	x.RequestData(s, []byte("bc"), true)
	if got := string(s.Data); got != "\x00\x00\x00\x00\x03abc" || len(s.Resumed) != 1 {
		t.Errorf("sent %q", got)
	}

	s.Resp = &filter.Headers{Status: 200}
	s.Resp.Add("content-type", "application/grpc")
	s.Data = nil
	x.ResponseHeaders(s, s.Resp, false)
	for _, piece := range []string{"\x00\x00", "\x00\x00\x02h"} {
		if v := x.ResponseData(s, []byte(piece), false); v != filter.Stop {
			t.Errorf("%q: %v", piece, v)
		}
	}
	if v := x.ResponseData(s, []byte("i"), false); v != filter.Continue {
		t.Errorf("what follows the frame's head: %v", v)
	}
	x.ResponseTrailers(s, &filter.Headers{})
	if got := string(s.Data); got != "h" || s.Resp.Get("content-length") != "2" {
		t.Errorf("sent %q of %s", got, s.Resp.Get("content-length"))
	}
}

func TestTooLarge(t *testing.T) {
	s := filtertest.New("content-type", protobuf)
	s.StreamInfo.Protocol = "HTTP/1.1"
	x := filtertest.Filter(t, Kind(), typ+`,"upgradeProtobufToGrpc":true}`, s)
	x.RequestHeaders(s, s.Req, false)
	if v := x.RequestData(s, make([]byte, maxBody), false); v != filter.Stop {
		t.Errorf("as much as may be: %v", v)
	}
	if v := x.RequestData(s, []byte("x"), false); v != filter.Reply || s.Replies[0].Status != 413 {
		t.Errorf("more: %v", v)
	}
}
