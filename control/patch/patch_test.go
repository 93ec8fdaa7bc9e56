package patch

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/model"
)

// message reads a message of Envoy's from JSON.
func message[M proto.Message](t testing.TB, into M, text string) M {
	t.Helper()
	if err := (protojson.UnmarshalOptions{Resolver: envoy}).Unmarshal([]byte(text), into); err != nil {
		t.Fatal(err)
	}
	return into
}

const typ = `"@type": "type.googleapis.com/`

// testListener has two chains: HTTP with the filters a and router, and TCP.
const testListener = `{"name": "0.0.0.0_9080", "address": {"socket_address": {"address": "0.0.0.0", "port_value": 9080}},
  "listener_filters": [{"name": "tls", "typed_config": {` + typ + `envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}},
    {"name": "http", "typed_config": {` + typ + `envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"}}],
  "filter_chains": [
   {"name": "web", "filter_chain_match": {"server_names": ["a.example"], "application_protocols": ["h2", "http/1.1"], "transport_protocol": "tls", "destination_port": 9080},
    "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": {` + typ + `envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
      "stat_prefix": "x", "rds": {"route_config_name": "9080", "config_source": {"ads": {}}}, "http_filters": [
        {"name": "a", "typed_config": {` + typ + `envoy.extensions.filters.http.lua.v3.Lua", "stat_prefix": "s"}},
        {"name": "envoy.filters.http.router", "typed_config": {` + typ + `envoy.extensions.filters.http.router.v3.Router"}}]}}]},
   {"name": "tcp", "filters": [{"name": "rbac", "typed_config": {` + typ + `envoy.extensions.filters.network.rbac.v3.RBAC", "stat_prefix": "x"}},
     {"name": "envoy.filters.network.tcp_proxy", "typed_config": {` + typ + `envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "x", "cluster": "c"}}]}],
  "default_filter_chain": {"name": "rest", "filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": {` + typ + `envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "x", "cluster": "c"}}]}}`

const testRoutes = `{"name": "9080", "virtual_hosts": [
  {"name": "reviews", "domains": ["reviews", "10.0.0.1"], "routes": [
    {"name": "v2", "match": {"prefix": "/v2"}, "redirect": {"path_redirect": "/"}},
    {"name": "default", "match": {"prefix": "/"}, "route": {"cluster": "c", "timeout": "3.5s"}}]},
  {"name": "rest", "domains": ["*"], "routes": [{"name": "no", "match": {"prefix": "/"}, "direct_response": {"status": 502}}]}]}`

const testCluster = `{"name": "outbound|9080|v1|reviews.default.svc.cluster.local", "connect_timeout": "10s",
  "transport_socket_matches": [{"name": "m", "match": {"tls": "istio"}, "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {` + typ + `envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "sni": "x"}}},
   {"name": "plain", "match": {}, "transport_socket": {"name": "envoy.transport_sockets.raw_buffer", "typed_config": {` + typ + `envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}}}]}`

// filterOf makes an EnvoyFilter of patches.
func filterOf(patches ...model.EnvoyPatch) *model.EnvoyFilter {
	f := &model.EnvoyFilter{Meta: model.Meta{Key: model.Key{Kind: model.KindEnvoyFilter, Namespace: "default", Name: "f"}}, Patches: patches}
	for i := range f.Patches {
		if f.Patches[i].Context == "" {
			f.Patches[i].Context = model.AnyContext
		}
	}
	return f
}

// setOf makes the Set of all patches of a filter.
func setOf(t testing.TB, patches ...model.EnvoyPatch) (*Set, []model.Finding) {
	t.Helper()
	c, f := NewCompiler(), filterOf(patches...)
	var refs []model.PatchRef
	for i := range f.Patches {
		refs = append(refs, model.PatchRef{Filter: f, Index: i})
	}
	return c.Set(refs), c.Check(f)
}

