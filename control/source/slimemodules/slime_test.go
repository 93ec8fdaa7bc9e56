package slimemodules_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/file"
)

// said are findings as "severity field".
func said(findings []model.Finding) string {
	var out []string
	for _, f := range findings {
		out = append(out, fmt.Sprint(f.Severity, " ", f.Field))
	}
	return strings.Join(out, ", ")
}

// TestFence reads what Slime's documentation shows, in both groups.
func TestFence(t *testing.T) {
	const documented = `apiVersion: GROUP/v1alpha1
kind: ServiceFence
metadata: {name: productpage, namespace: default, annotations: {weft.dev/fence: closed}}
spec:
  enable: true
  host:
    reviews.default.svc.cluster.local: {stable: {}}
    test/*: {}
    www.example.com: {deadline: {expire: {seconds: 1700000000, nanos: 1}}}
    www.example.org: {deadline: {expire: "2023-11-14T22:13:20Z"}}
  namespaceSelector: [foo, bar]
  labelSelector:
  - selector: {project: back}
  - selector: {project: front, group: web}
  workloadSelector: {fromService: true, labels: {group: foo, zone: hz}}
status:
  domains: {reviews.default.svc.cluster.local: {hosts: [reviews.default.svc.cluster.local]}}
`
	for _, group := range []string{"microservice.slime.io", "microservice.netease.com"} {
		objects, findings := file.Decode([]byte(strings.ReplaceAll(documented, "GROUP", group)), "a.yaml")
		if len(objects) != 1 || len(findings) != 0 {
			t.Fatalf("%s: %d objects, %v", group, len(objects), findings)
		}
		got := objects[0].(*model.Fence)
		want := &model.Fence{
			Meta: got.Meta, Enabled: true, Closed: true, Selector: map[string]string{"group": "foo", "zone": "hz"},
			Hosts: []model.FenceHost{
				{Host: "reviews.default.svc.cluster.local"}, {Host: "test/*"}, {Host: "www.example.com", Until: 1700000001}, {Host: "www.example.org", Until: 1700000000},
			},
			Namespaces: []string{"foo", "bar"}, Labels: []map[string]string{{"project": "back"}, {"project": "front", "group": "web"}},
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(model.Lines{})); d != "" {
			t.Errorf("%s (-want, +got):\n%s", group, d)
		}
	}
}

// TestFenceSpellings: the fields of older releases mean the same.
func TestFenceSpellings(t *testing.T) {
	const text = `{apiVersion: microservice.netease.com/v1alpha1, kind: ServiceFence, metadata: {name: a}, spec: {enable: true, namespace_selector: [n], label_selector: [{selector: {a: b}}], workload_selector: {from_service: true}}}`
	objects, findings := file.Decode([]byte(text), "a.yaml")
	if len(objects) != 1 {
		t.Fatal(findings)
	}
	f := objects[0].(*model.Fence)
	if !f.FromService || len(f.Namespaces) != 1 || len(f.Labels) != 1 {
		t.Errorf("%+v", f)
	}
}

func TestBad(t *testing.T) {
	for text, want := range map[string]string{
		`ServiceFence {enable: true, host: {"a/b": {}}}`:                               `error spec.host["a/b"]`,
		`ServiceFence {enable: true, host: {"a.b": {deadline: {expire: soon}}}}`:       `error spec.host["a.b"].deadline.expire`,
		`ServiceFence {enable: true, labelSelector: [{}]}`:                             "error spec.labelSelector[0].selector",
		`ServiceFence {enable: true, namespaceSelector: [a], namespace_selector: [b]}`: "error spec.namespace_selector",
		`ServiceFence {enable: true, colour: red}`:                                     "error spec.colour",
		`SlimeBoot {module: [{enable: true}]}`:                                         "error spec.module[0].kind",
		`SlimeBoot {module: [{name: lazyload, enable: true, mode: Item}]}`:             "error spec.module[0].mode",
		`SlimeBoot {module: [{name: x, kind: patrol, enable: true}]}`:                  "warning spec.module[0].kind",
		`SlimeBoot {}`: "warning spec.module",
		`SlimeBoot {module: [{name: lazyload, enable: true, general: {autoFence: perhaps}}]}`: "error spec.module[0].general",
	} {
		kind, spec, _ := strings.Cut(text, " ")
		group := map[string]string{"ServiceFence": "microservice.slime.io", "SlimeBoot": "config.netease.com"}[kind]
		_, findings := file.Decode([]byte("apiVersion: "+group+"/v1alpha1\nkind: "+kind+"\nmetadata: {name: a}\nspec: "+spec), "a.yaml")
		if got := said(findings); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// TestBoot: bundles and single modules, the newer and the older spelling, a global sidecar, what has no use.
func TestBoot(t *testing.T) {
	const text = `apiVersion: config.netease.com/v1alpha1
kind: SlimeBoot
metadata: {name: bundle, namespace: mesh-operator}
spec:
  image: {pullPolicy: Always, repository: docker.io/slimeio/slime-bundle-all, tag: v0.9.0}
  module:
  - name: bundle
    enable: true
    bundle: {modules: [{name: limiter, kind: limiter}, {name: plugin, kind: plugin}, {name: lazyload, kind: lazyload}]}
    global: {log: {logLevel: info}}
  - {name: limiter, kind: limiter, enable: false, mode: BundleItem, general: {}}
  - {name: plugin, kind: plugin, enable: true, mode: BundleItem}
  - name: lazyload
    kind: lazyload
    enable: true
    mode: BundleItem
    GENERAL: {autoFence: true, defaultFence: true, namespace: [a], blackNamespaceList: "b, c", wormholePort: ["9080"], stableHost: [x.example.com],
      domainAliases: [{pattern: "(?P<s>.*)\\.(?P<n>.*)\\.svc\\.cluster\\.local$", templates: ["{{.s}}.{{.n}}.mesh"]}]}
    global: {service: workload}
  component: {globalSidecar: {enable: true, sidecarInject: {enable: true}}}
`
	for _, spelling := range []string{"general", "fence"} {
		objects, findings := file.Decode([]byte(strings.ReplaceAll(text, "GENERAL", spelling)), "a.yaml")
		if got, want := said(findings), "info spec.module[3]."+spelling+", info spec.component.globalSidecar"; got != want || len(objects) != 1 {
			t.Fatalf("%d objects, %v", len(objects), findings)
		}
		b := objects[0].(*model.Boot)
		if d := cmp.Diff(map[string]bool{"limiter": false, "plugin": true, "lazyload": true}, b.Modules); d != "" {
			t.Error(d)
		}
		want := &model.FenceSettings{
			WorkloadLabel: "workload", Auto: true, Default: true, Namespaces: []string{"a"}, Except: []string{"b", "c"}, Hosts: []string{"x.example.com"},
			Aliases: []model.DomainAlias{{Pattern: `(?P<s>.*)\.(?P<n>.*)\.svc\.cluster\.local$`, Templates: []string{"{{.s}}.{{.n}}.mesh"}}},
		}
		if d := cmp.Diff(want, b.Fences); d != "" {
			t.Error(d)
		}
		if model.ModuleOn([]*model.Boot{b}, model.ModuleLimiter) || !model.ModuleOn([]*model.Boot{b}, model.ModulePlugin) || !model.ModuleOn(nil, model.ModuleLimiter) {
			t.Error("the wrong modules are on")
		}
	}
}
