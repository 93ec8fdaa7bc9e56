package aeraki_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

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
	if got, want := strings.Join(said, ", "), ""; got != want {
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
	limits := &model.RateLimits{
		Local: []model.LocalLimit{
			{Match: &model.Match{Conditions: []model.Condition{{Attr: model.AttrMethod, Value: "sayHello"}}}, Max: 2, PerFill: 1, Every: 10 * time.Second},
			{Max: 10, PerFill: 10, Every: time.Minute},
		},
		Global: &model.GlobalLimit{ // without a requestTimeout, which Aeraki cannot do without
			Domain: "production", Match: &model.Match{Conditions: []model.Condition{{Attr: model.AttrMethod, Value: "sayHello"}}},
			Host: "rate-limit-server.meta-dubbo.svc.cluster.local", Port: 8081, Timeout: 20 * time.Millisecond, Deny: true,
			Descriptors: []model.LimitDescriptor{{Condition: model.Condition{Attr: model.AttrMethod, Op: model.Present}, Key: "method"}},
		},
	}
	if d := cmp.Diff(limits, rs.Limits); d != "" {
		t.Errorf("limits (-want, +got):\n%s", d)
	}
	if rs.Hosts[0] != "org.apache.dubbo.samples.basic.api.demoservice" || rs.Key.Kind != model.KindMetaRouter {
		t.Errorf("%+v", rs)
	}
}

func TestBad(t *testing.T) {
	for spec, want := range map[string]string{
		`{routes: [{route: [{destination: {host: h}}]}]}`: "spec.hosts: is missing",
		`{hosts: [a], routes: [{}]}`:                      "spec.routes[0].route: is missing",
		`{hosts: [a], gateways: [g/h/i]}`:                 "spec.gateways[0]: ",
		`{hosts: [a], routes: [{match: {attributes: {m: {exact: a, prefix: b}}}, route: [{destination: {host: h}}]}]}`: "spec.routes[0].match.attributes.m: has more than one of exact, prefix and regex",
		`{hosts: [a], routes: [{match: {attributes: {m: {regex: "("}}}, route: [{destination: {host: h}}]}]}`:          "spec.routes[0].match.attributes.m.regex: ",
		`{hosts: [a], routes: [{route: [{destination: {host: h}}, {destination: {host: i}}]}]}`:                        "spec.routes[0].route: no destination has a weight",
		`{hosts: [a], routes: [{route: [{destination: {host: h}}], mirrorPercentage: {value: 200}}]}`:                  "spec.routes[0].mirrorPercentage.value: ",
		`{hosts: [a], localRateLimit: {}}`:                                                                                                                    "spec.localRateLimit.tokenBucket: is missing",
		`{hosts: [a], localRateLimit: {tokenBucket: {maxTokens: 1, fillInterval: 1ms}}}`:                                                                      "spec.localRateLimit.tokenBucket.fillInterval: ",
		`{hosts: [a], localRateLimit: {tokenBucket: {fillInterval: 1s}}}`:                                                                                     "spec.localRateLimit.tokenBucket.maxTokens: ",
		`{hosts: [a], globalRateLimit: {domain: d, descriptors: [{property: a, descriptorKey: b}]}}`:                                                          "spec.globalRateLimit.rateLimitService: ",
		`{hosts: [a], globalRateLimit: {domain: d, rateLimitService: "outbound|1||h", requestTimeout: soon, descriptors: [{property: a, descriptorKey: b}]}}`: "spec.globalRateLimit.requestTimeout: ",
		`{hosts: [a], colour: red}`: "spec.colour: ",
	} {
		objects, findings := file.Decode([]byte("apiVersion: metaprotocol.aeraki.io/v1alpha1\nkind: MetaRouter\nmetadata: {name: a}\nspec: "+spec), "a.yaml")
		if len(objects) != 0 || len(findings) == 0 || !strings.HasPrefix(findings[0].Field+": "+findings[0].Message, want) {
			t.Errorf("%s: %d objects, %v", spec, len(objects), findings)
		}
	}
}