// outline writes a listener as the names of what is in it.
func outline(t *testing.T, l *listenerv3.Listener) string {
	if l == nil {
		return "removed"
	}
	var b strings.Builder
	b.WriteString(l.GetName())
	if l.GetTransparent().GetValue() {
		b.WriteString("!")
	}
	for _, f := range l.GetListenerFilters() {
		b.WriteString(" <" + f.GetName())
	}
	chain := func(mark string, fc *listenerv3.FilterChain) {
		b.WriteString(" " + mark + fc.GetName())
		if ts := fc.GetTransportSocket(); ts != nil {
			b.WriteString("@" + ts.GetName())
		}
		b.WriteString("(")
		for i, f := range fc.GetFilters() {
			if i > 0 {
				b.WriteString(" ")
			}
			b.WriteString(f.GetName()[strings.LastIndexByte(f.GetName(), '.')+1:])
			m := &hcmv3.HttpConnectionManager{}
			if f.GetTypedConfig().UnmarshalTo(m) != nil {
				continue
			}
			fmt.Fprintf(&b, "[%s:", m.GetStatPrefix())
			for _, hf := range m.GetHttpFilters() {
				b.WriteString(" " + hf.GetName()[strings.LastIndexByte(hf.GetName(), '.')+1:])
				if strings.HasSuffix(hf.GetTypedConfig().GetTypeUrl(), ".Lua") {
					lua, err := open(hf.GetTypedConfig())
					if err != nil {
						t.Fatal(err)
					}
					raw, err := protojson.Marshal(lua)
					if err != nil {
						t.Fatal(err)
					}
					b.WriteString(strings.ReplaceAll(string(raw), " ", ""))
				}
			}
			b.WriteString("]")
		}
		b.WriteString(")")
	}
	for _, fc := range l.GetFilterChains() {
		chain("", fc)
	}
	if fc := l.GetDefaultFilterChain(); fc != nil {
		chain("*", fc)
	}
	return b.String()
}

const untouched = `0.0.0.0_9080 <tls <http web(http_connection_manager[x: a{"statPrefix":"s"} router]) tcp(rbac tcp_proxy) *rest(tcp_proxy)`

