package aeraki_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/file"
)

// documented is what Aeraki's documentation shows, all in one.
const documented = `apiVersion: metaprotocol.aeraki.io/v1alpha1
kind: MetaRouter
metadata: {name: test-metaprotocol-dubbo-route, namespace: meta-dubbo}
spec:
  hosts: [org.apache.dubbo.samples.basic.api.demoservice]
  localRateLimit:
    tokenBucket: {fillInterval: 60s, maxTokens: 10, tokensPerFill: 10}
    conditions: [{tokenBucket: {fillInterval: 10s, maxTokens: 2}, match: {attributes: {method: {exact: sayHello}}}}]
  globalRateLimit:
    domain: production
    match: {attributes: {method: {exact: sayHello}}}
    rateLimitService: outbound|8081||rate-limit-server.meta-dubbo.svc.cluster.local
    denyOnFail: true
    descriptors: [{property: method, descriptorKey: method}]
  routes:
  - name: v1
    match: {attributes: {interface: {exact: org.x.DemoService}, method: {prefix: say}, Foo: {regex: "*"}, bar: {}}}
    route: [{destination: {host: h, subset: v1}, weight: 20}, {destination: {host: h, subset: v2}, weight: 80}]
    mirror: {host: h, subset: v2, port: {number: 20880}}
    mirrorPercentage: {value: 50.0}
    requestMutation: [{key: foo, value: bar}]
    responseMutation: [{key: a, value: b}]
  - route: [{destination: {host: h}}]
`

func TestMetaRouter(t *testing.T) {
	objects, findings := file.Decode([]byte(documented), "a.yaml")
	var said []string
	for _, f := range findings {
		said = append(said, fmt.Sprint(f.Severity, " ", f.Field))
	}
	if got, want := strings.Join(said, ", "), "warning spec.localRateLimit, warning spec.globalRateLimit"; got != want {
		t.Errorf("findings: %s, want %s", got, want)
	}
	if len(objects) != 1 {
		t.Fatalf("%d objects", len(objects))
	}
	rs := objects[0].(*model.RouteSet)
	h := func(subset string, weight uint32) model.Destination {
		return model.Destination{Host: "h.meta-dubbo.svc.cluster.local", Subset: subset, Weight: weight}
	}
	mirror := h("v2", 0)
	mirror.Port = 20880
	want := []model.Route{{
		Name: "v1",
		Matches: []model.Match{{Conditions: []model.Condition{
			{Attr: model.AttrHeader, Name: "foo", Op: model.Present},
			{Attr: model.AttrHeader, Name: "bar", Op: model.Present},
			{Attr: model.AttrHeader, Name: "interface", Value: "org.x.DemoService"},
			{Attr: model.AttrMethod, Op: model.Prefix, Value: "say"},
		}}},
		Destinations: []model.Destination{h("v1", 20), h("v2", 80)},
		Mirrors:      []model.Mirror{{Destination: mirror, Percent: 50}},
		Headers: model.HeaderOps{
			Request: model.HeaderOp{Set: map[string]string{"foo": "bar"}}, Response: model.HeaderOp{Set: map[string]string{"a": "b"}},
		},
	}, {Destinations: []model.Destination{h("", 0)}}}
	if d := cmp.Diff(want, rs.HTTP); d != "" {
		t.Errorf("(-want, +got):\n%s", d)
	}
	if rs.Hosts[0] != "org.apache.dubbo.samples.basic.api.demoservice" || rs.Key.Kind != model.KindMetaRouter {
		t.Errorf("%+v", rs)
	}
}

func TestBad(t *testing.T) {
	for spec, want := range map[string]string{
		`{routes: [{route: [{destination: {host: h}}]}]}`: "spec.hosts: is missing",
		`{hosts: [a], routes: [{}]}`:                      "spec.routes[0].route: is missing",
		`{hosts: [a], gateways: [g]}`:                     "spec.gateways: ",
		`{hosts: [a], routes: [{match: {attributes: {m: {exact: a, prefix: b}}}, route: [{destination: {host: h}}]}]}`: "spec.routes[0].match.attributes.m: has more than one of exact, prefix and regex",
		`{hosts: [a], routes: [{match: {attributes: {m: {regex: "("}}}, route: [{destination: {host: h}}]}]}`:          "spec.routes[0].match.attributes.m.regex: ",
		`{hosts: [a], routes: [{route: [{destination: {host: h}}, {destination: {host: i}}]}]}`:                        "spec.routes[0].route: no destination has a weight",
		`{hosts: [a], routes: [{route: [{destination: {host: h}}], mirrorPercentage: {value: 200}}]}`:                  "spec.routes[0].mirrorPercentage.value: ",
		`{hosts: [a], colour: red}`: "spec.colour: ",
	} {
		objects, findings := file.Decode([]byte("apiVersion: metaprotocol.aeraki.io/v1alpha1\nkind: MetaRouter\nmetadata: {name: a}\nspec: "+spec), "a.yaml")
		if len(objects) != 0 || len(findings) == 0 || !strings.HasPrefix(findings[0].Field+": "+findings[0].Message, want) {
			t.Errorf("%s: %d objects, %v", spec, len(objects), findings)
		}
	}
}
