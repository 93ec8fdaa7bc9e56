package route

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/proxy/filter"
)

func find(t testing.TB, s *Spec, h *filter.Headers) *Entry {
	t.Helper()
	e := mustCompile(t, s).Find(h, &Req{})
	if e == nil {
		t.Fatal("no route")
	}
	return e
}

func fields(h *filter.Headers) (out []string) {
	for i := range h.Len() {
		out = append(out, h.At(i).Name+": "+h.At(i).Value)
	}
	return out
}

func TestWeights(t *testing.T) {
	h := request("GET", "x", "/")
	e := find(t, one(Route{Forward: &Forward{Weighted: []WeightedCluster{
		{Cluster: "v1", Weight: 90}, {Cluster: "none", Weight: 0}, {Cluster: "v2", Weight: 10},
	}}}), h)
	rnd := rand.New(rand.NewPCG(1, 2))
	for name, random := range map[string]func(i int) uint64{
		"random": func(int) uint64 { return rnd.Uint64() },
		// Poor numbers must do as well: the choice may not hang on few bits.
		"counting":  func(i int) uint64 { return uint64(i) },
		"high bits": func(i int) uint64 { return uint64(i) << 40 },
	} {
		got := map[string]int{}
		for i := range 10_000 {
			got[e.Target(h, random(i)).Cluster]++
		}
		if got["v1"] < 9000-120 || got["v1"] > 9000+120 || got["none"] != 0 {
			t.Errorf("%s: %v, want 9000 ± 120 for v1, 0 for none", name, got)
		}
	}
}

func TestFractionAndWeightsAreIndependent(t *testing.T) {
	h := request("GET", "x", "/")
	table := mustCompile(t, one(Route{
		Match:   Match{Fraction: &Fraction{Numerator: 50, Denominator: 100}},
		Forward: &Forward{Weighted: []WeightedCluster{{Cluster: "a", Weight: 50}, {Cluster: "b", Weight: 50}}},
	}))
	rnd := rand.New(rand.NewPCG(3, 4))
	got := map[string]int{}
	for range 10_000 {
		n := rnd.Uint64()
		if e := table.Find(h, &Req{Random: n}); e != nil {
			got[e.Target(h, n).Cluster]++
		}
	}
	for _, c := range []string{"a", "b"} {
		if got[c] < 2300 || got[c] > 2700 {
			t.Errorf("%v, want 2500 ± 200 each", got)
		}
	}
}

func TestTarget(t *testing.T) {
	h := request("GET", "x", "/", "x-to", "dyn")
	e := find(t, one(Route{Forward: &Forward{ClusterHeader: "X-To", Subset: map[string]string{"v": "1"}}}), h)
	if got := e.Target(h, 0); got.Cluster != "dyn" || got.Subset != filter.SubsetKey(map[string]string{"v": "1"}) {
		t.Errorf("cluster header: %+v", got)
	}
	if got := e.Target(request("GET", "x", "/"), 0).Cluster; got != "" {
		t.Errorf("without the header: %q, want none", got)
	}
	e = find(t, one(Route{
		FilterConfig: map[string]any{"f": "route", "g": "route"},
		Forward: &Forward{
			Subset:   map[string]string{"a": "1", "b": "1"},
			Weighted: []WeightedCluster{{Cluster: "w", Weight: 1, Subset: map[string]string{"b": "2"}, FilterConfig: map[string]any{"f": "weight"}}},
		},
	}), h)
	got := e.Target(h, 0)
	if want := filter.SubsetKey(map[string]string{"a": "1", "b": "2"}); got.Subset != want {
		t.Errorf("merged subset %q, want %q", got.Subset, want)
	}
	if f, g, before := e.FilterConfig(got, "f"), e.FilterConfig(got, "g"), e.FilterConfig(Target{}, "f"); f != "weight" || g != "route" || before != "route" {
		t.Errorf("filter configurations %v %v %v, want weight route route", f, g, before)
	}
}