func TestListeners(t *testing.T) {
	hcm, tcp := new("envoy.filters.network.http_connection_manager"), new("envoy.filters.network.tcp_proxy")
	at := func(c model.ChainMatch) *model.ListenerMatch { return &model.ListenerMatch{Chain: &c} }
	lua := `{"name": "n", "typed_config": {` + typ + `envoy.extensions.filters.http.lua.v3.Lua", "inline_code": "c"}}`
	network := `{"name": "n", "typed_config": {` + typ + `envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit", "stat_prefix": "x", "max_connections": 1}}`
	dst := `{"name": "n", "typed_config": {` + typ + `envoy.extensions.filters.listener.original_dst.v3.OriginalDst"}}`
	chain := `{"name": "n", "filters": [` + network + `]}`
	for _, tc := range []struct {
		name  string
		patch model.EnvoyPatch
		want  string // how untouched changes: old → new
	}{
		{"listener merge", model.EnvoyPatch{ApplyTo: model.ToListener, Operation: model.PatchMerge, Value: `{"transparent": true}`}, "9080 <→9080! <"},
		{"listener merge by port", model.EnvoyPatch{ApplyTo: model.ToListener, Operation: model.PatchMerge, Listener: &model.ListenerMatch{Port: 9080}, Value: `{"transparent": true}`}, "9080 <→9080! <"},
		{"another port", model.EnvoyPatch{ApplyTo: model.ToListener, Operation: model.PatchMerge, Listener: &model.ListenerMatch{Port: 80}, Value: `{"transparent": true}`}, ""},
		{"another name", model.EnvoyPatch{ApplyTo: model.ToListener, Operation: model.PatchRemove, Listener: &model.ListenerMatch{Name: "x"}}, ""},
		{"listener remove", model.EnvoyPatch{ApplyTo: model.ToListener, Operation: model.PatchRemove, Listener: &model.ListenerMatch{Name: "0.0.0.0_9080"}}, untouched + "→removed"},
		{"lists replaced", model.EnvoyPatch{ApplyTo: model.ToListener, Operation: model.PatchMergeReplace, Value: `{"listener_filters": [` + dst + `]}`}, "<tls <http→<n"},
		{"lists joined", model.EnvoyPatch{ApplyTo: model.ToListener, Operation: model.PatchMerge, Value: `{"listener_filters": [` + dst + `]}`}, "<http→<http <n"},

		{"listener filter add", model.EnvoyPatch{ApplyTo: model.ToListenerFilter, Operation: model.PatchAdd, Value: dst}, "<http→<http <n"},
		{"listener filter first", model.EnvoyPatch{ApplyTo: model.ToListenerFilter, Operation: model.PatchInsertFirst, Value: dst}, "<tls→<n <tls"},
		{"listener filter before", model.EnvoyPatch{ApplyTo: model.ToListenerFilter, Operation: model.PatchInsertBefore, Listener: &model.ListenerMatch{ListenerFilter: "http"}, Value: dst}, "<http→<n <http"},
		{"listener filter after", model.EnvoyPatch{ApplyTo: model.ToListenerFilter, Operation: model.PatchInsertAfter, Listener: &model.ListenerMatch{ListenerFilter: "tls"}, Value: dst}, "<http→<n <http"},
		{"listener filter replace", model.EnvoyPatch{ApplyTo: model.ToListenerFilter, Operation: model.PatchReplace, Listener: &model.ListenerMatch{ListenerFilter: "tls"}, Value: dst}, "<tls→<n"},
		{"listener filter remove", model.EnvoyPatch{ApplyTo: model.ToListenerFilter, Operation: model.PatchRemove, Listener: &model.ListenerMatch{ListenerFilter: "tls"}}, " <tls→"},
		{"listener filter remove without a name", model.EnvoyPatch{ApplyTo: model.ToListenerFilter, Operation: model.PatchRemove}, ""},
		{"listener filter merge", model.EnvoyPatch{ApplyTo: model.ToListenerFilter, Operation: model.PatchMerge, Listener: &model.ListenerMatch{ListenerFilter: "tls"},
			Value: `{"name": "n", "typed_config": {` + typ + `envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector", "enable_ja3_fingerprinting": true}}`}, "<tls→<n"},

		{"chain add", model.EnvoyPatch{ApplyTo: model.ToFilterChain, Operation: model.PatchAdd, Value: chain}, " *rest→ n(n) *rest"},
		{"chain insert is add", model.EnvoyPatch{ApplyTo: model.ToFilterChain, Operation: model.PatchInsertFirst, Value: chain}, " *rest→ n(n) *rest"},
		{"chain remove", model.EnvoyPatch{ApplyTo: model.ToFilterChain, Operation: model.PatchRemove, Listener: at(model.ChainMatch{Name: "tcp"})}, " tcp(rbac tcp_proxy)→"},
		{"default chain remove", model.EnvoyPatch{ApplyTo: model.ToFilterChain, Operation: model.PatchRemove, Listener: at(model.ChainMatch{Name: "rest"})}, " *rest(tcp_proxy)→"},
		{"chain merge by SNI", model.EnvoyPatch{ApplyTo: model.ToFilterChain, Operation: model.PatchMerge, Listener: at(model.ChainMatch{SNI: "a.example"}), Value: `{"name": "w"}`}, "web→w"},
		{"another SNI", model.EnvoyPatch{ApplyTo: model.ToFilterChain, Operation: model.PatchMerge, Listener: at(model.ChainMatch{SNI: "b.example"}), Value: `{"name": "w"}`}, ""},
		{"chain by protocols", model.EnvoyPatch{ApplyTo: model.ToFilterChain, Operation: model.PatchMerge, Listener: at(model.ChainMatch{ApplicationProtocols: []string{"http/1.1", "h2"}}), Value: `{"name": "w"}`}, "web→w"},
		{"not all protocols", model.EnvoyPatch{ApplyTo: model.ToFilterChain, Operation: model.PatchMerge, Listener: at(model.ChainMatch{ApplicationProtocols: []string{"h2", "h3"}}), Value: `{"name": "w"}`}, ""},
		{"chain by transport and port", model.EnvoyPatch{ApplyTo: model.ToFilterChain, Operation: model.PatchMerge, Listener: at(model.ChainMatch{TransportProtocol: "tls", Port: 9080}), Value: `{"name": "w"}`}, "web→w"},
		{"chain gets a transport socket", model.EnvoyPatch{ApplyTo: model.ToFilterChain, Operation: model.PatchMerge, Listener: at(model.ChainMatch{Name: "tcp"}),
			Value: `{"transport_socket": {"name": "raw", "typed_config": {` + typ + `envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}}}`}, "tcp(→tcp@raw("},

		{"network add", model.EnvoyPatch{ApplyTo: model.ToNetworkFilter, Operation: model.PatchAdd, Listener: at(model.ChainMatch{Name: "tcp"}), Value: network}, "(rbac tcp_proxy→(rbac tcp_proxy n"},
		{"network first", model.EnvoyPatch{ApplyTo: model.ToNetworkFilter, Operation: model.PatchInsertFirst, Listener: at(model.ChainMatch{Name: "tcp"}), Value: network}, "rbac→n rbac"},
		{"network before", model.EnvoyPatch{ApplyTo: model.ToNetworkFilter, Operation: model.PatchInsertBefore, Listener: at(model.ChainMatch{Name: "tcp", Filter: tcp}), Value: network}, "rbac→rbac n"},
		{"network after", model.EnvoyPatch{ApplyTo: model.ToNetworkFilter, Operation: model.PatchInsertAfter, Listener: at(model.ChainMatch{Name: "tcp", Filter: new("rbac")}), Value: network}, "rbac→rbac n"},
		{"network replace", model.EnvoyPatch{ApplyTo: model.ToNetworkFilter, Operation: model.PatchReplace, Listener: at(model.ChainMatch{Filter: new("rbac")}), Value: network}, "rbac→n"},
		{"network remove", model.EnvoyPatch{ApplyTo: model.ToNetworkFilter, Operation: model.PatchRemove, Listener: at(model.ChainMatch{Filter: new("rbac")})}, "rbac →"},
		{"network merge", model.EnvoyPatch{ApplyTo: model.ToNetworkFilter, Operation: model.PatchMerge, Listener: at(model.ChainMatch{Filter: hcm}),
			Value: `{"name": "` + *hcm + `", "typed_config": {` + typ + `envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "y"}}`}, "[x→[y"},

		{"http add", model.EnvoyPatch{ApplyTo: model.ToHTTPFilter, Operation: model.PatchAdd, Value: lua}, `router]→router n{"inlineCode":"c"}]`},
		{"http first", model.EnvoyPatch{ApplyTo: model.ToHTTPFilter, Operation: model.PatchInsertFirst, Value: lua}, `a{→n{"inlineCode":"c"} a{`},
		{"http before nothing named", model.EnvoyPatch{ApplyTo: model.ToHTTPFilter, Operation: model.PatchInsertBefore, Value: lua}, `a{→n{"inlineCode":"c"} a{`},
		{"http before", model.EnvoyPatch{ApplyTo: model.ToHTTPFilter, Operation: model.PatchInsertBefore, Listener: at(model.ChainMatch{Filter: hcm, SubFilter: new("envoy.filters.http.router")}), Value: lua}, `router→n{"inlineCode":"c"} router`},
		{"http before what is not there", model.EnvoyPatch{ApplyTo: model.ToHTTPFilter, Operation: model.PatchInsertBefore, Listener: at(model.ChainMatch{Filter: hcm, SubFilter: new("no")}), Value: lua}, ""},
		{"http after", model.EnvoyPatch{ApplyTo: model.ToHTTPFilter, Operation: model.PatchInsertAfter, Listener: at(model.ChainMatch{Filter: hcm, SubFilter: new("a")}), Value: lua}, `router→n{"inlineCode":"c"} router`},
		{"http replace", model.EnvoyPatch{ApplyTo: model.ToHTTPFilter, Operation: model.PatchReplace, Listener: at(model.ChainMatch{Filter: hcm, SubFilter: new("a")}), Value: lua}, `a{"statPrefix":"s"}→n{"inlineCode":"c"}`},
		{"http remove", model.EnvoyPatch{ApplyTo: model.ToHTTPFilter, Operation: model.PatchRemove, Listener: at(model.ChainMatch{Filter: hcm, SubFilter: new("a")})}, ` a{"statPrefix":"s"}→`},
		{"http merge, of a type that is not linked", model.EnvoyPatch{ApplyTo: model.ToHTTPFilter, Operation: model.PatchMerge, Listener: at(model.ChainMatch{Filter: hcm, SubFilter: new("a")}), Value: lua}, `a{"statPrefix":"s"}→n{"inlineCode":"c","statPrefix":"s"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set, findings := setOf(t, tc.patch)
			if findings != nil {
				t.Fatal(findings)
			}
			in := message(t, &listenerv3.Listener{}, testListener)
			out, res := set.Listener(model.SidecarOutbound, in, nil)
			want := untouched
			if old, now, ok := strings.Cut(tc.want, "→"); ok {
				want = strings.Replace(untouched, old, now, 1)
			}
			if got := outline(t, out); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if (len(res.Touched) == 1) != (tc.want != "") || res.Findings != nil {
				t.Errorf("touched %d, findings %v", len(res.Touched), res.Findings)
			}
			if tc.want == "" && out != in {
				t.Error("what nothing touches is another object")
			}
			if got := outline(t, in); got != untouched {
				t.Errorf("the listener that was given has become %s", got)
			}
		})
	}
}

// outlineRoutes writes routes as names.
func outlineRoutes(rc *routev3.RouteConfiguration) string {
	var b strings.Builder
	b.WriteString(rc.GetName())
	for _, h := range rc.GetRequestHeadersToRemove() {
		b.WriteString(" -" + h)
	}
	for _, vh := range rc.GetVirtualHosts() {
		fmt.Fprintf(&b, " %s%v(", vh.GetName(), vh.GetDomains())
		for i, r := range vh.GetRoutes() {
			if i > 0 {
				b.WriteString(" ")
			}
			b.WriteString(r.GetName())
			if d := r.GetRoute().GetTimeout(); d != nil {
				b.WriteString("~" + d.AsDuration().String())
			}
		}
		b.WriteString(")")
	}
	return b.String()
}

const untouchedRoutes = "9080 reviews[reviews 10.0.0.1](v2 default~3.5s) rest[*](no)"

func TestRoutes(t *testing.T) {
	host := func(name string, r *model.PatchRouteMatch) *model.RouteConfigMatch {
		return &model.RouteConfigMatch{Host: &model.VirtualHostMatch{Name: name, Route: r}}
	}
	route := `{"name": "n", "match": {"prefix": "/n"}, "route": {"cluster": "n"}}`
	vh := `{"name": "n", "domains": ["n"]}`
	for _, tc := range []struct {
		name  string
		patch model.EnvoyPatch
		want  string
	}{
		{"config merge", model.EnvoyPatch{ApplyTo: model.ToRouteConfig, Operation: model.PatchMerge, Route: &model.RouteConfigMatch{Port: 9080}, Value: `{"request_headers_to_remove": ["x"]}`}, "9080 →9080 -x "},
		{"another config", model.EnvoyPatch{ApplyTo: model.ToRouteConfig, Operation: model.PatchMerge, Route: &model.RouteConfigMatch{Port: 80}, Value: `{"request_headers_to_remove": ["x"]}`}, ""},
		{"host add", model.EnvoyPatch{ApplyTo: model.ToVirtualHost, Operation: model.PatchAdd, Route: &model.RouteConfigMatch{Name: "9080"}, Value: vh}, "(no)→(no) n[n]()"},
		{"host remove", model.EnvoyPatch{ApplyTo: model.ToVirtualHost, Operation: model.PatchRemove, Route: host("rest", nil)}, " rest[*](no)→"},
		{"host merge", model.EnvoyPatch{ApplyTo: model.ToVirtualHost, Operation: model.PatchMerge, Route: &model.RouteConfigMatch{Host: &model.VirtualHostMatch{Domain: "10.0.0.1"}}, Value: `{"domains": ["b"]}`}, "10.0.0.1]→10.0.0.1 b]"},
		{"host lists replaced", model.EnvoyPatch{ApplyTo: model.ToVirtualHost, Operation: model.PatchMergeReplace, Route: host("reviews", nil), Value: `{"domains": ["b"]}`}, "[reviews 10.0.0.1]→[b]"},
		{"host replace", model.EnvoyPatch{ApplyTo: model.ToVirtualHost, Operation: model.PatchReplace, Route: host("rest", nil), Value: vh}, "rest[*](no)→n[n]()"},
		{"route add", model.EnvoyPatch{ApplyTo: model.ToHTTPRoute, Operation: model.PatchAdd, Route: host("reviews", nil), Value: route}, "3.5s→3.5s n"},
		{"route first", model.EnvoyPatch{ApplyTo: model.ToHTTPRoute, Operation: model.PatchInsertFirst, Route: host("reviews", nil), Value: route}, "v2→n v2"},
		{"route first, where one is", model.EnvoyPatch{ApplyTo: model.ToHTTPRoute, Operation: model.PatchInsertFirst, Route: host("", &model.PatchRouteMatch{Name: "no"}), Value: route}, "(no)→(n no)"},
		{"route before", model.EnvoyPatch{ApplyTo: model.ToHTTPRoute, Operation: model.PatchInsertBefore, Route: host("reviews", &model.PatchRouteMatch{Name: "default"}), Value: route}, "default→n default"},
		{"route after", model.EnvoyPatch{ApplyTo: model.ToHTTPRoute, Operation: model.PatchInsertAfter, Route: host("reviews", &model.PatchRouteMatch{Action: "REDIRECT"}), Value: route}, "default→n default"},
		{"route remove", model.EnvoyPatch{ApplyTo: model.ToHTTPRoute, Operation: model.PatchRemove, Route: host("", &model.PatchRouteMatch{Action: "REDIRECT"})}, "v2 →"},
		{"route merge, durations replaced", model.EnvoyPatch{ApplyTo: model.ToHTTPRoute, Operation: model.PatchMerge, Route: host("reviews", &model.PatchRouteMatch{Action: "ROUTE"}), Value: `{"route": {"timeout": "2s"}}`}, "~3.5s→~2s"},
		{"direct response", model.EnvoyPatch{ApplyTo: model.ToHTTPRoute, Operation: model.PatchMerge, Route: host("", &model.PatchRouteMatch{Action: "DIRECT_RESPONSE"}), Value: `{"name": "d"}`}, "(no)→(d)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set, findings := setOf(t, tc.patch)
			if findings != nil {
				t.Fatal(findings)
			}
			in := message(t, &routev3.RouteConfiguration{}, testRoutes)
			out, res := set.Routes(model.SidecarOutbound, in, nil)
			want := untouchedRoutes
			if old, now, ok := strings.Cut(tc.want, "→"); ok {
				want = strings.Replace(untouchedRoutes, old, now, 1)
			}
			if got := outlineRoutes(out); got != want || (len(res.Touched) == 1) != (tc.want != "") {
				t.Errorf("got  %s\nwant %s\ntouched %d %v", got, want, len(res.Touched), res.Findings)
			}
			if got := outlineRoutes(in); got != untouchedRoutes {
				t.Errorf("what was given has become %s", got)
			}
		})
	}
}

func TestGatewayRoutes(t *testing.T) {
	for _, tc := range []struct {
		config string
		match  model.RouteConfigMatch
		ports  map[uint32][]uint32
		want   bool
	}{
		{"http.8080", model.RouteConfigMatch{Port: 8080}, nil, true},
		{"http.8080", model.RouteConfigMatch{Port: 80}, map[uint32][]uint32{8080: {80}}, true},
		{"http.8080", model.RouteConfigMatch{Port: 8080}, map[uint32][]uint32{8080: {80}}, false},
		{"https.443.web.edge.default", model.RouteConfigMatch{Port: 443, PortName: "web", Gateway: "default/edge"}, nil, true},
		{"https.443.web.edge.default", model.RouteConfigMatch{Gateway: "default/other"}, nil, false},
		{"https.443.web.edge.default", model.RouteConfigMatch{PortName: "other"}, nil, false},
		{"http.8080", model.RouteConfigMatch{Name: "http.8080"}, nil, true},
	} {
		set, _ := setOf(t, model.EnvoyPatch{ApplyTo: model.ToRouteConfig, Operation: model.PatchMerge, Route: &tc.match, Value: `{"request_headers_to_remove": ["x"]}`})
		_, res := set.Routes(model.GatewayContext, &routev3.RouteConfiguration{Name: tc.config}, tc.ports)
		if got := len(res.Touched) == 1; got != tc.want {
			t.Errorf("%s %+v: %v, want %v", tc.config, tc.match, got, tc.want)
		}
	}
}

func TestClusters(t *testing.T) {
	tls := `{"transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {` + typ + `envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "allow_renegotiation": true}}}`
	match := &model.ClusterMatch{Service: "reviews.default.svc.cluster.local", Subset: "v1", Port: 9080}
	for _, tc := range []struct {
		name  string
		patch model.EnvoyPatch
		hosts []string
		check func(*clusterv3.Cluster) bool
		quiet bool // nothing is touched
	}{
		{"merge", model.EnvoyPatch{Operation: model.PatchMerge, Cluster: match, Value: `{"connect_timeout": "0.25s"}`}, nil,
			func(c *clusterv3.Cluster) bool { return c.GetConnectTimeout().AsDuration().String() == "250ms" }, false},
		{"by name", model.EnvoyPatch{Operation: model.PatchMerge, Cluster: &model.ClusterMatch{Name: "outbound|9080|v1|reviews.default.svc.cluster.local", Port: 1}, Value: `{"alt_stat_name": "x"}`}, nil,
			func(c *clusterv3.Cluster) bool { return c.GetAltStatName() == "x" }, false},
		{"another subset", model.EnvoyPatch{Operation: model.PatchMerge, Cluster: &model.ClusterMatch{Subset: "v2"}, Value: `{"alt_stat_name": "x"}`}, nil,
			func(c *clusterv3.Cluster) bool { return c.GetAltStatName() == "" }, true},
		{"remove", model.EnvoyPatch{Operation: model.PatchRemove, Cluster: match}, nil, func(c *clusterv3.Cluster) bool { return c == nil }, false},
		{"transport socket among matches", model.EnvoyPatch{Operation: model.PatchMerge, Value: tls}, nil, func(c *clusterv3.Cluster) bool {
			m, err := open(c.GetTransportSocketMatches()[0].GetTransportSocket().GetTypedConfig())
			return err == nil && strings.Contains(fmt.Sprint(m), "allow_renegotiation:true") && strings.Contains(fmt.Sprint(m), `sni:"x"`) && c.GetTransportSocket() == nil
		}, false},
		{"transport socket of another name", model.EnvoyPatch{Operation: model.PatchMerge, Value: strings.Replace(tls, "sockets.tls\"", "sockets.other\"", 1)}, nil,
			func(c *clusterv3.Cluster) bool { return c.GetTransportSocket() == nil }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.patch.ApplyTo = model.ToCluster
			set, findings := setOf(t, tc.patch)
			if findings != nil {
				t.Fatal(findings)
			}
			out, res := set.Cluster(model.SidecarOutbound, message(t, &clusterv3.Cluster{}, testCluster), tc.hosts)
			if !tc.check(out) || (len(res.Touched) == 0) != tc.quiet {
				t.Errorf("got %v, touched %d, %v", out, len(res.Touched), res.Findings)
			}
		})
	}
}

// TestInboundCluster: the names of inbound clusters have no host.
func TestInboundCluster(t *testing.T) {
	set, _ := setOf(t, model.EnvoyPatch{ApplyTo: model.ToCluster, Operation: model.PatchMerge, Context: model.SidecarInbound,
		Cluster: &model.ClusterMatch{Service: "a.default"}, Value: `{"alt_stat_name": "x"}`})
	c := &clusterv3.Cluster{Name: "inbound|80||"}
	if out, _ := set.Cluster(model.SidecarInbound, c, []string{"b.default", "a.default"}); out.GetAltStatName() != "x" {
		t.Error("the cluster of the service is not patched")
	}
	if out, _ := set.Cluster(model.SidecarOutbound, c, []string{"a.default"}); out != c {
		t.Error("it is patched in another context")
	}
}

// TestVirtualPorts: of Istio's virtual listeners the chains have the ports.
func TestVirtualPorts(t *testing.T) {
	l := &listenerv3.Listener{Name: virtualInbound, FilterChains: []*listenerv3.FilterChain{
		{Name: "a", FilterChainMatch: message(t, &listenerv3.FilterChainMatch{}, `{"destination_port": 80}`), Filters: []*listenerv3.Filter{{Name: "x"}}},
		{Name: "b", Filters: []*listenerv3.Filter{{Name: "x"}}},
	}}
	set, _ := setOf(t, model.EnvoyPatch{ApplyTo: model.ToNetworkFilter, Operation: model.PatchAdd, Listener: &model.ListenerMatch{Port: 80}, Value: `{"name": "y"}`})
	out, _ := set.Listener(model.SidecarInbound, l, nil)
	if len(out.GetFilterChains()[0].GetFilters()) != 2 || len(out.GetFilterChains()[1].GetFilters()) != 1 {
		t.Error(out)
	}
}

// TestInlineRoutes: routes inside of a listener are patched like others.
func TestInlineRoutes(t *testing.T) {
	in := message(t, &listenerv3.Listener{}, strings.Replace(testListener, `"rds": {"route_config_name": "9080", "config_source": {"ads": {}}}`, `"route_config": `+strings.Replace(testRoutes, `"9080"`, `"inbound|9080||"`, 1), 1))
	set, _ := setOf(t, model.EnvoyPatch{ApplyTo: model.ToHTTPRoute, Operation: model.PatchMerge, Context: model.SidecarInbound,
		Route: &model.RouteConfigMatch{Name: "inbound|9080||", Port: 9080, Host: &model.VirtualHostMatch{Route: &model.PatchRouteMatch{Action: "ROUTE"}}}, Value: `{"route": {"timeout": "2s"}}`})
	out, res := set.Listener(model.SidecarInbound, in, nil)
	m := &hcmv3.HttpConnectionManager{}
	if err := out.GetFilterChains()[0].GetFilters()[0].GetTypedConfig().UnmarshalTo(m); err != nil {
		t.Fatal(err)
	}
	if got := outlineRoutes(m.GetRouteConfig()); !strings.Contains(got, "default~2s") || len(res.Touched) != 1 {
		t.Error(got, res)
	}
}

// TestBreaks: a patch that breaks the result is left out, and named; the others stay.
func TestBreaks(t *testing.T) {
	merge := func(v string) model.EnvoyPatch {
		return model.EnvoyPatch{ApplyTo: model.ToCluster, Operation: model.PatchMerge, Value: v}
	}
	set, findings := setOf(t, merge(`{"alt_stat_name": "x"}`), merge(`{"connect_timeout": "0s"}`), merge(`{"respect_dns_ttl": true}`))
	if findings != nil {
		t.Fatal(findings)
	}
	out, res := set.Cluster(model.SidecarOutbound, message(t, &clusterv3.Cluster{}, testCluster), nil)
	if out.GetAltStatName() != "x" || !out.GetRespectDnsTtl() || out.GetConnectTimeout().AsDuration() == 0 {
		t.Error(out)
	}
	if len(res.Touched) != 2 || len(res.Findings) != 1 || res.Findings[0].Field != "spec.configPatches[1]" ||
		!strings.Contains(res.Findings[0].Message, "connect_timeout must be above 0s") {
		t.Error(res)
	}
}

// TestMergeOfAnotherType: what cannot be merged is named, and changes nothing.
func TestMergeOfAnotherType(t *testing.T) {
	set, _ := setOf(t, model.EnvoyPatch{ApplyTo: model.ToHTTPFilter, Operation: model.PatchMerge,
		Listener: &model.ListenerMatch{Chain: &model.ChainMatch{Filter: new(connectionManager), SubFilter: new("a")}},
		Value:    `{"name": "a", "typed_config": {` + typ + `envoy.extensions.filters.http.cors.v3.Cors"}}`})
	in := message(t, &listenerv3.Listener{}, testListener)
	out, res := set.Listener(model.SidecarOutbound, in, nil)
	if out != in || len(res.Findings) != 1 || !strings.Contains(res.Findings[0].Message, "Cors, which cannot be merged into envoy.extensions.filters.http.lua.v3.Lua") {
		t.Error(res)
	}
}

func TestValues(t *testing.T) {
	for _, tc := range []struct{ value, want string }{
		{`{"name": "x", "typed_config": {` + typ + `envoy.extensions.filters.http.nothing.v3.Nothing"}}`, `error: is not what Envoy takes: the type "type.googleapis.com/envoy.extensions.filters.http.nothing.v3.Nothing" is not known`},
		{`{"name": "x", "typed_config": {` + typ + `envoy.config.filter.http.lua.v2.Lua"}}`, `error: is not what Envoy takes: the type "type.googleapis.com/envoy.config.filter.http.lua.v2.Lua" is not known`},
		{`{"name": "x", "typed_config": {` + typ + `envoy.extensions.filters.http.lua.v3.Lua", "inline": "x"}}`, `warning: applies without a part that is not known: unknown field "inline"`},
		{`{"name": "x", "typed_config": {` + typ + `envoy.extensions.filters.http.lua.v3.Lua", "inline_code": 7}}`, `error: is not what Envoy takes: invalid value for string field inlineCode: 7`},
		{`{"typed_config": {` + typ + `envoy.extensions.filters.http.lua.v3.Lua", "inline_code": "x"}}`, "error: is not what Envoy takes: name is missing"},
		{`{"name": "x", "typed_config": {` + typ + `envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"}}`, "error: is not what Envoy takes: typed_config.stat_prefix is missing"},
		{`{"name": "x", "typed_config": {` + typ + `udpa.type.v1.TypedStruct", "type_url": "type.googleapis.com/a.B", "value": {"x": 1}}}`, ""},
	} {
		_, findings := setOf(t, model.EnvoyPatch{ApplyTo: model.ToHTTPFilter, Operation: model.PatchAdd, Value: tc.value})
		got := ""
		for _, f := range findings {
			got += f.Severity.String() + ": " + f.Message
		}
		if got != tc.want {
			t.Errorf("%s\ngot  %s\nwant %s", tc.value, got, tc.want)
		}
	}
}

// TestSetsAreShared: the same patches are one Set.
func TestSetsAreShared(t *testing.T) {
	c := NewCompiler()
	f := filterOf(model.EnvoyPatch{ApplyTo: model.ToCluster, Operation: model.PatchRemove}, model.EnvoyPatch{ApplyTo: model.ToListener, Operation: model.PatchRemove})
	refs := []model.PatchRef{{Filter: f, Index: 0}, {Filter: f, Index: 1}}
	if c.Set(refs) != c.Set(slices.Clone(refs)) || c.Set(refs) == c.Set(refs[:1]) || c.Set(nil) != nil {
		t.Error("Sets are not shared by their contents")
	}
	c.Keep(nil)
	if len(c.known)+len(c.sets) != 0 {
		t.Error("what nobody has is kept")
	}
}

func TestAdded(t *testing.T) {
	set, _ := setOf(t,
		model.EnvoyPatch{ApplyTo: model.ToCluster, Operation: model.PatchAdd, Value: `{"name": "any"}`},
		model.EnvoyPatch{ApplyTo: model.ToCluster, Operation: model.PatchInsertFirst, Context: model.SidecarInbound, Value: `{"name": "in"}`},
		model.EnvoyPatch{ApplyTo: model.ToListener, Operation: model.PatchAdd, Context: model.GatewayContext, Value: `{"name": "l"}`},
		model.EnvoyPatch{ApplyTo: model.ToExtension, Operation: model.PatchAdd, Value: `{"name": "e", "typed_config": {` + typ + `envoy.extensions.filters.http.cors.v3.Cors"}}`})
	names := func(context model.PatchContext) (out []string) {
		list, _ := set.AddedClusters(context)
		for _, c := range list {
			out = append(out, c.GetName())
		}
		ls, _ := set.AddedListeners(context)
		for _, l := range ls {
			out = append(out, l.GetName())
		}
		return out
	}
	for context, want := range map[model.PatchContext]string{model.SidecarOutbound: "[any]", model.SidecarInbound: "[in]", model.GatewayContext: "[any l]"} {
		if got := fmt.Sprint(names(context)); got != want {
			t.Errorf("%s: %s, want %s", context, got, want)
		}
	}
	if list, _ := set.Extensions(); len(list) != 1 || list[0].GetName() != "e" {
		t.Error(list)
	}
}
