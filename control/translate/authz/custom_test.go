package authz

import (
	"strings"
	"testing"
	"time"

	authzhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	rbachttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	rbacnetv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/wire"
)

// asked is a view with providers "web" (HTTP), "grpc" and "lost", whose service is not there.
func asked(policies ...*model.Authz) *scope.View {
	mesh := model.DefaultMesh()
	mesh.Authorizers = []model.ExtAuthz{
		{Name: "web", Service: "authz.x", Port: 80, PathPrefix: "/check", StatusOnError: 503, FailOpen: true, Timeout: time.Second,
			RequestHeaders: []string{"x-a", "x-b-*"}, UpstreamOnAllow: []string{"*-up"}, AddHeaders: map[string]string{"k": "v"},
			Body: &model.ExtAuthzBody{MaxBytes: 9, Partial: true}},
		{Name: "grpc", GRPC: true, Service: "authz.x", Port: 90, ClearRouteCache: true},
		{Name: "lost", GRPC: true, Service: "gone.x", Port: 90},
	}
	svc := &model.Service{
		Meta: model.Meta{Key: model.Key{Kind: model.KindService, Namespace: "default", Name: "authz"}},
		Host: "authz.x", Name: "authz", Namespace: "default", Exports: model.Visibility{Public: true},
		Ports: []model.ServicePort{{Port: 80, Protocol: model.HTTP}, {Port: 90, Protocol: model.GRPC}},
	}
	idx := scope.NewIndex(&model.Snapshot{Mesh: mesh, Services: []*model.Service{svc}, Authz: policies})
	return scope.Build(idx, scope.Proxy{ID: wire.NodeID{Type: wire.Sidecar, Namespace: "default", Name: "shop-0"}})
}

func ask(name, provider string) *model.Authz {
	p := policy(name, model.Custom, get)
	p.Provider = provider
	return p
}

// TestCustom looks at which filters come out, in which order.
func TestCustom(t *testing.T) {
	dry := ask("dry", "web")
	dry.DryRun = true
	for _, tc := range []struct {
		name     string
		tcp      bool
		policies []*model.Authz
		want     string
		findings int
	}{
		{"one", false, []*model.Authz{ask("c", "web")}, "rbac ext_authz(web)", 0},
		{"two providers", false, []*model.Authz{ask("c", "web"), ask("d", "grpc"), ask("e", "web")}, "rbac ext_authz(grpc) rbac ext_authz(web)", 0},
		{"HTTP is not asked about TCP", true, []*model.Authz{ask("c", "web"), ask("d", "grpc")}, "rbac ext_authz(grpc)", 0},
		{"unknown provider", false, []*model.Authz{ask("c", "nobody")}, "rbac!", 1},
		{"unknown service", true, []*model.Authz{ask("c", "lost")}, "rbac!", 1},
		{"tried only", false, []*model.Authz{dry}, "rbac", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var findings []model.Finding
			report := func(f model.Finding) { findings = append(findings, f) }
			list, _ := HTTP(asked(tc.policies...), "", report)
			if tc.tcp {
				findings = nil
				list = TCP(asked(tc.policies...), "", report)
			}
			var got []string
			for _, f := range list {
				word := f.Name[strings.LastIndexByte(f.Name, '.')+1:]
				switch m := f.Config.(type) {
				case *rbachttpv3.RBAC:
					if m.Rules != nil {
						word += "!"
					}
				case *rbacnetv3.RBAC:
					if m.Rules != nil {
						word += "!"
					}
				case interface{ GetStatPrefix() string }:
					text := prototext.Format(f.Config)
					_, after, _ := strings.Cut(text, "istio-ext-authz-")
					provider, _, _ := strings.Cut(after, "-")
					word += "(" + provider + ")"
				}
				got = append(got, word)
			}
			if diff := cmp.Diff(tc.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if len(findings) != tc.findings {
				t.Errorf("%d findings, want %d: %v", len(findings), tc.findings, findings)
			}
		})
	}
}

// TestCheck looks at what the fields of a provider become.
func TestCheck(t *testing.T) {
	for provider, want := range map[string]string{
		"web": `failure_mode_allow: true transport_api_version: V3 status_on_error { code: ServiceUnavailable }
			with_request_body { max_request_bytes: 9 allow_partial_message: true }
			filter_enabled_metadata { filter: "envoy.filters.http.rbac" path { key: "istio_ext_authz_shadow_effective_policy_id" }
				value { string_match { prefix: "istio-ext-authz-web-" } } }
			allowed_headers { patterns { exact: "x-a" ignore_case: true } patterns { prefix: "x-b-" ignore_case: true } }
			http_service { path_prefix: "/check" server_uri { uri: "http://authz.x" cluster: "outbound|80||authz.x" timeout { seconds: 1 } }
				authorization_request { headers_to_add { key: "k" value: "v" } }
				authorization_response { allowed_upstream_headers { patterns { suffix: "-up" ignore_case: true } } } }`,
		"grpc": `transport_api_version: V3 clear_route_cache: true
			filter_enabled_metadata { filter: "envoy.filters.http.rbac" path { key: "istio_ext_authz_shadow_effective_policy_id" }
				value { string_match { prefix: "istio-ext-authz-grpc-" } } }
			grpc_service { envoy_grpc { cluster_name: "outbound|90||authz.x" authority: "authz.x" } timeout { seconds: 600 } }`,
	} {
		t.Run(provider, func(t *testing.T) {
			list, _ := HTTP(asked(ask("c", provider)), "", func(f model.Finding) { t.Error(f) })
			m := &authzhttpv3.ExtAuthz{}
			if err := prototext.Unmarshal([]byte(want), m); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(m, list[1].Config) {
				t.Errorf("want %s\ngot  %s", prototext.Format(m), prototext.Format(list[1].Config))
			}
			shadow := list[0].Config.(*rbachttpv3.RBAC)
			if shadow.ShadowRulesStatPrefix != "istio_ext_authz_" || shadow.ShadowRules.Policies["istio-ext-authz-"+provider+"-ns[default]-policy[c]-rule[0]"] == nil {
				t.Errorf("the rules that decide who is asked: %s", prototext.Format(shadow))
			}
		})
	}
}

// TestDryRun: what is only tried is noted under Istio's prefixes.
func TestDryRun(t *testing.T) {
	dry := func(name string, a model.AuthzAction) *model.Authz {
		p := policy(name, a, get)
		p.DryRun = true
		return p
	}
	_, list := HTTP(view(dry("a", model.Allow), dry("d", model.Deny), policy("e", model.Deny, p80)), "", func(f model.Finding) { t.Error(f) })
	if len(list) != 2 {
		t.Fatalf("%d filters, want 2", len(list))
	}
	deny, allow := list[0].Config.(*rbachttpv3.RBAC), list[1].Config.(*rbachttpv3.RBAC)
	if deny.ShadowRulesStatPrefix != "istio_dry_run_deny_" || len(deny.ShadowRules.Policies) != 1 || len(deny.Rules.Policies) != 1 {
		t.Errorf("deny: %s", prototext.Format(deny))
	}
	if allow.ShadowRulesStatPrefix != "istio_dry_run_allow_" || allow.Rules != nil || len(allow.ShadowRules.Policies) != 1 {
		t.Errorf("allow: %s", prototext.Format(allow))
	}
}
