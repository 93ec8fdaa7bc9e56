package ondemand

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"

	"github.com/weftmesh/weft/wire"
)

// tree writes a folder of values and returns it.
func (w *world) tree(dir string, files map[string]string) string {
	w.t.Helper()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	return dir
}

// lead makes a symbolic link lead elsewhere, at once.
func (w *world) lead(link, to string) {
	w.t.Helper()
	err := os.Symlink(to, link+".next")
	if err == nil {
		err = os.Rename(link+".next", link)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// sayRuntime notes the values of some keys, layer by layer.
func (w *world) sayRuntime(keys ...string) {
	w.t.Helper()
	var all struct {
		Layers  []string `json:"layers"`
		Entries map[string]struct {
			Final  string   `json:"final_value"`
			Layers []string `json:"layer_values"`
		} `json:"entries"`
	}
	if err := json.Unmarshal([]byte(w.adminGet("/runtime")), &all); err != nil {
		w.t.Fatal(err)
	}
	w.say("layers %v", all.Layers)
	slices.Sort(keys)
	for _, k := range keys {
		w.say("%s = %s %q", k, all.Entries[k].Final, all.Entries[k].Layers)
	}
}

func (w *world) modify(query string) {
	w.t.Helper()
	resp, err := http.Post("http://"+w.admin+"/runtime_modify?"+query, "", http.NoBody)
	if err != nil {
		w.t.Fatal(err)
	}
	resp.Body.Close()
	w.say("modify %d", resp.StatusCode)
}

// share sets the layer that the control plane has.
func (w *world) share(text string) {
	w.Set(wire.TypeRuntime, "rt", message(w.t, "{name: rt, layer: "+text+"}", &runtimev3.Runtime{}))
}

// TestRuntimeLayers: a route that a share of the requests takes follows the
// layers of the runtime: static, files, the control plane, the admin API.
func TestRuntimeLayers(t *testing.T) {
	both(t, func(w *world) {
		dir := w.t.TempDir()
		link := filepath.Join(dir, "current")
		w.lead(link, w.tree(filepath.Join(dir, "1"), map[string]string{
			"mesh/share": "# nobody\n0\n", "mesh/deep/er/key": "text of a file  \n", "mesh/here/own": "1",
		}))
		w.boot = fmt.Sprintf(`layered_runtime:
  layers:
  - {name: base, static_layer: {share: 100, deep: {er: {key: base}}}}
  - {name: files, disk_layer: {symlink_root: %q, subdirectory: mesh}}
  - {name: own, disk_layer: {symlink_root: %q, subdirectory: mesh, append_service_cluster: true}}
  - {name: missing, disk_layer: {symlink_root: %q, subdirectory: none}}
  - {name: plane, rtds_layer: {name: rt, rtds_config: {ads: {}, resource_api_version: V3}}}
  - {name: admin, admin_layer: {}}
`, link, link, link)
		w.listener(rds, "")
		w.Set(wire.TypeRoute, "r", message(w.t, `{name: r, virtual_hosts: [{name: v, domains: ["*"], routes: [
  {match: {prefix: /, runtime_fraction: {default_value: {numerator: 100}, runtime_key: share}}, direct_response: {status: 200, body: {inline_string: "on"}}},
  {match: {prefix: /}, direct_response: {status: 200, body: {inline_string: "off"}}}]}]}`, &routev3.RouteConfiguration{}))
		w.share("{other: 7, flag: true}")
		w.listen()
		w.start()
		w.until("200 off", "a", "/")
		w.sayRuntime("share", "deep.er.key", "own", "other", "flag")
		w.lead(link, w.tree(filepath.Join(dir, "2"), map[string]string{"mesh/share": "100"}))
		w.until("200 on", "a", "/")
		w.sayRuntime("share", "deep.er.key", "own")
		w.share("{share: 0}")
		w.until("200 off", "a", "/")
		w.sayRuntime("share", "other")
		w.modify("share=100&more=x")
		w.say("%s", w.get("a", "/"))
		w.sayRuntime("share", "more")
		w.modify("share=")
		w.say("%s", w.get("a", "/"))
		w.share("{share: {numerator: 1000000, denominator: MILLION}}")
		w.until("200 on", "a", "/")
	})
}
