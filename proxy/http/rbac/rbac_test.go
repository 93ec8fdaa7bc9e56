package rbac

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
)

func decode(t testing.TB, json string, m proto.Message) *anypb.Any {
	t.Helper()
	if err := protojson.Unmarshal([]byte(json), m); err != nil {
		t.Fatalf("%s: %v", json, err)
	}
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

const me = "spiffe://cluster.local/ns/default/sa/reviews"

func peer(uris ...string) *tls.ConnectionState {
	cert := &x509.Certificate{}
	for _, s := range uris {
		u, err := url.Parse(s)
		if err != nil {
			panic(err)
		}
		cert.URIs = append(cert.URIs, u)
	}
	return &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
}

// request is what all rules are tried on.
func request() *filtertest.Stream {
	s := filtertest.New(":method", "POST", ":path", "/api/v1/books?q=1", ":authority", "shop", "x-user", "jason")
	s.StreamInfo.Remote = netip.MustParseAddrPort("203.0.113.7:0")
	*s.StreamInfo.Conn = filter.ConnInfo{
		Local: netip.MustParseAddrPort("10.0.0.1:8080"), Remote: netip.MustParseAddrPort("[::ffff:10.1.2.3]:5555"),
		SNI: "outbound_.80_._.shop", PeerURI: me, TLS: peer(me, "spiffe://other/x"),
	}
	return s
}

func judged(t *testing.T, rules string, s *filtertest.Stream) filter.Verdict {
	t.Helper()
	f, err := HTTPKind().Parse(&filter.ParseContext{FilterName: "r"}, decode(t, `{"rules":`+rules+`}`, &httpv3.RBAC{}))
	if err != nil {
		t.Fatal(err)
	}
	return f.New(s).RequestHeaders(s, s.Req, true)
}

func TestPermissions(t *testing.T) {
	for json, want := range map[string]bool{
		`{"any":true}`: true,
		`{"header":{"name":":method","exactMatch":"POST"}}`:                       true,
		`{"header":{"name":":method","exactMatch":"GET"}}`:                        false,
		`{"urlPath":{"path":{"exact":"/api/v1/books"}}}`:                          true,
		`{"urlPath":{"path":{"prefix":"/apis"}}}`:                                 false,
		`{"destinationIp":{"addressPrefix":"10.0.0.0","prefixLen":8}}`:            true,
		`{"destinationIp":{"addressPrefix":"10.0.0.2","prefixLen":32}}`:           false,
		`{"destinationPort":8080}`:                                                true,
		`{"destinationPort":80}`:                                                  false,
		`{"destinationPortRange":{"start":8000,"end":8081}}`:                      true,
		`{"destinationPortRange":{"start":8000,"end":8080}}`:                      false,
		`{"requestedServerName":{"suffix":"shop"}}`:                               true,
		`{"requestedServerName":{"exact":"shop"}}`:                                false,
		`{"notRule":{"any":true}}`:                                                false,
		`{"notRule":{"destinationPort":80}}`:                                      true,
		`{"andRules":{"rules":[{"any":true},{"destinationPort":8080}]}}`:          true,
		`{"andRules":{"rules":[{"any":true},{"destinationPort":80}]}}`:            false,
		`{"orRules":{"rules":[{"destinationPort":80},{"destinationPort":8080}]}}`: true,
		`{"orRules":{"rules":[{"destinationPort":80},{"destinationPort":81}]}}`:   false,
		`{"uriTemplate":{"name":"t","typedConfig":{"@type":"type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig","pathTemplate":"/api/*/books"}}}`: true,
		`{"uriTemplate":{"name":"t","typedConfig":{"@type":"type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig","pathTemplate":"/api/*"}}}`:       false,
	} {
		v := judged(t, `{"policies":{"p":{"permissions":[`+json+`],"principals":[{"any":true}]}}}`, request())
		if got := v == filter.Continue; got != want {
			t.Errorf("%s = %v", json, got)
		}
	}
}

func TestPrincipals(t *testing.T) {
	for json, want := range map[string]bool{
		`{"any":true}`:         true,
		`{"authenticated":{}}`: true,
		`{"authenticated":{"principalName":{"exact":"` + me + `"}}}`:                                   true,
		`{"authenticated":{"principalName":{"exact":"spiffe://other/x"}}}`:                             true,
		`{"authenticated":{"principalName":{"exact":"spiffe://cluster.local/x"}}}`:                     false,
		`{"authenticated":{"principalName":{"safeRegex":{"regex":".*/ns/default/.*"}}}}`:               true,
		`{"filterState":{"key":"io.istio.peer_principal","stringMatch":{"suffix":"/sa/reviews"}}}`:     true,
		`{"filterState":{"key":"io.istio.peer_principal","stringMatch":{"exact":"spiffe://other/x"}}}`: false,
		`{"sourceIp":{"addressPrefix":"10.1.0.0","prefixLen":16}}`:                                     true,
		`{"directRemoteIp":{"addressPrefix":"::ffff:10.1.0.0","prefixLen":112}}`:                       true,
		`{"directRemoteIp":{"addressPrefix":"203.0.113.0","prefixLen":24}}`:                            false,
		`{"remoteIp":{"addressPrefix":"203.0.113.0","prefixLen":24}}`:                                  true,
		`{"remoteIp":{"addressPrefix":"10.1.0.0","prefixLen":16}}`:                                     false,
		`{"header":{"name":"x-user","exactMatch":"jason"}}`:                                            true,
		`{"urlPath":{"path":{"contains":"q="}}}`:                                                       false,
		`{"notId":{"authenticated":{}}}`:                                                               false,
		`{"andIds":{"ids":[{"any":true},{"notId":{"any":true}}]}}`:                                     false,
		`{"orIds":{"ids":[{"notId":{"any":true}},{"any":true}]}}`:                                      true,
	} {
		v := judged(t, `{"policies":{"p":{"permissions":[{"any":true}],"principals":[`+json+`]}}}`, request())
		if got := v == filter.Continue; got != want {
			t.Errorf("%s = %v", json, got)
		}
	}
}

func TestOtherCertificates(t *testing.T) {
	const rules = `{"policies":{"p":{"permissions":[{"any":true}],"principals":[{"authenticated":{"principalName":{"contains":"me"}}}]}}}`
	for name, tt := range map[string]struct {
		tls  *tls.ConnectionState
		want filter.Verdict
	}{
		"plain":          {nil, filter.Reply},
		"no certificate": {&tls.ConnectionState{}, filter.Reply},
		"DNS name":       {&tls.ConnectionState{PeerCertificates: []*x509.Certificate{{DNSNames: []string{"a", "me.b"}}}}, filter.Continue},
		"URI before DNS": {&tls.ConnectionState{PeerCertificates: []*x509.Certificate{{DNSNames: []string{"me"}, URIs: peer("spiffe://x/y").PeerCertificates[0].URIs}}}, filter.Reply},
		"no name":        {&tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}, filter.Reply},
	} {
		s := request()
		s.StreamInfo.Conn.TLS, s.StreamInfo.Conn.PeerURI = tt.tls, ""
		if got := judged(t, rules, s); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestActions(t *testing.T) {
	const (
		yes = `{"permissions":[{"any":true}],"principals":[{"any":true}]}`
		no  = `{"permissions":[{"any":true}],"principals":[{"notId":{"any":true}}]}`
	)
	for _, tt := range []struct{ rules, details string }{
		{`{"policies":{"a":` + yes + `}}`, ""},
		{`{"policies":{"a":` + no + `}}`, "rbac_access_denied_matched_policy[none]"},
		{`{}`, "rbac_access_denied_matched_policy[none]"},
		{`{"action":"DENY"}`, ""},
		{`{"action":"DENY","policies":{"a":` + no + `}}`, ""},
		{`{"action":"DENY","policies":{"b b":` + yes + `,"a":` + no + `,"c":` + yes + `}}`, "rbac_access_denied_matched_policy[b_b]"},
	} {
		s := request()
		v := judged(t, tt.rules, s)
		if (v == filter.Reply) != (tt.details != "") {
			t.Errorf("%s: %v", tt.rules, v)
			continue
		}
		if v == filter.Reply {
			if r := s.Replies[0]; r.Status != 403 || r.Body != "RBAC: access denied" || r.Details != tt.details || r.GRPCStatus != -1 {
				t.Errorf("%s: %+v", tt.rules, r)
			}
		}
	}
}

func TestPerRoute(t *testing.T) {
	kind := HTTPKind()
	denyAll, err := kind.Parse(&filter.ParseContext{FilterName: "r"}, decode(t, `{"rules":{}}`, &httpv3.RBAC{}))
	if err != nil {
		t.Fatal(err)
	}
	for json, want := range map[string]filter.Verdict{
		`{}`:                    filter.Continue,
		`{"rbac":{}}`:           filter.Continue,
		`{"rbac":{"rules":{}}}`: filter.Reply,
	} {
		own, err := kind.ParseRoute(&filter.ParseContext{}, decode(t, json, &httpv3.RBACPerRoute{}))
		if err != nil {
			t.Fatal(err)
		}
		s := request()
		s.Routes = map[string]any{"r": own}
		if got := denyAll.New(s).RequestHeaders(s, s.Req, true); got != want {
			t.Errorf("%s: %v", json, got)
		}
	}
}

func TestNetwork(t *testing.T) {
	for rules, want := range map[string]string{
		`{"policies":{"p":{"permissions":[{"destinationPort":8080}],"principals":[{"authenticated":{}}]}}}`:                                         "",
		`{"policies":{"p":{"permissions":[{"destinationPort":81}],"principals":[{"any":true}]}}}`:                                                   "rbac_access_denied_matched_policy[none]",
		`{"policies":{"p":{"permissions":[{"header":{"name":"x-user","presentMatch":true}}],"principals":[{"any":true}]}}}`:                         "rbac_access_denied_matched_policy[none]",
		`{"action":"DENY","policies":{"p":{"permissions":[{"any":true}],"principals":[{"remoteIp":{"addressPrefix":"10.1.2.3","prefixLen":32}}]}}}`: "rbac_access_denied_matched_policy[p]",
	} {
		f, err := NetworkKind().Parse(&filter.ParseContext{}, decode(t, `{"statPrefix":"tcp.","rules":`+rules+`}`, &networkv3.RBAC{}))
		if err != nil {
			t.Fatal(err)
		}
		info := request().StreamInfo.Conn
		n := f.New()
		v := n.Open(nil, info)
		if (v == filter.Reply) != (want != "") || info.Termination != want {
			t.Errorf("%s: verdict %v, %q", rules, v, info.Termination)
		}
		n.Closed(info)
	}
}

func TestRefused(t *testing.T) {
	policy := func(permission, principal string) string {
		return `{"rules":{"policies":{"p":{"permissions":[` + permission + `],"principals":[` + principal + `]}}}}`
	}
	const yes = `{"any":true}`
	for json, field := range map[string]string{
		`{"shadowMatcher":{}}`:                 "shadow_matcher",
		`{"matcher":{}}`:                       "matcher.matcher_type",
		`{"rules":{"auditLoggingOptions":{}}}`: "audit_logging_options",
		`{"rules":{"policies":{"p":{"permissions":[{"any":true}],"principals":[{"any":true}],"condition":{}}}}}`:                                                                              "condition",
		policy(`{"metadata":{"filter":"x","path":[{"key":"y"}],"value":{}}}`, yes):                                                                                                            "MatchPattern",
		policy(`{"andRules":{"rules":[{"header":{"name":"x","safeRegexMatch":{"regex":"("}}}]}}`, yes):                                                                                        `rules.policies["p"].permissions[0].and_rules.rules[0].header`,
		policy(`{"destinationIp":{"addressPrefix":"x","prefixLen":8}}`, yes):                                                                                                                  "destination_ip",
		policy(`{"destinationPortRange":{"start":9,"end":9}}`, yes):                                                                                                                           "destination_port_range",
		policy(yes, `{"filterState":{"key":"x"}}`):                                                                                                                                            "Matcher",
		policy(yes, `{"notId":{"remoteIp":{"addressPrefix":"10.0.0.0","prefixLen":40}}}`):                                                                                                     "not_id.remote_ip",
		policy(yes, `{"authenticated":{"principalName":{"safeRegex":{"regex":"["}}}}`):                                                                                                        "authenticated.principal_name",
		policy(`{"uriTemplate":{"name":"t","typedConfig":{"@type":"type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig","pathTemplate":"/**/x/*"}}}`, yes): "path_template",
	} {
		if _, err := HTTPKind().Parse(&filter.ParseContext{}, decode(t, json, &httpv3.RBAC{})); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v, want it to name %s", json, err, field)
		}
	}
	for json, field := range map[string]string{
		`{"statPrefix":"x","enforcementType":"CONTINUOUS"}`: "enforcement_type",
	} {
		if _, err := NetworkKind().Parse(&filter.ParseContext{}, decode(t, json, &networkv3.RBAC{})); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v, want it to name %s", json, err, field)
		}
	}
}

