package transcode

import (
	"encoding/base64"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
)

// The filter's ways are compared with Envoy's in test/peers/envoy/testdata/transcode, whose
// services are used here too.
const dir = "../../../test/peers/envoy/testdata/transcode/"

const typ = `{"@type":"type.googleapis.com/envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",`

func config1(t testing.TB, more string) string {
	t.Helper()
	set, err := os.ReadFile(dir + "shelf.pb")
	if err != nil {
		t.Fatal(err)
	}
	return typ + `"services":["shelf.v1.Shelf"],"proto_descriptor_bin":"` + base64.StdEncoding.EncodeToString(set) + `"` + more + `}`
}

func TestRefused(t *testing.T) {
	parse := func(c *filter.ParseContext, a *anypb.Any) error {
		_, err := Kind().Parse(c, a)
		return err
	}
	filtertest.Refused(t, parse, map[string]string{
		`{"@type":"type.googleapis.com/google.protobuf.Empty"}`:                              "Empty",
		typ + `"services":["a.B"]}`:                                                          "DescriptorSet",
		typ + `"services":["a.B"],"proto_descriptor":"` + dir + `shelf.pb"}`:                 `services: proto_descriptor has no service "a.B"`,
		typ + `"services":["a.B"],"proto_descriptor":"/nowhere"}`:                            "proto_descriptor: open /nowhere",
		typ + `"services":["a.B"],"proto_descriptor_bin":"AAAA"}`:                            "no FileDescriptorSet",
		strings.Replace(config1(t, ""), "{", `{"capture_unknown_query_parameters":true,`, 1): "capture_unknown_query_parameters",
	})
}

// TestServiceless: a filter without services does nothing.
func TestServiceless(t *testing.T) {
	s := filtertest.New(":path", "/v1/any/x")
	x := filtertest.Filter(t, Kind(), typ+`"proto_descriptor_bin":""}`, s)
	if v := x.RequestHeaders(s, s.Req, true); v != filter.Continue {
		t.Errorf("%v", v)
	}
}

// TestPieces: frames and bodies that come byte by byte.
func TestPieces(t *testing.T) {
	s := filtertest.New("content-type", "application/json")
	s.Req.Method, s.Req.Path = "POST", "/v1/books:add"
	x := filtertest.Filter(t, Kind(), config1(t, ""), s)
	if v := x.RequestHeaders(s, s.Req, false); v != filter.Continue || s.Req.Path != "/shelf.v1.Shelf/Add" {
		t.Fatalf("%v, %s", v, s.Req.Path)
	}
	body := `[{"id":"a"},{"pages":"1"}]`
	for i := range len(body) {
		x.RequestData(s, []byte(body[i:i+1]), i == len(body)-1)
	}
	if got, want := string(s.Data), "\x00\x00\x00\x00\x03z\x01a\x00\x00\x00\x00\x02\x10\x01"; got != want {
		t.Errorf("request %q, want %q", got, want)
	}
	s.Resp, s.Data = &filter.Headers{Status: 200}, nil
	s.Resp.Add("content-type", "application/grpc")
	if v := x.ResponseHeaders(s, s.Resp, false); v != filter.Wait {
		t.Fatalf("%v", v)
	}
	for _, c := range "\x00\x00\x00\x00\x03z\x01a" {
		x.ResponseData(s, []byte{byte(c)}, false)
	}
	tail := &filter.Headers{}
	tail.Add("grpc-status", "0")
	x.ResponseTrailers(s, tail)
	if got := string(s.Data); got != `{"id":"a"}` || s.Resp.Get("content-length") != "10" {
		t.Errorf("response %q", got)
	}
}

// FuzzRequest: no request panics; what is sent is a frame.
func FuzzRequest(f *testing.F) {
	cfg := config1(f, `,"autoMapping":true,"caseInsensitiveEnumParsing":true`)
	f.Add("GET", "/v1/any/x?like.pages=1&kind=fiction&tags=q&like.edition=3", "")
	f.Add("POST", "/v1/books/x?loan=1s", `{"kind":"Fiction","next":{"notes":{"a":"b"}}}`)
	f.Add("PUT", "/v1/shelves/1/books/2", `{"cover":"aGk="}`)
	f.Add("POST", "/v1/books:add", `[{},{"id":"a"}]`)
	parsed, err := Kind().Parse(&filter.ParseContext{}, filtertest.Any(f, cfg))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, path, body string) {
		s := filtertest.New("content-type", "application/json")
		s.Req.Method, s.Req.Path = method, path
		x := parsed.New(s)
		if x.RequestHeaders(s, s.Req, false); x.(*instance).build == nil || len(s.Replies) > 0 {
			return
		}
		x.RequestData(s, []byte(body), true)
		if len(s.Replies) == 0 && len(s.Data) > 0 && len(s.Data) < frameHead {
			t.Errorf("%q is no frame", s.Data)
		}
	})
}
