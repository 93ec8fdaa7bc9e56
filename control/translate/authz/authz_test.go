package authz

import (
	"slices"
	"testing"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/wire"
)

func view(policies ...*model.Authz) *scope.View {
	w := &model.Workload{
		Meta: model.Meta{Key: model.Key{Kind: model.KindWorkload, Namespace: "default", Name: "shop-0"}},
		Name: "shop-0", Namespace: "default", Labels: map[string]string{"app": "shop"},
	}
	mesh := model.DefaultMesh()
	mesh.TrustAliases = []string{"old.domain"}
	idx := scope.NewIndex(&model.Snapshot{Mesh: mesh, Workloads: []*model.Workload{w}, Authz: policies})
	return scope.Build(idx, scope.Proxy{ID: wire.NodeID{Type: wire.Sidecar, Namespace: "default", Name: "shop-0"}})
}

func policy(name string, action model.AuthzAction, rules ...model.AuthzRule) *model.Authz {
	return &model.Authz{
		Meta:   model.Meta{Key: model.Key{Kind: model.KindAuthorizationPolicy, Namespace: "default", Name: name}},
		Action: action, Rules: rules,
	}
}

var (
	get  = model.AuthzRule{To: []model.AuthzOperation{{Methods: []string{"GET"}}}}
	p80  = model.AuthzRule{To: []model.AuthzOperation{{Ports: []string{"80"}}}}
	both = model.AuthzRule{To: []model.AuthzOperation{{Methods: []string{"GET"}, Ports: []string{"80"}}}}
)

// rules are what the filters enforce.
func rules(v *scope.View, tcp bool, report Report) []*rbacv3.RBAC {
	custom, list := HTTP(v, "", report)
	list = append(custom, list...)
	if tcp {
		list = TCP(v, "", report)
	}
	var out []*rbacv3.RBAC
	for _, f := range list {
		if m, ok := f.Config.(interface{ GetRules() *rbacv3.RBAC }); ok && m.GetRules() != nil {
			out = append(out, m.GetRules())
		}
	}
	return out
}