// TestSupportedTable: a misspelt name would refuse what is meant to be supported.
func TestSupportedTable(t *testing.T) {
	fields := (&rbacv3.Permission{}).ProtoReflect().Descriptor().Fields()
	for _, name := range strings.Fields(supported["envoy.config.rbac.v3.Permission"]) {
		found := false
		for i := range fields.Len() {
			found = found || string(fields.Get(i).Name()) == name
		}
		if !found {
			t.Errorf("Permission has no field %s", name)
		}
	}
}

func TestTemplates(t *testing.T) {
	for _, tt := range []struct {
		template, path string
		want           bool
	}{
		{"/a", "/a", true},
		{"/a", "/a/", false},
		{"/a/*/c", "/a/b/c", true},
		{"/a/*/c", "/a//c", false},
		{"/a/*/c", "/a/b/b/c", false},
		{"/a/{id}.json", "/a/7.json", true},
		{"/a/{id}.json", "/a/7.8.json", true},
		{"/a/{id}.json", "/a/.json", false},
		{"/a/{x=*}/{y=b/*}", "/a/q/b/r", true},
		{"/a/{*}/b", "/a/x/b", true},
		{"/a/{**}", "/a/x/b", true},
		{"/a/**", "/a/", true},
		{"/a/**", "/a/b/c", true},
		{"/a/**", "/a", false},
		{"/a/**/z", "/a/b/c/z", true},
		{"/a/**/z", "/a/b/c", false},
	} {
		c, err := parseTemplate(tt.template)
		if err != nil {
			t.Errorf("%s: %v", tt.template, err)
			continue
		}
		if got := c.match(tt.path); got != tt.want {
			t.Errorf("%s on %s = %v", tt.template, tt.path, got)
		}
	}
	for _, bad := range []string{"", "a", "/{", "/}", "/{a", "/{=x}", "/{a=}", "/{a={b}}", "/**/a/*", "/***", "/{a}{b}", "/{a}-{b}", "/**/**"} {
		if _, err := parseTemplate(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add("/a/{b=c/*}/**", "/a/c/d/e")
	f.Fuzz(func(_ *testing.T, template, path string) {
		if c, err := parseTemplate(template); err == nil {
			c.match(path)
		}
	})
}
