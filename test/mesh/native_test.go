package mesh

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// dubboNative has what Envoy's own dubbo_proxy carries out, in both ways to say it.
const (
	dubboNative = `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: demo, namespace: default, annotations: {weft.dev/envoy-dubbo-proxy: "true"}}
spec:
  hosts: [demo]
  http:
  - match: [{uri: {exact: /org.x.Demo/moved}}, {headers: {user: {exact: jason}}}]
    route: [{destination: {host: demo, subset: v2}}]
  - match: [{method: {prefix: two}, headers: {version: {exact: 0.0.0}}}]
    route: [{destination: {host: demo, subset: v2}}]
  - match: [{authority: {exact: org.x.Other}}]
    route: [{destination: {host: demo, subset: v2}}]
  - match: [{method: {exact: closed}}]
    directResponse: {status: 403}
  - match: [{method: {exact: split}}]
    route: [{destination: {host: demo, subset: v1}, weight: 50}, {destination: {host: demo, subset: v2}, weight: 50}]
  - route: [{destination: {host: demo, subset: v1}}]
    timeout: 1s
`
	// dubboConverted is the route of dubboMesh by which a gateway makes Dubbo of HTTP.
	dubboConverted = `  - match: [{uri: {prefix: /org.x.Demo/}}]
    route: [{destination: {host: demo, subset: v2}}]
`
	dubboNativeMeta = `---
apiVersion: metaprotocol.aeraki.io/v1alpha1
kind: MetaRouter
metadata: {name: demo, namespace: default, annotations: {weft.dev/envoy-dubbo-proxy: "true"}}
spec:
  hosts: [demo]
  routes:
  - match: {attributes: {user: {exact: jason}, interface: {prefix: org.x}}}
    route: [{destination: {host: demo, subset: v2}}]
  - route: [{destination: {host: demo, subset: v1}}]
    requestMutation: [{key: added, value: "yes"}]
`
)

// TestDubboNative: clients with the engine envoy have Envoy's own proxy for Dubbo, by the same resources and with mutual TLS, and
// are told what it does not do.
func TestDubboNative(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, routes string
		calls        map[string]string
		split        bool
		findings     [][2]string // a field, and what is said of it
	}{
		{"VirtualService", dubboNative, map[string]string{
			"service=org.x.Demo&method=hello":                     "200 20 1 v1 ",
			"service=org.x.Demo&method=moved":                     "200 20 1 v2 ",
			"service=org.x.Demo&method=hello&user=jason":          "200 20 1 v2 ",
			"service=org.x.Demo&method=hello&user=fred":           "200 20 1 v1 ",
			"service=org.x.Demo&method=twofold":                   "200 20 1 v2 ",
			"service=org.x.Other&method=hello":                    "200 20 1 v2 ",
			"service=org.x.Demo&method=closed":                    "200 80 ",
			"service=org.x.Demo&method=fail":                      "200 20 0 v1 fails",
			"service=org.x.Demo&method=hello&user=jason&deep=yes": "200 20 1 v2 ",
		}, true, [][2]string{{"spec.http[3]", "answers nothing itself"}, {"spec.http[5].timeout", "has no timeouts"}}},
		{"MetaRouter", dubboNativeMeta, map[string]string{
			"service=org.x.Demo&method=hello":            "200 20 1 v1 ",
			"service=org.x.Demo&method=hello&user=jason": "200 20 1 v2 ",
			"service=com.x.Demo&method=hello&user=jason": "200 20 1 v1 ",
		}, false, [][2]string{{"spec.routes[1].requestMutation", "does not change messages"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			mesh := strings.Replace(dubboMesh, dubboConverted, "", 1) // which needs the own engine
			for _, policy := range []string{"kind: AuthorizationPolicy\nmetadata: {name: demo,", "kind: DubboAuthorizationPolicy\nmetadata: {name: private,", "kind: DubboAuthorizationPolicy\nmetadata: {name: known,"} {
				// Rules about requests would refuse all connections to the servers' Envoys.
				mesh = without(t, mesh, policy)
			}
			m := startText(t, mesh+c.routes, options{engine: "envoy"}, "ANNOTATION", "")
			for query, want := range c.calls {
				a := m.get("/?host=demo&"+query, "")
				if got := fmt.Sprint(a.code, " ", a.body); !strings.HasPrefix(got, want) {
					t.Errorf("%s: %q, want %q", query, got, want)
				}
			}
			if c.split {
				m.halves("/?host=demo&service=org.x.Demo&method=split", "20 1 ")
			}
			for _, f := range c.findings {
				m.finding("WEFT0430", f[0], f[1])
			}
			if !strings.Contains(m.admin("page-0", "/config_dump"), "envoy.filters.network.dubbo_proxy") {
				t.Error("there is no dubbo_proxy")
			}
		})
	}
}

