package route

import (
	"strings"
	"testing"

	"github.com/weftmesh/weft/proxy/filter"
)

// FuzzRequest feeds requests to a table with one route of each kind: whatever
// comes in, nothing panics and what comes out is sane.
func FuzzRequest(f *testing.F) {
	f.Add("a.example:80", "/p/x?q=1#f", "x-a", "1", uint64(3))
	f.Add("[::1]", "/r/1", "cookie", `s="a`, uint64(0))
	f.Add("", "", ":path", "", uint64(9))
	table := mustCompile(f, &Spec{IgnorePort: true, VirtualHosts: []VirtualHost{{
		Name: "v", Domains: []string{"*.example", "a.*", "*"},
		Routes: []Route{
			to("q", "c", Match{Query: []QueryMatch{{Name: "only"}}}),
			{Match: Match{Path: "/p/"}, Forward: &Forward{
				Cluster: "c", PrefixRewrite: "/", Hash: []HashPolicy{{Cookie: &HashCookie{Name: "s"}}, {Query: "q"}, {Header: "x-a"}},
			}},
			{Match: Match{PathKind: PathSeparatedPrefix, Path: "/s"}, Forward: &Forward{Cluster: "c", PrefixRewrite: "/t"}},
			{Match: Match{Path: "/r"}, Redirect: &Redirect{HTTPS: true, PrefixRewrite: "/n"}},
			to("any", "c", Match{}),
		},
	}}})
	f.Fuzz(func(t *testing.T, authority, path, name, value string, random uint64) {
		h := request("GET", authority, path)
		if name != "" {
			h.Add(strings.ToLower(name), value)
		}
		e := table.Find(h, &Req{Random: random})
		if e == nil {
			if path != "" && path[0] != '?' && path[0] != '#' {
				t.Fatalf("no route for %q", path)
			}
			return
		}
		if e.Kind() == Redirects {
			if _, loc := e.Redirect(h); !strings.HasPrefix(loc, "https://") {
				t.Fatalf("location %q", loc)
			}
			return
		}
		e.Hash(h, nil)
		query := path[len(pathOnly(path)):]
		e.RewriteRequest(e.Target(h, random), h, &filter.Info{Request: h})
		if !strings.HasSuffix(h.Path, query) {
			t.Fatalf("path %q became %q: the query is lost", path, h.Path)
		}
	})
}

// FuzzCompile compiles what users write in matches and rewrites.
func FuzzCompile(f *testing.F) {
	f.Add("/a.*", `\1`, "*.a", "%REQ(X)%")
	f.Add("(", `\`, "a*", "%")
	f.Fuzz(func(t *testing.T, pattern, substitution, domain, value string) {
		s := one(Route{
			Match:          Match{PathKind: PathRegex, Path: pattern},
			RequestHeaders: HeaderOps{Add: []HeaderValue{{Name: "x", Value: value}}},
			Forward:        &Forward{Cluster: "c", RegexRewrite: &RegexRewrite{pattern, substitution}},
		})
		s.VirtualHosts[0].Domains = []string{domain}
		table, err := Compile(s, Options{})
		if err != nil {
			return
		}
		h := request("GET", strings.ReplaceAll(domain, "*", "x"), "/a")
		if e := table.Find(h, &Req{}); e != nil {
			e.RewriteRequest(e.Target(h, 0), h, nil)
		}
	})
}
