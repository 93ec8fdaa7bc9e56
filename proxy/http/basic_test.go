package http

import (
	nethttp "net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/proxy/cluster"
)

// TestVersions sends requests through all pairs of versions.
func TestVersions(t *testing.T) {
	up := backend(t, echo)
	for _, tt := range []struct {
		name     string
		client   func(testing.TB) *nethttp.Client
		upstream cluster.Protocol
		proto    string
	}{
		{"h1 to h1", client, cluster.HTTP1, "HTTP/1.1"},
		{"h1 to h2", client, cluster.HTTP2, "HTTP/2.0"},
		{"h2 to h1", client2, cluster.HTTP1, "HTTP/1.1"},
		{"h2 to h2", client2, cluster.UseDownstream, "HTTP/2.0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := upstreamSpec("up", up)
			s.Protocol = tt.upstream
			k := start(t, routes(to("up")), nil, s)
			c := tt.client(t)
			big := strings.Repeat("0123456789", 50_000)
			for i := range 3 {
				code, body, h := get(t, c, request(t, "GET", k.url("/a?b=c"), nil))
				if code != 200 || body != "GET /a?b=c " || h.Get("x-proto") != tt.proto {
					t.Fatalf("GET %d: %d %q %v", i, code, body, h)
				}
				code, body, _ = get(t, c, request(t, "POST", k.url("/p"), strings.NewReader(big)))
				if code != 200 || body != "POST /p "+big {
					t.Fatalf("POST %d: %d, %d bytes", i, code, len(body))
				}
			}
			want := entry{200, "-", "via_upstream", "GET", "/a?b=c", "up", 1, 0, 11}
			if d := cmp.Diff(want, k.log.next(t)); d != "" {
				t.Errorf("access log (-want +got):\n%s", d)
			}
			if n := k.stat("downstream_rq_2xx"); n != 6 {
				t.Errorf("downstream_rq_2xx = %d, want 6", n)
			}
			if n := k.clusters.Get("up").Stats().UpstreamCxTotal.Load(); n != 1 {
				t.Errorf("%d upstream connections, want 1 used again", n)
			}
		})
	}
}