func TestFilterConfigLevels(t *testing.T) {
	s := one(Route{FilterConfig: map[string]any{"c": 3}, Forward: &Forward{Cluster: "x"}})
	s.FilterConfig = map[string]any{"a": 1, "b": 1, "c": 1}
	s.VirtualHosts[0].FilterConfig = map[string]any{"b": 2, "c": 2}
	e := find(t, s, request("GET", "x", "/"))
	for name, want := range map[string]any{"a": 1, "b": 2, "c": 3, "d": nil} {
		if got := e.FilterConfig(Target{}, name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestRewriteRequest(t *testing.T) {
	for name, c := range map[string]struct {
		m                   Match
		f                   Forward
		h                   *filter.Headers
		wantHost, wantPath  string
		wantOriginal, wantX string
	}{
		"prefix":             {m: Match{Path: "/a/"}, f: Forward{PrefixRewrite: "/b/"}, h: request("GET", "h", "/a/c?q=/a/"), wantPath: "/b/c?q=/a/", wantOriginal: "/a/c?q=/a/"},
		"same":               {m: Match{Path: "/"}, f: Forward{PrefixRewrite: "/"}, h: request("GET", "h", "/x"), wantPath: "/x", wantOriginal: "/x"},
		"exact":              {m: Match{PathKind: PathExact, Path: "/a"}, f: Forward{PrefixRewrite: "/b"}, h: request("GET", "h", "/a?q"), wantPath: "/b?q", wantOriginal: "/a?q"},
		"regex kind":         {m: Match{PathKind: PathRegex, Path: "/a.*"}, f: Forward{PrefixRewrite: "/b"}, h: request("GET", "h", "/abc?q"), wantPath: "/b?q", wantOriginal: "/abc?q"},
		"separated":          {m: Match{PathKind: PathSeparatedPrefix, Path: "/a"}, f: Forward{PrefixRewrite: "/b"}, h: request("GET", "h", "/a?q"), wantPath: "/b?q", wantOriginal: "/a?q"},
		"regex rewrite":      {f: Forward{RegexRewrite: &RegexRewrite{`^/([^/]+)/(.*)$`, `/\2/\1$\\`}}, h: request("GET", "h", "/a/b?c=/x/y"), wantPath: `/b/a$\?c=/x/y`, wantOriginal: "/a/b?c=/x/y"},
		"host":               {f: Forward{Host: HostRewrite{Literal: "new"}}, h: request("GET", "h", "/"), wantHost: "new", wantPath: "/"},
		"host keeps old":     {f: Forward{Host: HostRewrite{Literal: "new", AppendForwardedHost: true}}, h: request("GET", "h", "/"), wantHost: "new", wantPath: "/", wantX: "h"},
		"host by header":     {f: Forward{Host: HostRewrite{Header: "X-H"}}, h: request("GET", "h", "/", "x-h", "v"), wantHost: "v", wantPath: "/"},
		"host header absent": {f: Forward{Host: HostRewrite{Header: "X-H"}}, h: request("GET", "h", "/"), wantPath: "/"},
		"host by path":       {f: Forward{Host: HostRewrite{PathRegex: &RegexRewrite{"^/(.+)/.+$", `\1`}}}, h: request("GET", "h", "/bar/x?q"), wantHost: "bar", wantPath: "/bar/x?q"},
	} {
		c.f.Cluster = "c"
		e := find(t, one(Route{Match: c.m, Forward: &c.f}), c.h)
		info := &filter.Info{Request: c.h}
		e.RewriteRequest(e.Target(c.h, 0), c.h, info)
		if c.wantHost == "" {
			c.wantHost = "h"
		}
		got := []string{c.h.Authority, c.h.Path, info.OriginalPath, c.h.Get("x-envoy-original-path"), c.h.Get("x-forwarded-host")}
		if diff := cmp.Diff([]string{c.wantHost, c.wantPath, c.wantOriginal, c.wantOriginal, c.wantX}, got); diff != "" {
			t.Errorf("%s: host, path, original path, header, forwarded host (-want +got)\n%s", name, diff)
		}
	}
}

func TestAutoHost(t *testing.T) {
	h := request("GET", "h", "/")
	e := find(t, one(Route{Forward: &Forward{Cluster: "c", Host: HostRewrite{Auto: true}}}), h)
	e.AutoHost(h, "")
	if h.Authority != "h" {
		t.Errorf("authority %q after an endpoint without a name", h.Authority)
	}
	e.AutoHost(h, "up.example")
	if h.Authority != "up.example" {
		t.Errorf("authority %q, want up.example", h.Authority)
	}
}

func TestHeaderOps(t *testing.T) {
	set := func(v string) HeaderOps { return HeaderOps{Set: []HeaderValue{{Name: "X-Level", Value: v}}} }
	spec := func(mostSpecific bool) *Spec {
		s := one(Route{
			RequestHeaders: HeaderOps{
				Remove:       []string{"x-gone"},
				Set:          []HeaderValue{{Name: "x-set", Value: "%REQ(x-set)%+"}, {Name: "x-level", Value: "route"}, {Name: "x-empty", Value: "%REQ(no)%"}},
				Add:          []HeaderValue{{Name: "x-add", Value: "%REQ(x-set)% %PROTOCOL% 100%%"}, {Name: "x-kept", KeepEmpty: true}},
				SetIfPresent: []HeaderValue{{Name: "x-no", Value: "1"}, {Name: "x-add", Value: "was"}},
				AddIfAbsent:  []HeaderValue{{Name: "x-set", Value: "no"}, {Name: "x-new", Value: "yes"}},
			},
			ResponseHeaders: HeaderOps{Remove: []string{"server"}, Add: []HeaderValue{{Name: "x-host", Value: "%UPSTREAM_HOST% %HOSTNAME%"}}},
			Forward:         &Forward{Weighted: []WeightedCluster{{Cluster: "c", Weight: 1, RequestHeaders: set("weight")}}},
		})
		s.MostSpecificWins, s.RequestHeaders = mostSpecific, set("table")
		s.VirtualHosts[0].RequestHeaders = set("host")
		return s
	}
	for mostSpecific, level := range map[bool]string{false: "table", true: "weight"} {
		h := request("GET", "h", "/", "x-gone", "1", "x-set", "a", "x-add", "0")
		e := find(t, spec(mostSpecific), h)
		info := &filter.Info{Request: h, Protocol: "HTTP/2"}
		e.RewriteRequest(e.Target(h, 0), h, info)
		got := map[string][]string{}
		for i := range h.Len() {
			got[h.At(i).Name] = append(got[h.At(i).Name], h.At(i).Value)
		}
		want := map[string][]string{
			"x-set": {"a+"}, "x-level": {level}, "x-add": {"was", "a HTTP/2 100%"}, "x-kept": {""}, "x-new": {"yes"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("most specific %v: (-want +got)\n%s", mostSpecific, diff)
		}
		resp := &filter.Headers{Status: 200}
		resp.Add("server", "x")
		info.Response, info.Upstream.Host = resp, netip.MustParseAddrPort("10.0.0.1:80")
		e.RewriteResponse(e.Target(h, 0), resp, info)
		if diff := cmp.Diff([]string{"x-host: 10.0.0.1:80 node"}, fields(resp)); diff != "" {
			t.Errorf("response: (-want +got)\n%s", diff)
		}
	}
}

func TestRedirect(t *testing.T) {
	for name, c := range map[string]struct {
		m      Match
		r      Redirect
		h      *filter.Headers
		status int
		want   string
	}{
		"https drops 80":     {r: Redirect{HTTPS: true}, h: request("GET", "h:80", "/p?q=1"), want: "https://h/p?q=1"},
		"https keeps others": {r: Redirect{HTTPS: true}, h: request("GET", "h:8080", "/p"), want: "https://h:8080/p"},
		"https and port":     {r: Redirect{HTTPS: true, Port: 8443}, h: request("GET", "h:8080", "/p"), want: "https://h:8443/p"},
		"to http drops 443":  {r: Redirect{Scheme: "http"}, h: request("GET", "h:443", "/", "x-forwarded-proto", "https"), want: "http://h/"},
		"host":               {r: Redirect{Host: "new:81", Status: 308}, h: request("GET", "h:80", "/p"), status: 308, want: "http://new:81/p"},
		"path keeps query":   {r: Redirect{Path: "/n"}, h: request("GET", "h", "/p?q"), want: "http://h/n?q"},
		"path with query":    {r: Redirect{Path: "/n?a"}, h: request("GET", "h", "/p?q"), want: "http://h/n?a"},
		"strip query":        {r: Redirect{StripQuery: true}, h: request("GET", "h", "/p?q"), want: "http://h/p"},
		"prefix":             {m: Match{Path: "/old/"}, r: Redirect{PrefixRewrite: "/new/"}, h: request("GET", "h", "/old/x?q"), want: "http://h/new/x?q"},
		"regex":              {r: Redirect{RegexRewrite: &RegexRewrite{"^/(.*)$", `/x/\1`}}, h: request("GET", "h", "/old?q"), want: "http://h/x/old?q"},
		"ipv6":               {r: Redirect{Port: 81}, h: request("GET", "[fd00::1]:80", "/"), want: "http://[fd00::1]:81/"},
	} {
		e := find(t, one(Route{Match: c.m, Redirect: &c.r}), c.h)
		if c.status == 0 {
			c.status = 301
		}
		if status, got := e.Redirect(c.h); status != c.status || got != c.want {
			t.Errorf("%s: %d %q, want %d %q", name, status, got, c.status, c.want)
		}
	}
}

func TestHash(t *testing.T) {
	ttl := time.Minute
	conn := &filter.ConnInfo{Remote: netip.MustParseAddrPort("10.0.0.1:5"), Local: netip.MustParseAddrPort("10.0.0.2:80")}
	other := &filter.ConnInfo{Remote: netip.MustParseAddrPort("10.0.0.9:5"), Local: conn.Local}
	hash := func(c *filter.ConnInfo, h *filter.Headers, ps ...HashPolicy) (uint64, bool, string) {
		return find(t, one(Route{Forward: &Forward{Cluster: "c", Hash: ps}}), h).Hash(h, c)
	}
	sum := func(c *filter.ConnInfo, h *filter.Headers, ps ...HashPolicy) uint64 {
		v, ok, _ := hash(c, h, ps...)
		if !ok {
			t.Errorf("no hash of %v", ps)
		}
		return v
	}
	byHeader, byQuery := HashPolicy{Header: "X-U"}, HashPolicy{Query: "u"}
	a, b := request("GET", "h", "/?u=1", "x-u", "a"), request("GET", "h", "/?u=2", "x-u", "b")
	if sum(nil, a, byHeader) == sum(nil, b, byHeader) || sum(nil, a, byQuery) == sum(nil, b, byQuery) {
		t.Error("different users have one hash")
	}
	if sum(nil, a, byHeader, byQuery) == sum(nil, a, byQuery, byHeader) {
		t.Error("the order of policies does not matter, it should")
	}
	terminal := byHeader
	terminal.Terminal = true
	if sum(nil, a, terminal, byQuery) != sum(nil, a, byHeader) {
		t.Error("a terminal policy did not end the computation")
	}
	if _, ok, _ := hash(nil, request("GET", "h", "/"), byHeader, byQuery); ok {
		t.Error("a hash of nothing")
	}
	ab := request("GET", "h", "/", "x-u", "a", "x-u", "b")
	ba := request("GET", "h", "/", "x-u", "b", "x-u", "a")
	if sum(nil, ab, byHeader) != sum(nil, ba, byHeader) {
		t.Error("the order of a header's values matters")
	}
	src := HashPolicy{SourceIP: true}
	if sum(conn, a, src) == sum(other, a, src) || sum(conn, a, src) != sum(conn, b, src) {
		t.Error("the source address decides wrongly")
	}
	made := HashPolicy{Cookie: &HashCookie{Name: "s", Path: "/p", TTL: &ttl}}
	v, ok, set := hash(conn, a, made)
	if !ok || !strings.HasPrefix(set, `s="`) || !strings.HasSuffix(set, `"; Max-Age=60; Path=/p; HttpOnly`) {
		t.Errorf("new cookie: %v %q", ok, set)
	}
	value := strings.Split(set, `"`)[1]
	back := request("GET", "h", "/", "cookie", `x=1; s="`+value+`"`)
	if again, _, set := hash(other, back, made); again != v || set != "" {
		t.Errorf("the cookie came back: hash %d, want %d; cookie %q", again, v, set)
	}
	if _, ok, set := hash(conn, a, HashPolicy{Cookie: &HashCookie{Name: "s"}}); ok || set != "" {
		t.Error("a cookie without a TTL was made")
	}
}

func TestUpgradeAndMirrors(t *testing.T) {
	h := request("GET", "h", "/", "x-m", "dyn")
	s := one(Route{Forward: &Forward{Cluster: "c", Upgrades: []Upgrade{{Type: "WebSocket", Enabled: true}}}})
	s.VirtualHosts[0].Mirrors = []Mirror{{Cluster: "m", Fraction: &Fraction{Numerator: 500, Denominator: 10_000}}, {ClusterHeader: "X-M"}}
	e := find(t, s, h)
	if u := e.Upgrade("websocket"); u == nil || !u.Enabled || e.Upgrade("x") != nil {
		t.Errorf("upgrade %v", u)
	}
	ms := e.Mirrors()
	if len(ms) != 2 || ms[0].Target(h) != "m" || ms[1].Target(h) != "dyn" {
		t.Fatalf("mirrors %+v", ms)
	}
	n := 0
	for i := range uint64(10_000) {
		if ms[0].Chosen(i) {
			n++
		}
		if !ms[1].Chosen(i) {
			t.Fatal("a mirror without a fraction left a request out")
		}
	}
	if n < 400 || n > 600 {
		t.Errorf("%d of 10,000 mirrored, want 500 ± 100", n)
	}
}
