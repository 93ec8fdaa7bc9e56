package route

import (
	"math/rand/v2"
	"testing"

	"github.com/weftmesh/weft/proxy/filter"
)

// TestTraceIsFind: for any request, what is traced is what is found, and it is the
// first route that has nothing to be said against.
func TestTraceIsFind(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	hits := 0
	for range 3000 {
		s := &Spec{Name: "r", VirtualHosts: []VirtualHost{{Name: "a", Domains: []string{"a.com"}}, {Name: "b", Domains: []string{"*"}}}}
		for v := range s.VirtualHosts {
			for range r.IntN(4) {
				m := Match{PathKind: PathKind(r.IntN(4)), Path: pick("/a", "/b", "/a/b")}
				if m.PathKind == PathPrefix && r.IntN(2) == 0 {
					m.Path = "/"
				}
				if r.IntN(2) == 0 {
					m.Headers = []HeaderMatch{{Name: pick("x", ":method"), Value: &StringMatch{Kind: StringKind(r.IntN(5)), Value: pick("1", "GET", "2")}, Invert: r.IntN(4) == 0}}
				}
				if r.IntN(4) == 0 {
					m.Query = []QueryMatch{{Name: "q", Value: &StringMatch{Value: "1"}}}
				}
				s.VirtualHosts[v].Routes = append(s.VirtualHosts[v].Routes, Route{Match: m, Direct: &Direct{Status: 200}})
			}
		}
		table, err := Compile(s, Options{})
		if err != nil {
			t.Fatal(err)
		}
		h := &filter.Headers{Method: pick("GET", "POST"), Authority: pick("a.com", "b.com"), Path: pick("/a", "/b?q=1", "/a/b", "/ab")}
		if r.IntN(2) == 0 {
			h.Add("x", pick("1", "2", "12"))
		}
		got := table.Trace(h, &Req{})
		if found := table.Find(h, &Req{}); got.Found != found {
			t.Fatalf("traced %v, found %v", got.Found, found)
		}
		for i, tried := range got.Tried {
			last := i == len(got.Tried)-1
			if matches := tried.Misses == ""; matches != (last && got.Found != nil) || matches && tried.Route != got.Found.Route() {
				t.Fatalf("route %d of %d: misses %q, found %v", i, len(got.Tried), tried.Misses, got.Found)
			}
			hits++
		}
	}
	if hits < 2000 {
		t.Errorf("only %d routes were tried", hits)
	}
}

func TestWhyNot(t *testing.T) {
	yes := &StringMatch{Value: "ada"}
	for want, m := range map[string]Match{
		"path is /x, not /y":                         {PathKind: PathExact, Path: "/y"},
		"path /x does not begin with /y":             {Path: "/y"},
		"path /x is neither /y nor below it":         {PathKind: PathSeparatedPrefix, Path: "/y"},
		"path /x does not match /[a-c]":              {PathKind: PathRegex, Path: "/[a-c]"},
		"the method is GET, not CONNECT":             {PathKind: Connect},
		"it is no gRPC request":                      {Path: "/", GRPC: true},
		"only a share of the requests matches":       {Path: "/", Fraction: &Fraction{Denominator: 100}},
		`header user is "bob", not "ada"`:            {Path: "/", Headers: []HeaderMatch{{Name: "user", Value: yes}}},
		"there is no header other":                   {Path: "/", Headers: []HeaderMatch{{Name: "other", Value: yes}}},
		"there is a header user":                     {Path: "/", Headers: []HeaderMatch{{Name: "user", Absent: true}}},
		`method is "GET", not what ends in "T!"`:     {Path: "/", Headers: []HeaderMatch{{Name: ":method", Value: &StringMatch{Kind: StringSuffix, Value: "T!"}}}},
		"there is no query parameter q":              {Path: "/", Query: []QueryMatch{{Name: "q", Value: yes}}},
		`query parameter p is "1", not "ada"`:        {Path: "/", Query: []QueryMatch{{Name: "p", Value: yes}}},
		`header user is "bob", "b" and what follows`: {Path: "/", Headers: []HeaderMatch{{Name: "user", Invert: true, Value: &StringMatch{Kind: StringPrefix, Value: "b"}}}},
	} {
		c, err := compileMatch(&m)
		if err != nil {
			t.Fatal(err)
		}
		h := &filter.Headers{Method: "GET", Path: "/x?p=1"}
		h.Add("user", "bob")
		if got := c.misses(h, pathOnly(h.Path), &Req{}); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
