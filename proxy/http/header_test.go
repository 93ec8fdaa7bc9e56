package http

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	nethttp "net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
	"github.com/weftmesh/weft/proxy/http/h1"
)

// admitted runs a request's head through admit and returns what became of it.
func admitted(t *testing.T, cfg ManagerConfig, info filter.ConnInfo, h *filter.Headers) (*call, filter.LocalReply, bool) {
	t.Helper()
	cfg.Stats = NewStats()
	m := &Manager{cfg: cfg, stats: cfg.Stats.Prefix("")}
	c := newConn(m, nil, &info, nil)
	c.cd = h1.NewServer((*events)(c), h1.Options{})
	s := newCall(m)
	s.c, s.req = c, h
	s.info.Remote = info.Remote
	if h.Authority == "" {
		h.Authority = "shop.example"
	}
	if h.Path == "" {
		h.Path = "/"
	}
	if h.Method == "" {
		h.Method = "GET"
	}
	l, ok := s.admit()
	return s, l, ok
}

func fields(pairs ...string) *filter.Headers {
	h := &filter.Headers{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

// TestWhereFrom checks client address, x-forwarded-for and -proto, and which requests are internal.
func TestWhereFrom(t *testing.T) {
	private := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for _, tt := range []struct {
		name     string
		cfg      ManagerConfig
		peer     string
		xff      string
		want     string // x-forwarded-for
		client   string
		internal bool
	}{
		{"not used, none", ManagerConfig{}, "1.2.3.4:5", "", "", "1.2.3.4", false},
		{"not used, one", ManagerConfig{InternalCIDRs: private}, "1.2.3.4:5", "10.1.1.1", "10.1.1.1", "10.1.1.1", true},
		{"not used, two", ManagerConfig{InternalCIDRs: private}, "1.2.3.4:5", "9.9.9.9, 10.1.1.1", "9.9.9.9, 10.1.1.1", "10.1.1.1", false},
		{"used, none", ManagerConfig{UseRemoteAddress: true}, "1.2.3.4:5", "", "1.2.3.4", "1.2.3.4", false},
		{"used, internal", ManagerConfig{UseRemoteAddress: true, InternalCIDRs: private}, "10.2.2.2:5", "", "10.2.2.2", "10.2.2.2", true},
		{"used, some", ManagerConfig{UseRemoteAddress: true, InternalCIDRs: private}, "10.2.2.2:5", "8.8.8.8", "8.8.8.8,10.2.2.2", "10.2.2.2", false},
		{"trusted hop", ManagerConfig{UseRemoteAddress: true, XFFTrustedHops: 1}, "10.2.2.2:5", "7.7.7.7,8.8.8.8", "7.7.7.7,8.8.8.8,10.2.2.2", "8.8.8.8", false},
		{"not appended", ManagerConfig{UseRemoteAddress: true, SkipXFFAppend: true}, "1.2.3.4:5", "", "", "1.2.3.4", false},
		{"IPv6", ManagerConfig{UseRemoteAddress: true}, "[2001:db8::1]:5", "", "2001:db8::1", "2001:db8::1", false},
		{"rubbish", ManagerConfig{}, "1.2.3.4:5", "unknown", "unknown", "1.2.3.4", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := fields("x-envoy-internal", "true", "x-envoy-retry-on", "5xx")
			if tt.xff != "" {
				h.Add("x-forwarded-for", tt.xff)
			}
			s, _, ok := admitted(t, tt.cfg, filter.ConnInfo{Remote: netip.MustParseAddrPort(tt.peer)}, h)
			xff, _ := h.Joined("x-forwarded-for")
			got := []any{ok, xff, s.info.Remote.Addr().String(), h.Has("x-envoy-internal"), h.Has("x-envoy-retry-on"), h.Get("x-forwarded-proto"), h.Scheme}
			want := []any{true, tt.want, tt.client, tt.internal, tt.internal, "http", "http"}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestEdge: what only the first proxy says is not taken from outside.
func TestEdge(t *testing.T) {
	private := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	names := []string{"x-envoy-external-address", "x-envoy-original-path", "x-envoy-original-host"}
	for _, tt := range []struct {
		name string
		cfg  ManagerConfig
		peer string
		want []string // of names
	}{
		{"edge", ManagerConfig{UseRemoteAddress: true, InternalCIDRs: private}, "1.2.3.4:5", []string{"1.2.3.4", "", ""}},
		{"edge, from inside", ManagerConfig{UseRemoteAddress: true, InternalCIDRs: private}, "10.2.3.4:5", []string{"9.9.9.9", "said", "said"}},
		{"not the edge", ManagerConfig{InternalCIDRs: private}, "1.2.3.4:5", []string{"9.9.9.9", "said", "said"}},
	} {
		h := fields(names[0], "9.9.9.9", names[1], "said", names[2], "said")
		admitted(t, tt.cfg, filter.ConnInfo{Remote: netip.MustParseAddrPort(tt.peer)}, h)
		var got []string
		for _, n := range names {
			got = append(got, h.Get(n))
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
	for remote, want := range map[bool]bool{false: true, true: false} {
		h := &filter.Headers{Scheme: "https"}
		if _, l, ok := admitted(t, ManagerConfig{UseRemoteAddress: remote}, filter.ConnInfo{Remote: netip.MustParseAddrPort("1.2.3.4:5")}, h); ok != want {
			t.Errorf("https:// in plain text, edge %v: %v %d", remote, ok, l.Status)
		}
	}
}

// TestPath checks normalisation and refusals.
func TestPath(t *testing.T) {
	all := ManagerConfig{NormalizePath: true, MergeSlashes: true}
	for _, tt := range []struct {
		name, path string
		cfg        ManagerConfig
		want       string // path, or the details of a refusal after "!"
	}{
		{"left alone", "/a/../b//c?q=/../", ManagerConfig{}, "/a/../b//c?q=/../"},
		{"dots", "/a/./b/../c", all, "/a/c"},
		{"dots at the end", "/a/b/..", all, "/a/"},
		{"above the root", "/a/../../etc/passwd", all, "/etc/passwd"},
		{"above the root, at the end", "/..", all, "/"},
		{"query kept", "/a/../b?x=/../y", all, "/b?x=/../y"},
		{"escaped dots", "/a/%2e%2E/b", all, "/b"},
		{"escaped letter", "/%61dmin", all, "/admin"},
		{"escaped other", "/a%20b", all, "/a%20b"},
		{"bad escape", "/a%2", all, "/a%2"},
		{"NUL", "/a%00", all, "!path_normalization_failed"},
		{"backslash", `/a\..\b`, all, "/b"},
		{"slashes", "//a///b", all, "/a/b"},
		{"slashes kept", "//a", ManagerConfig{NormalizePath: true}, "//a"},
		{"escaped slash kept", "/a%2Fb", all, "/a%2Fb"},
		{"escaped slash refused", "/a%2Fb", ManagerConfig{EscapedSlashes: EscapedReject}, "!path_normalization_failed"},
		{"escaped slash forwarded", "/a%2f..%5cb", ManagerConfig{NormalizePath: true, EscapedSlashes: EscapedUnescapeForward}, "/b"},
		{"escaped slash redirected", "/%2fb.example/x%2f../y?q", ManagerConfig{NormalizePath: true, MergeSlashes: true, EscapedSlashes: EscapedUnescapeRedirect}, "307 /b.example/y?q"},
		{"relative", "admin", all, "!absolute_path_rejected"},
		{"fragment", "/a#b", ManagerConfig{}, "!path_normalization_failed"},
		{"hidden file", "/.well-known/x", all, "/.well-known/x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := &filter.Headers{Path: tt.path}
			_, l, ok := admitted(t, tt.cfg, filter.ConnInfo{Remote: netip.MustParseAddrPort("1.2.3.4:5")}, h)
			got := h.Path
			switch {
			case l.Status == 307:
				got = "307 " + l.Header[0].Value
			case !ok:
				got = "!" + l.Details
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// FuzzPath: what normalisation lets pass is stable and leads nowhere above.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"/a/../b", "/%2e%2e/", `/\..\`, "//", "/a/%2F.."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, p string) {
		p = "/" + p
		once, ok := normalizePath(p)
		if !ok {
			return
		}
		twice, ok := normalizePath(once)
		if strings.Contains(once, "%25") {
			return // unescaping may bring new escapes to light, once
		}
		if !ok || twice != once {
			t.Errorf("%q → %q → %q %v", p, once, twice, ok)
		}
		for seg := range strings.SplitSeq(once, "/") {
			if seg == ".." || seg == "." {
				t.Errorf("%q → %q keeps dots", p, once)
			}
		}
	})
}

// TestHost checks what is stripped from the authority.
func TestHost(t *testing.T) {
	for _, tt := range []struct {
		cfg        ManagerConfig
		host, want string
	}{
		{ManagerConfig{}, "a.example:8080", "a.example:8080"},
		{ManagerConfig{StripPort: StripAny}, "a.example:8080", "a.example"},
		{ManagerConfig{StripPort: StripMatching}, "a.example:8080", "a.example"},
		{ManagerConfig{StripPort: StripMatching}, "a.example:81", "a.example:81"},
		{ManagerConfig{StripPort: StripAny}, "[::1]:81", "[::1]"},
		{ManagerConfig{StripPort: StripAny}, "[::1]", "[::1]"},
		{ManagerConfig{StripTrailingHostDot: true}, "a.example.:81", "a.example:81"},
	} {
		h := &filter.Headers{Authority: tt.host}
		admitted(t, tt.cfg, filter.ConnInfo{
			Remote: netip.MustParseAddrPort("1.2.3.4:5"), Local: netip.MustParseAddrPort("1.1.1.1:8080"),
		}, h)
		if h.Authority != tt.want {
			t.Errorf("%q: got %q, want %q", tt.host, h.Authority, tt.want)
		}
	}
}

// TestClientCert checks all modes of x-forwarded-client-cert.
func TestClientCert(t *testing.T) {
	uri, err := url.Parse("spiffe://cluster.local/ns/default/sa/web")
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{Raw: []byte("x"), URIs: []*url.URL{uri}, DNSNames: []string{"web"}, Subject: pkix.Name{CommonName: `a"b`}}
	mutual := filter.ConnInfo{
		Remote: netip.MustParseAddrPort("1.2.3.4:5"), LocalURI: "spiffe://me",
		TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}},
	}
	plain := filter.ConnInfo{Remote: mutual.Remote}
	own := "By=spiffe://me;Hash=2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881;" +
		`Subject="CN=a\\"b";URI=spiffe://cluster.local/ns/default/sa/web;DNS=web`
	details := ClientCertDetails{Subject: true, URI: true, DNS: true}
	for _, tt := range []struct {
		name string
		mode ForwardCertMode
		info filter.ConnInfo
		want string
	}{
		{"sanitize", CertSanitize, mutual, ""},
		{"forward only", CertForwardOnly, mutual, "By=old"},
		{"forward only, plain", CertForwardOnly, plain, ""},
		{"append", CertAppendForward, mutual, "By=old," + own},
		{"append, plain", CertAppendForward, plain, ""},
		{"set", CertSanitizeSet, mutual, own},
		{"set, plain", CertSanitizeSet, plain, ""},
		{"always", CertAlwaysForwardOnly, plain, "By=old"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := fields("x-forwarded-client-cert", "By=old")
			admitted(t, ManagerConfig{ForwardClientCert: tt.mode, ClientCertDetails: details}, tt.info, h)
			if d := cmp.Diff(tt.want, h.Get("x-forwarded-client-cert")); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestRequestID checks when an id is made and when kept.
func TestRequestID(t *testing.T) {
	made := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	for _, tt := range []struct {
		name string
		cfg  ManagerConfig
		old  string
		keep bool
	}{
		{"none", ManagerConfig{}, "", false},
		{"kept", ManagerConfig{}, "mine", true},
		{"edge", ManagerConfig{UseRemoteAddress: true}, "mine", false},
		{"edge, preserved", ManagerConfig{UseRemoteAddress: true, KeepRequestID: true}, "mine", true},
		{"off", ManagerConfig{NoRequestID: true}, "mine", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := &filter.Headers{}
			if tt.old != "" {
				h.Add("x-request-id", tt.old)
			}
			admitted(t, tt.cfg, filter.ConnInfo{Remote: netip.MustParseAddrPort("1.2.3.4:5")}, h)
			got := h.Get("x-request-id")
			if tt.keep && got != tt.old || !tt.keep && !made.MatchString(got) {
				t.Errorf("got %q", got)
			}
		})
	}
}

// TestResponseHeaders checks what the client sees of the proxy.
func TestResponseHeaders(t *testing.T) {
	up := backend(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) {
		w.Header().Set("server", "theirs")
		w.Header().Set("x-envoy-decorator-operation", "op")
	})
	for _, tt := range []struct {
		name         string
		change       func(*ManagerConfig)
		server, via  string
		serviceTime  bool
		id, operated bool
	}{
		{"default", nil, "envoy", "", true, false, false},
		{"append", func(c *ManagerConfig) { c.ServerHeader = ServerAppendIfAbsent; c.Via = "1.1 weft" }, "theirs", "1.1 weft", true, false, false},
		{"pass", func(c *ManagerConfig) { c.ServerHeader = ServerPassThrough; c.SuppressEnvoyHeaders = true }, "theirs", "", false, false, false},
		{"id", func(c *ManagerConfig) { c.RequestIDInResponse = true; c.ServerName = "istio-envoy" }, "istio-envoy", "", true, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := start(t, routes(to("up")), tt.change, upstreamSpec("up", up))
			_, _, h := get(t, client(t), request(t, "GET", k.url("/"), nil))
			got := []any{h.Get("server"), h.Get("via"), h.Get("x-envoy-upstream-service-time") != "", h.Get("x-request-id") != "", h.Get("x-envoy-decorator-operation") != ""}
			want := []any{tt.server, tt.via, tt.serviceTime, tt.id, tt.operated}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestHopByHop: what belongs to one connection does not reach the next.
func TestHopByHop(t *testing.T) {
	var got nethttp.Header
	up := backend(t, func(_ nethttp.ResponseWriter, r *nethttp.Request) { got = r.Header })
	k := start(t, routes(to("up")), nil, upstreamSpec("up", up))
	_, r := dial(t, k.addr, "GET / HTTP/1.1\r\nhost: x\r\nconnection: x-secret, keep-alive\r\nx-secret: 1\r\nkeep-alive: timeout=5\r\n"+
		"proxy-connection: close\r\nte: gzip\r\nx-stays: 1\r\n\r\n")
	res, err := nethttp.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != nethttp.StatusOK {
		body, _ := io.ReadAll(res.Body)
		t.Fatalf("%s: %s (%+v)", res.Status, body, k.log.next(t))
	}
	for _, name := range []string{"Connection", "X-Secret", "Keep-Alive", "Proxy-Connection", "Te"} {
		if v, ok := got[name]; ok {
			t.Errorf("%s: %q reached the upstream", name, v)
		}
	}
	if got.Get("x-stays") != "1" {
		t.Error("x-stays did not arrive")
	}
}

var _ codec.Events = (*events)(nil)
