package cel

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
)

func TestAttributes(t *testing.T) {
	h := &filter.Headers{Method: "GET", Path: "/a?b=c", Authority: "x"}
	h.Add("x-one", "1")
	i := &filter.Info{
		Conn:    &filter.ConnInfo{Remote: netip.MustParseAddrPort("10.0.0.1:5"), SNI: "sni"},
		Request: h, Status: 503, Duration: 3 * time.Second, Details: "no", Upstream: filter.Upstream{Cluster: "c"},
		Metadata: map[string]any{"f": map[string]any{"k": 7.0}},
	}
	for expression, want := range map[string]bool{
		"response.code >= 500":                                         true,
		"response.code < 500":                                          false,
		`request.headers["x-one"] == "1"`:                              true,
		`request.headers["x-two"] == "1"`:                              false, // an error
		`has(request.headers.nope)`:                                    false,
		`request.url_path == "/a" && request.query == "b=c"`:           true,
		`request.duration > duration("2s")`:                            true,
		`source.address.startsWith("10.0.0.1")`:                        true,
		`connection.mtls || connection.requested_server_name == "sni"`: true,
		`xds.cluster_name == "c"`:                                      true,
		`metadata.filter_metadata["f"]["k"] == 7.0`:                    true,
		`response.headers["x"] == "y"`:                                 false, // there is no response head
	} {
		p, err := Compile(expression)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		if got := p.True(i); got != want {
			t.Errorf("%s is %v, want %v", expression, got, want)
		}
	}
	for expression, want := range map[string]string{"response.code >": "Syntax error", "nobody.home == 1": "undeclared", `"a"`: "want a boolean"} {
		if _, err := Compile(expression); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", expression, err, want)
		}
	}
}

func FuzzCompile(f *testing.F) {
	f.Add("response.code >= 500")
	f.Add(`request.headers["a"] in ["b"] ? true : !has(xds.x)`)
	i := &filter.Info{Request: &filter.Headers{}}
	f.Fuzz(func(_ *testing.T, expression string) {
		if p, err := Compile(expression); err == nil {
			p.True(i)
		}
	})
}