const protocolHead = "apiVersion: metaprotocol.aeraki.io/v1alpha1\nkind: ApplicationProtocol\nmetadata: {name: a}\nspec: "

// TestApplicationProtocol: Aeraki's objects are accepted as they are, and ours say how messages are made.
func TestApplicationProtocol(t *testing.T) {
	for spec, want := range map[string]string{
		`{protocol: dubbo, codec: aeraki.meta_protocol.codec.dubbo}`:                       "dubbo dubbo false",
		`{protocol: pay, codec: aeraki.meta_protocol.codec.thrift}`:                        "pay thrift false",
		`{protocol: brpc, codec: aeraki.meta_protocol.codec.brpc}`:                         "brpc  true",
		`{protocol: trpc, codec: aeraki.meta_protocol.codec.trpc}`:                         "trpc  true",
		`{protocol: quote, codec: binary}`:                                                 "quote quote false",
		`{protocol: quote, module: {url: reg.example.com/quote:v1, imagePullSecret: a/b}}`: "quote  false",
		`{protocol: orders, framing: {header: 8, length: {offset: 0, size: 4}}, type: {offset: 4, size: 1, values: {request: [1], response: [2]}}, status: {offset: 5, size: 1, codes: {404: 1, default: 2}}}`: "orders  true",
	} {
		objects, findings := file.Decode([]byte(protocolHead+spec), "a.yaml")
		if len(objects) != 1 || len(findings) != 0 {
			t.Errorf("%s: %d objects, %v", spec, len(objects), findings)
			continue
		}
		p := objects[0].(*model.AppProtocol)
		if got := fmt.Sprint(p.Protocol, " ", p.Codec, " ", p.Declared != nil); got != want {
			t.Errorf("%s: %q, want %q", spec, got, want)
		}
		if p.Declared != nil && p.Declared.Check() != nil {
			t.Errorf("%s: %v", spec, p.Declared.Check())
		}
	}
}

func TestBadApplicationProtocol(t *testing.T) {
	for spec, want := range map[string]string{
		`{codec: binary}`:                                                  "spec.protocol: is missing",
		`{protocol: "a-b", codec: binary}`:                                 "spec.protocol: ",
		`{protocol: http, codec: binary}`:                                  "spec.protocol: ",
		`{protocol: qza}`:                                                  "spec.framing: is missing",
		`{protocol: qza, module: {}}`:                                      "spec.module.url: is missing",
		`{protocol: qza, codec: binary, module: {url: "http://h/a"}}`:      "spec.module: ",
		`{protocol: dubbo, module: {url: "http://h/a"}}`:                   "spec.protocol: ",
		`{protocol: qza, module: {url: "http://h/a", imagePullSecret: b}}`: "spec.module.imagePullSecret: ",
		`{protocol: qza, module: {url: "http://h/a", imagePullPolicy: b}}`: "spec.module.imagePullPolicy: ",
		`{protocol: qza, module: {url: "http://h/a", sha256: b}}`:          "spec.module.sha256: ",
		`{protocol: qza, codec: aeraki.meta_protocol.codec.qza}`:           "spec.codec: there is no codec",
		`{protocol: qza, codec: binary, framing: {fixed: 4}}`:              "spec.codec: ",
		`{protocol: dubbo, framing: {fixed: 4}}`:                           "spec.protocol: ",
		`{protocol: qza, framing: {length: {offset: 0, size: 4}}}`:         "spec.framing.length.offset: ",
		`{protocol: qza, framing: {fixed: 4}, colour: red}`:                "spec.colour: ",
		`{protocol: qza, framing: {fixed: 4}, method: [{part: a}]}`:        "spec.method[0].part: ",
		`{protocol: qza, framing: {fixed: 4, length: {size: "a"}}}`:        "spec.framing.length.size: ",
	} {
		objects, findings := file.Decode([]byte(protocolHead+spec), "a.yaml")
		if len(objects) != 0 || len(findings) == 0 || !strings.HasPrefix(findings[0].Field+": "+findings[0].Message, want) {
			t.Errorf("%s: %d objects, %v", spec, len(objects), findings)
		}
	}
}
