package route

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"

	"github.com/weftmesh/weft/proxy/filter"
)

// to is a route to a cluster.
func to(name, cluster string, m Match) Route {
	return Route{Name: name, Match: m, Forward: &Forward{Cluster: cluster}}
}

func mustCompile(t testing.TB, s *Spec) *Table {
	t.Helper()
	table, err := Compile(s, Options{Hostname: "node"})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// request makes a head; fields are name, value, name, value …
func request(method, authority, path string, fields ...string) *filter.Headers {
	h := &filter.Headers{Method: method, Scheme: "http", Authority: authority, Path: path}
	for i := 0; i < len(fields); i += 2 {
		h.Add(fields[i], fields[i+1])
	}
	return h
}

func one(r Route) *Spec {
	return &Spec{VirtualHosts: []VirtualHost{{Name: "v", Domains: []string{"*"}, Routes: []Route{r}}}}
}

func TestVirtualHosts(t *testing.T) {
	s := &Spec{Name: "rc"}
	for _, d := range []string{
		"reviews", "reviews:9080", "*.example.com", "*.b.example.com", "*-x.example.com",
		"foo.*", "foo.bar.*", "Upper.org", "[fd00::1]:80", "*",
	} {
		s.VirtualHosts = append(s.VirtualHosts, VirtualHost{Name: d, Domains: []string{d}, Routes: []Route{to("", "c", Match{})}})
	}
	table := mustCompile(t, s)
	s2 := *s
	s2.IgnorePort = true
	noPort := mustCompile(t, &s2)
	for _, c := range []struct{ authority, want, wantNoPort string }{
		{"reviews", "reviews", "reviews"},
		{"REVIEWS", "reviews", "reviews"},
		{"reviews:9080", "reviews:9080", "reviews"},
		{"reviews:81", "*", "reviews"},
		{"a.example.com", "*.example.com", "*.example.com"},
		{"a.b.example.com", "*.b.example.com", "*.b.example.com"},
		{"a-x.example.com", "*-x.example.com", "*-x.example.com"},
		{".example.com", "*", "*"},
		{"example.com", "*", "*"},
		{"foo.x", "foo.*", "foo.*"},
		{"foo.bar.x", "foo.bar.*", "foo.bar.*"},
		{"foo.", "*", "*"},
		{"upper.org", "Upper.org", "Upper.org"},
		{"[fd00::1]:80", "[fd00::1]:80", "*"},
		{"", "*", "*"},
	} {
		for table, want := range map[*Table]string{table: c.want, noPort: c.wantNoPort} {
			e := table.Find(request("GET", c.authority, "/"), &Req{})
			if e == nil || e.VirtualHost().Name != want {
				t.Errorf("ignore port %v, authority %q: %v, want virtual host %q", table.ignorePort, c.authority, e, want)
			}
		}
	}
}

func TestNoRouteInHostIsNoMatch(t *testing.T) {
	table := mustCompile(t, &Spec{VirtualHosts: []VirtualHost{
		{Name: "a", Domains: []string{"a"}, Routes: []Route{to("", "c", Match{Path: "/x"})}},
		{Name: "any", Domains: []string{"*"}, Routes: []Route{to("", "c", Match{})}},
	}})
	if e := table.Find(request("GET", "a", "/y"), &Req{}); e != nil {
		t.Errorf("the routes of another virtual host were tried: %v", e.Name())
	}
}

func TestMatch(t *testing.T) {
	yes, no := true, false
	exact := func(v string) *StringMatch { return &StringMatch{Value: v} }
	kind := func(k StringKind, v string) *StringMatch { return &StringMatch{Kind: k, Value: v} }
	header := func(m HeaderMatch) Match { return Match{Headers: []HeaderMatch{m}} }
	withCert := &filter.ConnInfo{PeerURI: "spiffe://x", TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}}
	get := func(path string, fields ...string) *filter.Headers { return request("GET", "h:1", path, fields...) }
	for name, c := range map[string]struct {
		m    Match
		h    *filter.Headers
		r    Req
		want bool
	}{
		"prefix":                {m: Match{Path: "/a"}, h: get("/ab"), want: true},
		"prefix not":            {m: Match{Path: "/a"}, h: get("/b/a")},
		"prefix sees no query":  {m: Match{Path: "/a?"}, h: get("/a?x=1")},
		"prefix fold":           {m: Match{Path: "/Ab", IgnoreCase: true}, h: get("/aBc"), want: true},
		"exact":                 {m: Match{PathKind: PathExact, Path: "/a"}, h: get("/a?x=1"), want: true},
		"exact fragment":        {m: Match{PathKind: PathExact, Path: "/a"}, h: get("/a#f"), want: true},
		"exact not":             {m: Match{PathKind: PathExact, Path: "/a"}, h: get("/a/")},
		"separated itself":      {m: Match{PathKind: PathSeparatedPrefix, Path: "/a"}, h: get("/a"), want: true},
		"separated below":       {m: Match{PathKind: PathSeparatedPrefix, Path: "/a"}, h: get("/a/b"), want: true},
		"separated not":         {m: Match{PathKind: PathSeparatedPrefix, Path: "/a"}, h: get("/ab")},
		"regex":                 {m: Match{PathKind: PathRegex, Path: "/a.*c"}, h: get("/abc?d"), want: true},
		"regex is whole":        {m: Match{PathKind: PathRegex, Path: "/a|/b"}, h: get("/ab")},
		"connect":               {m: Match{PathKind: Connect}, h: request("CONNECT", "h:1", ""), want: true},
		"connect not":           {m: Match{PathKind: Connect}, h: get("/")},
		"connect needs its own": {m: Match{}, h: request("CONNECT", "h:1", "")},

		"present":               {m: header(HeaderMatch{Name: "X-A"}), h: get("/", "x-a", ""), want: true},
		"present not":           {m: header(HeaderMatch{Name: "x-a"}), h: get("/")},
		"present inverted":      {m: header(HeaderMatch{Name: "x-a", Invert: true}), h: get("/"), want: true},
		"absent":                {m: header(HeaderMatch{Name: "x-a", Absent: true}), h: get("/"), want: true},
		"absent not":            {m: header(HeaderMatch{Name: "x-a", Absent: true}), h: get("/", "x-a", "1")},
		"exact header":          {m: header(HeaderMatch{Name: "x-a", Value: exact("b")}), h: get("/", "x-a", "b"), want: true},
		"exact header case":     {m: header(HeaderMatch{Name: "x-a", Value: exact("b")}), h: get("/", "x-a", "B")},
		"exact header fold":     {m: header(HeaderMatch{Name: "x-a", Value: &StringMatch{Value: "b", IgnoreCase: true}}), h: get("/", "x-a", "B"), want: true},
		"each by itself":        {m: header(HeaderMatch{Name: "x-a", Value: exact("c")}), h: get("/", "x-a", "b", "x-a", "c"), want: true},
		"none is joined":        {m: header(HeaderMatch{Name: "x-a", Value: exact("b,c")}), h: get("/", "x-a", "b", "x-a", "c")},
		"inverted value":        {m: header(HeaderMatch{Name: "x-a", Value: exact("b"), Invert: true}), h: get("/", "x-a", "c"), want: true},
		"inverted but missing":  {m: header(HeaderMatch{Name: "x-a", Value: exact("b"), Invert: true}), h: get("/")},
		"inverted, as empty":    {m: header(HeaderMatch{Name: "x-a", Value: exact("b"), Invert: true, MissingAsEmpty: true}), h: get("/"), want: true},
		"header prefix":         {m: header(HeaderMatch{Name: "x-a", Value: kind(StringPrefix, "b")}), h: get("/", "x-a", "bc"), want: true},
		"header suffix":         {m: header(HeaderMatch{Name: "x-a", Value: kind(StringSuffix, "c")}), h: get("/", "x-a", "bc"), want: true},
		"header suffix not":     {m: header(HeaderMatch{Name: "x-a", Value: kind(StringSuffix, "b")}), h: get("/", "x-a", "bc")},
		"header contains":       {m: header(HeaderMatch{Name: "x-a", Value: kind(StringContains, "b")}), h: get("/", "x-a", "abc"), want: true},
		"header contains fold":  {m: header(HeaderMatch{Name: "x-a", Value: &StringMatch{Kind: StringContains, Value: "BC", IgnoreCase: true}}), h: get("/", "x-a", "abc"), want: true},
		"header regex":          {m: header(HeaderMatch{Name: "x-a", Value: kind(StringRegex, "a+")}), h: get("/", "x-a", "aaa"), want: true},
		"header regex is whole": {m: header(HeaderMatch{Name: "x-a", Value: kind(StringRegex, "a+")}), h: get("/", "x-a", "aaab")},
		"range":                 {m: header(HeaderMatch{Name: "x-a", Range: &Range{-1, 5}}), h: get("/", "x-a", "-1"), want: true},
		"range end":             {m: header(HeaderMatch{Name: "x-a", Range: &Range{-1, 5}}), h: get("/", "x-a", "5")},
		"range no number":       {m: header(HeaderMatch{Name: "x-a", Range: &Range{-1, 5}}), h: get("/", "x-a", "1x")},
		"method":                {m: header(HeaderMatch{Name: ":method", Value: exact("GET")}), h: get("/"), want: true},
		"host is authority":     {m: header(HeaderMatch{Name: "Host", Value: exact("h:1")}), h: get("/"), want: true},

		"query exact":         {m: Match{Query: []QueryMatch{{Name: "a", Value: exact("1")}}}, h: get("/?b=2&a=1#f"), want: true},
		"query first counts":  {m: Match{Query: []QueryMatch{{Name: "a", Value: exact("1")}}}, h: get("/?a=2&a=1")},
		"query present":       {m: Match{Query: []QueryMatch{{Name: "a"}}}, h: get("/?a"), want: true},
		"query present not":   {m: Match{Query: []QueryMatch{{Name: "a"}}}, h: get("/?ab=1")},
		"query regex":         {m: Match{Query: []QueryMatch{{Name: "a", Value: kind(StringRegex, `\d+`)}}}, h: get("/?a=12"), want: true},
		"query not in path":   {m: Match{Query: []QueryMatch{{Name: "a"}}}, h: get("/a&a=1")},
		"grpc":                {m: Match{GRPC: true}, h: get("/", "content-type", "application/grpc+proto"), want: true},
		"grpc-web is not":     {m: Match{GRPC: true}, h: get("/", "content-type", "application/grpc-web")},
		"fraction in":         {m: Match{Fraction: &Fraction{Numerator: 25, Denominator: 100}}, h: get("/"), r: Req{Random: 124}, want: true},
		"fraction out":        {m: Match{Fraction: &Fraction{Numerator: 25, Denominator: 100}}, h: get("/"), r: Req{Random: 125}},
		"certificate":         {m: Match{ClientCert: &yes, ClientCertValid: &yes}, h: get("/"), r: Req{Conn: withCert}, want: true},
		"certificate missing": {m: Match{ClientCert: &yes}, h: get("/"), r: Req{Conn: &filter.ConnInfo{}}},
		"no certificate":      {m: Match{ClientCert: &no}, h: get("/"), want: true},
		"all must match": {
			m: Match{Path: "/", Headers: []HeaderMatch{{Name: "x-a"}, {Name: "x-b"}}},
			h: get("/", "x-a", ""),
		},
	} {
		table := mustCompile(t, one(to("", "c", c.m)))
		if got := table.Find(c.h, &c.r) != nil; got != c.want {
			t.Errorf("%s: match %v, want %v", name, got, c.want)
		}
	}
}

