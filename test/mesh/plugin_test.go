package mesh

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// plugins are a module from a server (in front of the server's program), a script, a filter of the engine's own, and a
// module that is not to be had, of each failStrategy.
const plugins = `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: INGRESS, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: public, namespace: default}
spec:
  hosts: ["*"]
  gateways: [public]
  http: [{route: [{destination: {host: server}}]}]
---
apiVersion: v1
kind: Service
metadata: {name: server, namespace: default}
spec: {selector: {app: server}, ports: [{name: http, port: 9080}]}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: server, namespace: default, labels: {app: server}}
spec:
  command: [BIN/echo]
  env: [{name: NAME, value: server}]
  ports: [{name: http, containerPort: 9080}]
  readinessProbe: {timeoutSeconds: 60, httpGet: {path: /healthz, port: 9080}}
---
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {name: stamp, namespace: default}
spec:
  selector: {matchLabels: {app: server}}
  url: MODULE
  phase: AUTHN
  match: [{mode: SERVER}]
  pluginConfig: {word: stamped}
---
apiVersion: extensions.istio.io/v1alpha1
kind: TrafficExtension
metadata: {name: script, namespace: default}
spec:
  selector: {matchLabels: {app: server}}
  match: [{mode: SERVER}]
  lua:
    inlineCode: |
      function envoy_on_request(h)
        h:headers():replace("x-script", "saw " .. h:headers():get("x-wasm"))
      end
`

const managed = `---
apiVersion: microservice.slime.io/v1alpha1
kind: PluginManager
metadata: {name: lost, namespace: default}
spec:
  workload_labels: {app: server}
  plugin:
  - {name: lost, enable: true, listenerType: Inbound, wasm: {pluginName: x, url: "MODULE.none"}}
  - name: envoy.filters.http.fault
    enable: true
    listenerType: Inbound
    inline: {settings: {abort: {http_status: 418, percentage: {numerator: 100}}, headers: [{name: x-fault, string_match: {exact: "1"}}]}}
`

// TestPlugins: modules, scripts and filters where WasmPlugins, TrafficExtensions and PluginManagers put them.
func TestPlugins(t *testing.T) {
	for _, engine := range []string{"go", "envoy"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			pluginsOn(t, engine)
		})
	}
}

// buildModule makes a WebAssembly module of a folder's program, and returns the file.
func buildModule(t *testing.T, folder string) string {
	t.Helper()
	file := filepath.Join(work(t), "module.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-o", file, ".")
	cmd.Dir = filepath.Join(root, folder)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return file
}

func pluginsOn(t *testing.T, engine string) {
	code := buildModule(t, "proxy/http/wasm/testdata/plugin")
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/plugin.wasm" {
			http.NotFound(w, r)
			return
		}
		asked.Add(1)
		http.ServeFile(w, r, code)
	}))
	defer server.Close()
	m := startText(t, plugins, options{engine: engine}, "MODULE", server.URL+"/plugin.wasm")
	m.want("/echo/headers", "", 200, `X-Wasm: {"word":"stamped"}`)
	m.want("/echo/headers", "", 200, `X-Script: saw {"word":"stamped"}`) // which stands behind it
	m.want("/deny", "", 403, "denied by the plug-in")
	m.explained("WasmPlugin default/stamp", "GET", "server:9080/echo/headers", "--from", "server")
	m.explained("TrafficExtension default/script", "GET", "server:9080/echo/headers", "--from", "server")
	if n := asked.Load(); n != 1 {
		t.Errorf("the module was fetched %d times", n)
	}
	// One that cannot be fetched is passed by, and a Finding; what stands beside it works.
	m.write("managed.yaml", m.fill.Replace(managed))
	m.finding("WEFT0193", "spec.plugin[0].wasm.url", "404")
	m.want("/echo/headers", "x-fault: 1", 418, "")
	m.want("/echo/headers", "", 200, `X-Wasm: {"word":"stamped"}`)
	// A SlimeBoot with the module off takes Slime's plug-ins out, and nothing else.
	m.write("boot.yaml", m.fill.Replace("apiVersion: config.netease.com/v1alpha1\nkind: SlimeBoot\nmetadata: {name: slime, namespace: default}\nspec: {module: [{name: plugin, kind: plugin, enable: false}]}\n"))
	m.want("/echo/headers", "x-fault: 1", 200, `X-Wasm: {"word":"stamped"}`)
	// A module that must not fail denies what it cannot be asked about.
	m.write("mesh.yaml", m.fill.Replace(strings.Replace(plugins, "url: MODULE", "url: MODULE.gone", 1)))
	m.want("/echo/name", "", 403, "")
}
