package slimemodules_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/patch"
	"github.com/weftmesh/weft/control/source/file"
)

// TestPlugins: what Slime's documentation shows, in both spellings, becomes patches that Envoy takes.
func TestPlugins(t *testing.T) {
	const text = `apiVersion: microservice.slime.io/v1alpha1
kind: PluginManager
metadata: {name: reviews, namespace: default}
spec:
  LABELS: {app: reviews}
  PLUGIN:
  - {enable: true, name: envoy.filters.http.local_ratelimit, inline: {settings: {stat_prefix: x}}}
  - {enable: false, name: envoy.filters.http.cors}
  - {enable: true, name: slime-test-wasm, port: 80, wasm: {pluginName: test-wasm, url: "oci://ghcr.io/x/y:v1", imagePullSecretName: s, sha256: nil, settings: {a: b}}}
  priority: 3
---
apiVersion: microservice.netease.com/v1alpha1
kind: EnvoyPlugin
metadata: {name: reviews, namespace: default}
spec:
  SELECTOR: {labels: {app: reviews}}
  route: ["inbound|http|80/default"]
  host: [a.example.com]
  listener: [{port: 80, outbound: true}]
  PLUGINS:
  - {name: envoy.filters.http.buffer, enable: true, inline: {settings: {disabled: true}}}
`
	for _, spelling := range []*strings.Replacer{
		strings.NewReplacer("LABELS", "workload_labels", "PLUGINS", "plugins", "PLUGIN:", "plugin:", "SELECTOR", "workload_selector"),
		strings.NewReplacer("LABELS", "workloadLabels", "PLUGINS", "plugin", "PLUGIN:", "plugins:", "SELECTOR", "workloadSelector"),
	} {
		objects, findings := file.Decode([]byte(spelling.Replace(text)), "a.yaml")
		if len(objects) != 2 || len(findings) != 0 {
			t.Fatalf("%d objects, %v", len(objects), findings)
		}
		var got []string
		for _, o := range objects {
			f := o.(*model.EnvoyFilter)
			if f.Selector["app"] != "reviews" {
				t.Errorf("%s is for %v", f.Key, f.Selector)
			}
			for _, x := range patch.NewCompiler().Check(f) {
				t.Errorf("Envoy does not take it: %v", x)
			}
			for i, p := range f.Patches {
				got = append(got, fmt.Sprint(f.Field(i), " ", p.ApplyTo, " ", p.Context))
			}
		}
		want := `spec.plugin[0] HTTP_FILTER SIDECAR_OUTBOUND
spec.plugin[2] HTTP_FILTER SIDECAR_OUTBOUND
spec.plugin[2] EXTENSION_CONFIG ANY
spec.plugins[0] HTTP_ROUTE ANY
spec.plugins[0] VIRTUAL_HOST ANY
spec.plugins[0] ROUTE_CONFIGURATION SIDECAR_OUTBOUND`
		if have := strings.Join(got, "\n"); strings.ReplaceAll(have, "plugins[", "plugin[") != strings.ReplaceAll(want, "plugins[", "plugin[") {
			t.Errorf("patches:\n%s", have)
		}
		m := objects[0].(*model.EnvoyFilter).Modules
		if len(m) != 1 || m[0].URL != "oci://ghcr.io/x/y:v1" || m[0].Secret != "default/s" || m[0].SHA256 != "" {
			t.Errorf("%+v", m)
		}
	}
}

func TestBadPlugins(t *testing.T) {
	for plugin, want := range map[string]string{
		`{enable: true}`:                                                                      "error spec.plugin[0].name",
		`{enable: true, name: own.filter}`:                                                    "error spec.plugin[0].type_url",
		`{enable: true, name: a, protocol: Dubbo}`:                                            "warning spec.plugin[0].protocol",
		`{enable: true, name: a, rider: {url: b}}`:                                            "warning spec.plugin[0].rider",
		`{enable: true, name: a, rawPatch: {}}`:                                               "error spec.plugin[0].rawPatch",
		`{enable: true, name: a, wasm: {}}`:                                                   "error spec.plugin[0].wasm.url",
		`{enable: true, name: a, wasm: {url: "ftp://a/b"}}`:                                   "error spec.plugin[0].wasm.url",
		`{enable: true, name: a, wasm: {url: "a/b", sha256: x}}`:                              "error spec.plugin[0].wasm.sha256",
		`{enable: true, name: a, wasm: {url: "a/b", imagePullSecretContent: "{}"}}`:           "error spec.plugin[0].wasm.imagePullSecretContent",
		`{enable: true, name: envoy.filters.http.buffer, listenerType: Sideways, inline: {}}`: "error spec.plugin[0].listenerType",
	} {
		text := "apiVersion: microservice.slime.io/v1alpha1\nkind: PluginManager\nmetadata: {name: a}\nspec: {plugin: [" + plugin + "]}"
		_, findings := file.Decode([]byte(text), "a.yaml")
		if got := said(findings); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", plugin, got, want)
		}
	}
}
