//go:build !race

package route

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/weftmesh/weft/proxy/filter"
)

func TestHotPathDoesNotAllocate(t *testing.T) {
	s := &Spec{ResponseHeaders: HeaderOps{Add: []HeaderValue{{Name: "x-up", Value: "%UPSTREAM_HOST%"}}}}
	for i := range 50 {
		s.VirtualHosts = append(s.VirtualHosts, VirtualHost{
			Name: fmt.Sprint(i), Domains: []string{fmt.Sprintf("svc-%d", i), fmt.Sprintf("*.svc-%d.local", i)},
			Routes: []Route{
				to("", "c", Match{PathKind: PathRegex, Path: "/re/[0-9]+"}),
				to("", "c", Match{Headers: []HeaderMatch{{Name: "x-no", Value: &StringMatch{Value: "1"}}}}),
				{
					Match:          Match{Path: "/api/", Query: []QueryMatch{{Name: "q"}}},
					RequestHeaders: HeaderOps{Set: []HeaderValue{{Name: "x-from", Value: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}}},
					Forward: &Forward{
						Weighted:      []WeightedCluster{{Cluster: "a", Weight: 1}, {Cluster: "b", Weight: 2}},
						PrefixRewrite: "/v2/", Hash: []HashPolicy{{Header: "x-user"}, {SourceIP: true}},
					},
				},
			},
		})
	}
	table := mustCompile(t, s)
	conn := &filter.ConnInfo{Remote: netip.MustParseAddrPort("10.0.0.1:5")}
	h, resp, info := &filter.Headers{}, &filter.Headers{}, &filter.Info{Conn: conn, Upstream: filter.Upstream{Host: conn.Remote}}
	run := func() {
		h.Reset()
		resp.Reset()
		h.Method, h.Authority, h.Path = "GET", "x.svc-49.local", "/api/a/b?q=1"
		h.Add("x-user", "me")
		info.Request, info.Response = h, resp
		e := table.Find(h, &Req{Random: 7, Conn: conn})
		if e == nil {
			t.Fatal("no route")
		}
		target := e.Target(h, 7)
		if _, ok, _ := e.Hash(h, conn); !ok || target.Cluster == "" {
			t.Fatal("no hash or no cluster")
		}
		e.RewriteRequest(target, h, info)
		e.RewriteResponse(target, resp, info)
	}
	run()
	if h.Path != "/v2/a/b?q=1" || h.Get("x-from") != "10.0.0.1" || resp.Get("x-up") != "10.0.0.1:5" {
		t.Fatalf("%q %q %q", h.Path, h.Get("x-from"), resp.Get("x-up"))
	}
	if n := testing.AllocsPerRun(200, run); n != 0 {
		t.Errorf("%v allocations per request, want 0", n)
	}
}