// without takes the one document out of a mesh that has text in it.
func without(t *testing.T, mesh, text string) string {
	t.Helper()
	documents := strings.Split(mesh, "---\n")
	left := slices.DeleteFunc(slices.Clone(documents), func(d string) bool { return strings.Contains(d, text) })
	if len(left) != len(documents)-1 {
		t.Fatalf("%d documents have %q", len(documents)-len(left), text)
	}
	return strings.Join(left, "---\n")
}

// halves sees to it that about half of the answers are from each of v1 and v2, behind what goes before.
func (m *mesh) halves(path, before string) {
	m.t.Helper()
	const n = 400
	got := map[string]int{}
	for range n {
		words := strings.Fields(strings.TrimPrefix(m.get(path, "").body, before))
		if len(words) == 0 {
			m.t.Fatalf("%s: an empty answer", path)
		}
		got[words[0]]++
	}
	if got["v1"]+got["v2"] != n || got["v1"] < n*2/5 || got["v2"] < n*2/5 { // four standard deviations
		m.t.Errorf("%s: %v", path, got)
	}
}

// thriftMesh: a page that calls Thrift services, of which there are two versions, and one that gets copies.
var thriftMesh = twoVersions("demo", "thrift", "tcp-thrift", "9090") + pageOf("thrift", "call") + strictTLS + `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: demo, namespace: default}
spec:
  hosts: [demo]
  http:
  - match: [{method: {exact: two}}, {headers: {user: {regex: "jas.*"}}}, {authority: {exact: Other}}, {uri: {exact: /Some/thing}}]
    route: [{destination: {host: demo, subset: v2}}]
  - match: [{method: {exact: split}}]
    route: [{destination: {host: demo, subset: v1}, weight: 50}, {destination: {host: demo, subset: v2}, weight: 50}]
  - match: [{method: {prefix: pre}}]
    route: [{destination: {host: demo, subset: v2}}]
  - route: [{destination: {host: demo, subset: v1}}]
    mirror: {host: demo, subset: v2}
    retries: {attempts: 3}
`

// TestThrift: routes of Thrift on both engines, with mutual TLS; on Envoy's own proxy as far as it goes, and a Finding where it does not.
func TestThrift(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"go", "envoy"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			m := startText(t, thriftMesh, options{engine: engine})
			calls := map[string]string{
				"method=hello&tag=t":        "v1 hello t",
				"method=hello&form=framed":  "v1 hello",
				"method=two&form=framed":    "v2 two",
				"method=hello&user=jason":   "v2 hello",
				"method=Other:hello":        "v2 Other:hello",
				"method=Some:thing":         "v2 Some:thing",
				"method=Some:other&tag=yes": "v1 Some:other yes",
			}
			if engine == "go" {
				calls["method=prefixed"] = "v2 prefixed"
			}
			for query, want := range calls {
				if got := strings.TrimSpace(m.get("/?host=demo&"+query, "").body); !strings.HasPrefix(got, want) {
					t.Errorf("%s: %q, want %q", query, got, want)
				}
			}
			m.halves("/?host=demo&method=split", "")
			if engine == "envoy" {
				m.finding("WEFT0430", "spec.http[2].match[0]", "an operation but by its whole name")
				m.finding("WEFT0430", "spec.http[3].retries", "does not try again")
				if !strings.Contains(m.admin("page-0", "/config_dump"), "envoy.filters.network.thrift_proxy") {
					t.Error("there is no thrift_proxy")
				}
			}
		})
	}
}