// TestOrder looks at which filters come out, and which rules are left in them.
func TestOrder(t *testing.T) {
	for _, tc := range []struct {
		name     string
		tcp      bool
		policies []*model.Authz
		want     []string
		findings int
	}{
		{"no policy", false, nil, nil, 0},
		{"allow nothing", false, []*model.Authz{policy("a", model.Allow)}, []string{"ALLOW"}, 0},
		{"deny nothing", false, []*model.Authz{policy("a", model.Deny)}, nil, 0},
		{"allow everything", false, []*model.Authz{policy("a", model.Allow, model.AuthzRule{})}, []string{"ALLOW a0"}, 0},
		{"deny before allow", false, []*model.Authz{policy("a", model.Allow, get), policy("d", model.Deny, get, p80)}, []string{"DENY d0 d1", "ALLOW a0"}, 0},
		{"an HTTP rule never allows TCP", true, []*model.Authz{policy("a", model.Allow, get)}, []string{"ALLOW"}, 0},
		{"not even in part", true, []*model.Authz{policy("a", model.Allow, both, p80)}, []string{"ALLOW a1"}, 0},
		{"an HTTP rule denies TCP by the rest", true, []*model.Authz{policy("d", model.Deny, both)}, []string{"DENY d0"}, 0},
		{"audit before deny", false, []*model.Authz{policy("d", model.Deny, get), policy("a", model.Audit, get)}, []string{"LOG a0", "DENY d0"}, 0},
		{"a token never allows TCP", true, []*model.Authz{policy("a", model.Allow,
			model.AuthzRule{From: []model.AuthzSource{{RequestPrincipals: []string{"*"}}}})}, []string{"ALLOW"}, 0},
		{"a token denies TCP", true, []*model.Authz{policy("d", model.Deny,
			model.AuthzRule{When: []model.AuthzCondition{{Key: "request.auth.claims[a]", Values: []string{"x"}}}})}, []string{"DENY d0"}, 0},
		{"a wrong value falls from allow", false, []*model.Authz{policy("a", model.Allow,
			model.AuthzRule{From: []model.AuthzSource{{IPBlocks: []string{"10.0.0.0/99"}}}})}, []string{"ALLOW"}, 1},
		{"a wrong value stays in deny", false, []*model.Authz{policy("a", model.Deny,
			model.AuthzRule{From: []model.AuthzSource{{IPBlocks: []string{"10.0.0.0/99"}}}})}, []string{"DENY a0"}, 1},
		{"an unknown key", false, []*model.Authz{policy("a", model.Allow,
			model.AuthzRule{When: []model.AuthzCondition{{Key: "source.moon", Values: []string{"x"}}}})}, []string{"ALLOW"}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var findings []model.Finding
			var got []string
			for _, r := range rules(view(tc.policies...), tc.tcp, func(f model.Finding) { findings = append(findings, f) }) {
				line := r.Action.String()
				var names []string
				for n := range r.Policies {
					// "ns[default]-policy[a]-rule[0]" → "a0"
					names = append(names, string(n[len("ns[default]-policy[")])+string(n[len(n)-2]))
				}
				slices.Sort(names)
				for _, n := range names {
					line += " " + n
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if len(findings) != tc.findings {
				t.Errorf("%d findings, want %d: %v", len(findings), tc.findings, findings)
			}
		})
	}
}

// TestRule looks at what one rule becomes.
func TestRule(t *testing.T) {
	const anyone = `principals { any: true }`
	const anything = `permissions { any: true }`
	for _, tc := range []struct {
		name string
		tcp  bool
		deny bool
		rule model.AuthzRule
		want string
	}{
		{"everything", false, false, model.AuthzRule{}, anything + anyone},
		{"principal in all trust domains", false, false,
			model.AuthzRule{From: []model.AuthzSource{{Principals: []string{"cluster.local/ns/a/sa/b"}}}},
			anything + `principals { or_ids {
				ids { authenticated { principal_name { exact: "spiffe://cluster.local/ns/a/sa/b" } } }
				ids { authenticated { principal_name { exact: "spiffe://old.domain/ns/a/sa/b" } } } } }`},
		{"foreign principal", false, false,
			model.AuthzRule{From: []model.AuthzSource{{Principals: []string{"else.where/ns/a/sa/b"}}}},
			anything + `principals { authenticated { principal_name { exact: "spiffe://else.where/ns/a/sa/b" } } }`},
		{"any principal", false, false,
			model.AuthzRule{From: []model.AuthzSource{{Principals: []string{"*"}}}},
			anything + `principals { authenticated { principal_name { safe_regex { regex: ".+" } } } }`},
		{"namespace", true, false,
			model.AuthzRule{From: []model.AuthzSource{{Namespaces: []string{"prod-*"}}}},
			anything + `principals { authenticated { principal_name { safe_regex { regex: ".*/ns/prod-.*/.*" } } } }`},
		{"service account here", false, false,
			model.AuthzRule{From: []model.AuthzSource{{ServiceAccounts: []string{"web", "other/web"}}}},
			anything + `principals { or_ids {
				ids { authenticated { principal_name { safe_regex { regex: "spiffe://[^/]+/ns/default/sa/web" } } } }
				ids { authenticated { principal_name { safe_regex { regex: "spiffe://[^/]+/ns/other/sa/web" } } } } } }`},
		{"addresses", false, false,
			model.AuthzRule{From: []model.AuthzSource{{IPBlocks: []string{"10.1.2.3/8"}, NotRemoteIPBlocks: []string{"fd00::1"}}}},
			anything + `principals { and_ids {
				ids { direct_remote_ip { address_prefix: "10.0.0.0" prefix_len { value: 8 } } }
				ids { not_id { remote_ip { address_prefix: "fd00::1" prefix_len { value: 128 } } } } } }`},
		{"operations", false, false,
			model.AuthzRule{To: []model.AuthzOperation{
				{Methods: []string{"GET"}, Paths: []string{"/a/*", "*.js", "/t/{*}/x/{**}"}, Ports: []string{"80"}},
				{NotHosts: []string{"x.com"}},
			}},
			`permissions { and_rules {
				rules { header { name: ":method" string_match { exact: "GET" } } }
				rules { or_rules {
					rules { url_path { path { prefix: "/a/" } } }
					rules { url_path { path { suffix: ".js" } } }
					rules { url_path { path { safe_regex { regex: "/t/[^/]+/x/.*" } } } } } }
				rules { destination_port: 80 } } }
			permissions { not_rule { header { name: ":authority" string_match { exact: "x.com" ignore_case: true } } } }` + anyone},
		{"conditions", false, false,
			model.AuthzRule{When: []model.AuthzCondition{
				{Key: "request.headers[X-A]", Values: []string{"*"}},
				{Key: "destination.port", NotValues: []string{"81"}},
				{Key: "connection.sni", Values: []string{"*.x.com"}},
				{Key: "source.trustDomain", Values: []string{"td"}},
			}},
			`permissions { and_rules {
				rules { not_rule { destination_port: 81 } }
				rules { requested_server_name { suffix: ".x.com" } } } }
			principals { and_ids {
				ids { header { name: "x-a" present_match: true } }
				ids { authenticated { principal_name { prefix: "spiffe://td/" } } } } }`},
		{"trust domains", false, false,
			model.AuthzRule{From: []model.AuthzSource{{TrustDomains: []string{"old.domain", "*.x"}, NotTrustDomains: []string{"*"}}}},
			anything + `principals { and_ids {
				ids { or_ids {
					ids { authenticated { principal_name { prefix: "spiffe://cluster.local/" } } }
					ids { authenticated { principal_name { prefix: "spiffe://old.domain/" } } }
					ids { authenticated { principal_name { safe_regex { regex: "spiffe://[^/]*\\.x/.*" } } } } } }
				ids { not_id { authenticated { principal_name { prefix: "spiffe://" } } } } } }`},
		{"request principals", false, false,
			model.AuthzRule{From: []model.AuthzSource{{RequestPrincipals: []string{"https://i.x/a*", "*/u"}, NotRequestPrincipals: []string{"*"}}}},
			anything + `principals { and_ids {
				ids { or_ids {
					ids { and_ids {
						ids { ` + claim("iss", `string_match { exact: "https://i.x" }`) + ` }
						ids { ` + claim("sub", `string_match { prefix: "a" }`) + ` } } }
					ids { and_ids {
						ids { ` + claim("iss", some) + ` }
						ids { ` + claim("sub", `string_match { exact: "u" }`) + ` } } } } }
				ids { not_id { and_ids { ids { ` + claim("iss", some) + ` } ids { ` + claim("sub", some) + ` } } } } } }`},
		{"claims", false, false,
			model.AuthzRule{When: []model.AuthzCondition{
				{Key: "request.auth.claims[group][id]", Values: []string{"a", "b*"}},
				{Key: "request.auth.audiences", NotValues: []string{"c"}},
				{Key: "request.auth.presenter", Values: []string{"p"}},
				{Key: "request.auth.principal", Values: []string{"i/*"}},
			}},
			anything + `principals { and_ids {
				ids { metadata { filter: "envoy.filters.http.jwt_authn" path { key: "payload" } path { key: "group" } path { key: "id" }
					value { ` + list(`or_match { value_matchers { string_match { exact: "a" } } value_matchers { string_match { prefix: "b" } } }`) + ` } } }
				ids { not_id { ` + claim("aud", list(`string_match { exact: "c" }`)) + ` } }
				ids { ` + claim("azp", list(`string_match { exact: "p" }`)) + ` }
				ids { and_ids { ids { ` + claim("iss", `string_match { exact: "i" }`) + ` } ids { ` + claim("sub", some) + ` } } } } }`},
		{"other filters' metadata", false, false,
			model.AuthzRule{When: []model.AuthzCondition{{Key: "experimental.envoy.filters.network.mysql_proxy[db]", Values: []string{"[x*]"}, NotValues: []string{"y"}}}},
			`permissions { and_rules {
				rules { metadata { filter: "envoy.filters.network.mysql_proxy" path { key: "db" }
					value { list_match { one_of { string_match { prefix: "x" } } } } } }
				rules { not_rule { metadata { filter: "envoy.filters.network.mysql_proxy" path { key: "db" } value { string_match { exact: "y" } } } } } } }` + anyone},
		{"deny TCP without the HTTP part", true, true, both, `permissions { destination_port: 80 }` + anyone},
		{"deny all TCP", true, true, get, anything + anyone},
	} {
		t.Run(tc.name, func(t *testing.T) {
			action := model.Allow
			if tc.deny {
				action = model.Deny
			}
			list := rules(view(policy("p", action, tc.rule)), tc.tcp, func(f model.Finding) { t.Error(f) })
			if len(list) != 1 {
				t.Fatalf("%d filters", len(list))
			}
			want := &rbacv3.Policy{}
			if err := prototext.Unmarshal([]byte(tc.want), want); err != nil {
				t.Fatal(err)
			}
			got := list[0].Policies["ns[default]-policy[p]-rule[0]"]
			if !proto.Equal(want, got) {
				t.Errorf("want %s\ngot  %s", prototext.Format(want), prototext.Format(got))
			}
		})
	}
}

// some is any value but an empty one.
const some = `string_match { safe_regex { regex: ".+" } }`

func claim(name, value string) string {
	return `metadata { filter: "envoy.filters.http.jwt_authn" path { key: "payload" } path { key: "` + name + `" } value { ` + value + ` } }`
}

func list(value string) string {
	return `or_match { value_matchers { list_match { one_of { ` + value + ` } } } value_matchers { ` + value + ` } }`
}

// TestScope: the root namespace's policies hold everywhere, others at home.
func TestScope(t *testing.T) {
	at := func(namespace string, selector map[string]string) *model.Authz {
		p := policy("x", model.Allow)
		p.Key.Namespace, p.Selector = namespace, selector
		return p
	}
	for _, tc := range []struct {
		name string
		p    *model.Authz
		want int
	}{
		{"own namespace", at("default", nil), 1},
		{"selected", at("default", map[string]string{"app": "shop"}), 1},
		{"not selected", at("default", map[string]string{"app": "else"}), 0},
		{"other namespace", at("other", nil), 0},
		{"root", at("istio-system", nil), 1},
		{"root, selected", at("istio-system", map[string]string{"app": "shop"}), 1},
		{"root, not selected", at("istio-system", map[string]string{"app": "else"}), 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := len(rules(view(tc.p), false, func(model.Finding) {})); got != tc.want {
				t.Errorf("%d filters, want %d", got, tc.want)
			}
		})
	}
}
