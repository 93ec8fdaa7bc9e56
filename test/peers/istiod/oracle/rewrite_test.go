package oracle

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// formOf is the form of a message in text.
func formOf(t *testing.T, name, text string) *Form {
	t.Helper()
	mt, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(name))
	if err != nil {
		t.Fatal(err)
	}
	m := mt.New()
	if err := prototext.Unmarshal([]byte(text), m.Interface()); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	f := empty()
	if err := f.message("x", m); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestSame: what is written in two ways has one form, and what says something else has another.
func TestSame(t *testing.T) {
	const hcm = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
	for _, c := range []struct{ name, message, a, same, other string }{
		{
			"timeouts of gRPC", "envoy.config.route.v3.RouteAction", `timeout{} max_grpc_timeout{}`,
			`timeout{} max_stream_duration{max_stream_duration{} grpc_timeout_header_max{}}`, `timeout{seconds:1} max_grpc_timeout{}`,
		},
		{
			"domains", "envoy.config.route.v3.RouteConfiguration", `virtual_hosts{name:"a" domains:"a" domains:"b"}`,
			`virtual_hosts{name:"a" domains:"b"} virtual_hosts{name:"a" domains:"a"}`, `virtual_hosts{name:"a" domains:"a"}`,
		},
		{
			"order of routes", "envoy.config.route.v3.VirtualHost", `routes{match{prefix:"/a"}} routes{match{prefix:"/b"}}`,
			`routes{match{prefix:"/a" case_sensitive{value:true}}} routes{match{prefix:"/b"}}`, `routes{match{prefix:"/b"}} routes{match{prefix:"/a"}}`,
		},
		{
			"matches of chains", "envoy.config.listener.v3.Listener",
			`filter_chains{name:"a" filter_chain_match{server_names:"a" server_names:"b" application_protocols:"x" application_protocols:"y"}}`,
			`filter_chains{name:"a" filter_chain_match{server_names:"b" application_protocols:"y" application_protocols:"x"}}
			 filter_chains{name:"a" filter_chain_match{server_names:"a" application_protocols:"x" application_protocols:"y"}}`,
			`filter_chains{name:"a" filter_chain_match{server_names:"a" server_names:"b" application_protocols:"x"}}`,
		},
		{"nothing to wait for", "envoy.config.listener.v3.Listener", `name:"a"`, `name:"a" listener_filters_timeout{seconds:1}`, `name:"b"`},
		{"a server's name that nobody sees", hcm, `server_header_transformation: PASS_THROUGH`, `server_header_transformation: PASS_THROUGH server_name: "x"`, `server_name: "x"`},
		{
			"filters that do nothing", hcm, `route_config{name:"a"}`,
			`route_config{name:"a"} http_filters{name:"envoy.filters.http.fault" typed_config{[type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault]{}}}`,
			`rds{route_config_name:"a"} http_filters{name:"envoy.filters.http.fault" typed_config{[type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault]{}}}`,
		},
		{
			"names of servers", "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext", `match_subject_alt_names{exact:"spiffe://a"}`,
			`match_typed_subject_alt_names{san_type:URI matcher{exact:"spiffe://a"}}`, `match_typed_subject_alt_names{san_type:DNS matcher{exact:"spiffe://a"}}`,
		},
		{
			"Zipkin", "envoy.config.trace.v3.ZipkinConfig", `collector_cluster:"c" collector_endpoint:"/p" collector_hostname:"h"`,
			`collector_service{http_uri{uri:"http://h/p" cluster:"c" timeout{seconds:5}}}`, `collector_service{http_uri{uri:"http://h/q" cluster:"c" timeout{seconds:5}}}`,
		},
		{
			"proportions", "envoy.config.endpoint.v3.ClusterLoadAssignment",
			`endpoints{locality{region:"a"} load_balancing_weight{value:70} lb_endpoints{}} endpoints{locality{region:"b"} load_balancing_weight{value:30} lb_endpoints{}}`,
			`endpoints{locality{region:"b"} load_balancing_weight{value:3} lb_endpoints{}} endpoints{locality{region:"a"} load_balancing_weight{value:7} lb_endpoints{}}
			 endpoints{locality{region:"c"} load_balancing_weight{value:9}}`,
			`endpoints{locality{region:"a"} load_balancing_weight{value:30} lb_endpoints{}} endpoints{locality{region:"b"} load_balancing_weight{value:70} lb_endpoints{}}`,
		},
		{
			"policies that nobody meets", "envoy.config.rbac.v3.RBAC", `policies{key:"a" value{permissions{any:true} principals{any:true}}}`,
			`policies{key:"a" value{permissions{any:true} principals{any:true}}} policies{key:"b" value{permissions{not_rule{any:true}} principals{any:true}}}`, `action: DENY`,
		},
		{
			"a typed struct", "envoy.config.core.v3.TypedExtensionConfig",
			`typed_config{[type.googleapis.com/udpa.type.v1.TypedStruct]{type_url:"type.googleapis.com/stats.PluginConfig" value{fields{key:"disable_host_header_fallback" value{bool_value:true}}}}}`,
			`typed_config{[type.googleapis.com/stats.PluginConfig]{disable_host_header_fallback:true}}`, `typed_config{[type.googleapis.com/stats.PluginConfig]{}}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := formOf(t, c.message, c.a)
			for _, d := range Compare(a, formOf(t, c.message, c.same)) {
				t.Errorf("%s", d)
			}
			if len(Compare(a, formOf(t, c.message, c.other))) == 0 {
				t.Errorf("%s is the same, too", c.other)
			}
		})
	}
}

// TestRulesAreOfFields: a rule is of a field that there is, and of a kind that it can have.
func TestRulesAreOfFields(t *testing.T) {
	for name, r := range rules {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		fd, ok := d.(protoreflect.FieldDescriptor)
		switch {
		case !ok:
			t.Errorf("%s is no field", name)
		case (r.do == keyed || r.do == set) != fd.IsList() && r.do != drop:
			t.Errorf("%s: a rule for lists is for lists alone", name)
		case r.why == "" || strings.HasSuffix(r.why, "."):
			t.Errorf("%s: say why, in some words", name)
		}
	}
}

// TestOnlyOneSide: what one side alone has is one difference, at the shortest path.
func TestOnlyOneSide(t *testing.T) {
	const route = "envoy.config.route.v3.Route"
	found := Compare(formOf(t, route, `match{prefix:"/"} route{cluster:"a" timeout{seconds:1}}`), formOf(t, route, `match{prefix:"/"}`))
	if len(found) != 1 || found[0].Path != "x>route" || found[0].Istiod != "cluster=a; timeout=1s" || found[0].Weft != "" {
		t.Errorf("got %v", found)
	}
}