func TestFirstRouteWins(t *testing.T) {
	table := mustCompile(t, &Spec{VirtualHosts: []VirtualHost{{Domains: []string{"*"}, Routes: []Route{
		to("first", "c", Match{Path: "/a"}), to("second", "c", Match{Path: "/a/b"}), to("third", "c", Match{}),
	}}}})
	for path, want := range map[string]string{"/a/b": "first", "/b": "third"} {
		if got := table.Find(request("GET", "x", path), &Req{}).Name(); got != want {
			t.Errorf("%s: route %q, want %q", path, got, want)
		}
	}
}

func TestRequireTLS(t *testing.T) {
	spec := func(r TLSRequirement) *Spec {
		return &Spec{VirtualHosts: []VirtualHost{{Domains: []string{"*"}, RequireTLS: r, Routes: []Route{to("", "c", Match{})}}}}
	}
	for _, c := range []struct {
		require TLSRequirement
		fields  []string
		want    Kind
	}{
		{TLSNone, nil, Forwards},
		{TLSAll, nil, Redirects},
		{TLSAll, []string{"x-forwarded-proto", "https"}, Forwards},
		{TLSAll, []string{"x-envoy-internal", "true"}, Redirects},
		{TLSExternalOnly, []string{"x-envoy-internal", "true"}, Forwards},
		{TLSExternalOnly, nil, Redirects},
	} {
		h := request("GET", "a:80", "/p?q", c.fields...)
		e := mustCompile(t, spec(c.require)).Find(h, &Req{})
		if e.Kind() != c.want {
			t.Errorf("%d %v: kind %d, want %d", c.require, c.fields, e.Kind(), c.want)
			continue
		}
		if e.Kind() == Redirects {
			if status, loc := e.Redirect(h); status != 301 || loc != "https://a/p?q" {
				t.Errorf("redirect %d %q, want 301 https://a/p?q", status, loc)
			}
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	fwd := func(f Forward) *Spec { return one(Route{Name: "r", Forward: &f}) }
	match := func(m Match) *Spec { return one(to("r", "c", m)) }
	domains := func(d ...string) *Spec { return &Spec{VirtualHosts: []VirtualHost{{Name: "v", Domains: d}}} }
	for name, c := range map[string]struct {
		s    *Spec
		want string
	}{
		"duplicate domain":   {domains("a", "A"), "unique"},
		"two stars":          {domains("*", "*"), "unique"},
		"star within":        {domains("a*b"), "beginning or the end"},
		"stars on both ends": {domains("*a*"), "beginning or the end"},
		"empty domain":       {domains(""), "empty"},
		"no action":          {one(Route{Name: "r"}), "0 actions"},
		"two actions":        {one(Route{Forward: &Forward{Cluster: "c"}, Direct: &Direct{Status: 200}}), "2 actions"},
		"two targets":        {fwd(Forward{Cluster: "c", ClusterHeader: "h"}), "exactly one"},
		"zero weights":       {fwd(Forward{Weighted: []WeightedCluster{{Cluster: "c"}}}), "weights"},
		"unnamed weight":     {fwd(Forward{Weighted: []WeightedCluster{{Weight: 1}}}), "exactly one of name and cluster header"},
		"bad regex":          {match(Match{PathKind: PathRegex, Path: "("}), "missing closing )"},
		"bad header regex":   {match(Match{Headers: []HeaderMatch{{Name: "x", Value: &StringMatch{Kind: StringRegex, Value: "["}}}}), `"x"`},
		"denominator":        {match(Match{Fraction: &Fraction{Numerator: 1, Denominator: 3}}), "denominator"},
		"separated prefix":   {match(Match{PathKind: PathSeparatedPrefix, Path: "/a/"}), "slash"},
		"empty contains":     {match(Match{Headers: []HeaderMatch{{Name: "x", Value: &StringMatch{Kind: StringContains}}}}), "empty"},
		"direct status":      {one(Route{Direct: &Direct{Status: 99}}), "99"},
		"redirect status":    {one(Route{Redirect: &Redirect{Status: 200}}), "200"},
		"pseudo header":      {one(Route{RequestHeaders: HeaderOps{Set: []HeaderValue{{Name: ":path"}}}, Forward: &Forward{Cluster: "c"}}), ":path"},
		"host header":        {one(Route{RequestHeaders: HeaderOps{Remove: []string{"Host"}}, Forward: &Forward{Cluster: "c"}}), "Host"},
		"bad format":         {one(Route{ResponseHeaders: HeaderOps{Add: []HeaderValue{{Name: "x", Value: "%NOPE%"}}}, Forward: &Forward{Cluster: "c"}}), "NOPE"},
		"bad group":          {fwd(Forward{Cluster: "c", RegexRewrite: &RegexRewrite{"a", `\1`}}), "group 1"},
		"two rewrites":       {fwd(Forward{Cluster: "c", PrefixRewrite: "/", RegexRewrite: &RegexRewrite{"a", "b"}}), "at once"},
		"two host rewrites":  {fwd(Forward{Cluster: "c", Host: HostRewrite{Literal: "a", Auto: true}}), "more than one"},
		"mirror":             {fwd(Forward{Cluster: "c", Mirrors: []Mirror{{}}}), "mirror 0"},
		"hash":               {fwd(Forward{Cluster: "c", Hash: []HashPolicy{{}}}), "hash policy 0"},
		"backoff":            {fwd(Forward{Cluster: "c", Retry: &RetryPolicy{BackoffMax: 1}}), "backoff"},
	} {
		if _, err := Compile(c.s, Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}
