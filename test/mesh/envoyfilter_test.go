package mesh

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weftmesh/weft/control/model"
)

// patchable is a mesh of a gateway and a program that EnvoyFilters are applied to.
const patchable = `apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: tier, namespace: default}
spec:
  selector: {matchLabels: {app: echo}}
  environmentVariables: {ISTIO_META_TIER: gold}
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: default}
spec: {selector: {app: echo}, ports: [{name: http, port: 9080}]}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata:
  name: echo
  namespace: default
  labels: {app: echo}
  annotations:
    proxy.istio.io/config: |
      concurrency: 2
spec:
  command: [BIN/echo]
  ports: [{name: http, containerPort: 9080}]
  readinessProbe: {timeoutSeconds: 60, httpGet: {path: /healthz, port: 9080}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: INGRESS, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: public, namespace: default}
spec: {hosts: ["*"], gateways: [public], http: [{name: all, route: [{destination: {host: echo}}]}]}
`

// The patches, by file. "limit" is Istio's task of local rate limits as it is written
// there; "lua" is what the Go engine does not have, beside what it has.
var patches = map[string]string{
	"headers": `apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: headers, namespace: default}
spec:
  workloadSelector: {labels: {app: echo}}
  configPatches:
  - applyTo: HTTP_FILTER
    match:
      context: SIDECAR_INBOUND
      listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: envoy.filters.http.router}}}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: mutate
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
          mutations: {request_mutations: [{append: {header: {key: x-patched, value: by-filter}}}]}
  - applyTo: HTTP_ROUTE
    match: {context: SIDECAR_INBOUND, proxy: {metadata: {TIER: gold}}, routeConfiguration: {name: "inbound|9080||"}}
    patch: {operation: MERGE, value: {request_headers_to_add: [{header: {key: x-route, value: by-route}}]}}
`,
	"gateway": `apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: gateway, namespace: istio-system}
spec:
  workloadSelector: {labels: {istio: ingressgateway}}
  configPatches:
  - applyTo: HTTP_ROUTE
    match: {context: GATEWAY, routeConfiguration: {portNumber: INGRESS}}
    patch: {operation: INSERT_FIRST, value: {name: teapot, match: {path: /teapot}, direct_response: {status: 418, body: {inline_string: tea}}}}
`,
	"limit": `apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata:
  name: filter-local-ratelimit-svc
  namespace: istio-system
spec:
  workloadSelector:
    labels:
      app: echo
  configPatches:
    - applyTo: HTTP_FILTER
      match:
        context: SIDECAR_INBOUND
        listener:
          filterChain:
            filter:
              name: "envoy.filters.network.http_connection_manager"
      patch:
        operation: INSERT_BEFORE
        value:
          name: envoy.filters.http.local_ratelimit
          typed_config:
            "@type": type.googleapis.com/udpa.type.v1.TypedStruct
            type_url: type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
            value:
              stat_prefix: http_local_rate_limiter
              token_bucket:
                max_tokens: 4
                tokens_per_fill: 4
                fill_interval: 600s
              filter_enabled:
                runtime_key: local_rate_limit_enabled
                default_value:
                  numerator: 100
                  denominator: HUNDRED
              filter_enforced:
                runtime_key: local_rate_limit_enforced
                default_value:
                  numerator: 100
                  denominator: HUNDRED
              response_headers_to_add:
                - append: false
                  header:
                    key: x-local-rate-limit
                    value: 'true'
`,
	"slow": `apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: slow, namespace: default}
spec:
  workloadSelector: {labels: {app: echo}}
  configPatches:
  - applyTo: HTTP_FILTER
    match: {context: SIDECAR_INBOUND}
    patch:
      operation: INSERT_FIRST
      value:
        name: slow
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.bandwidth_limit.v3.BandwidthLimit
          stat_prefix: slow
  - applyTo: HTTP_ROUTE
    match: {context: SIDECAR_INBOUND, routeConfiguration: {name: "inbound|9080||"}}
    patch: {operation: MERGE, value: {request_headers_to_add: [{header: {key: x-beside, value: still}}]}}
`,
	"lua": `apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: lua, namespace: default}
spec:
  workloadSelector: {labels: {app: echo}}
  configPatches:
  - applyTo: HTTP_FILTER
    match: {context: SIDECAR_INBOUND}
    patch:
      operation: INSERT_FIRST
      value:
        name: lua
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
          default_source_code: {inline_string: 'function envoy_on_request(h) h:headers():add("x-lua", "by-script") end'}
`,
	"bad": `apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: bad, namespace: default}
spec:
  configPatches:
  - applyTo: HTTP_FILTER
    match: {context: SIDECAR_INBOUND}
    patch: {operation: INSERT_FIRST, value: {name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.nothing.v3.Nothing}}}
`,
	"outbound": `apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: outbound, namespace: default}
spec:
  workloadSelector: {labels: {app: echo}}
  configPatches:
  - applyTo: LISTENER
    match: {context: SIDECAR_OUTBOUND, listener: {portNumber: 9080}}
    patch: {operation: MERGE, value: {per_connection_buffer_limit_bytes: 65536}}
`,
}

func TestEnvoyFilterGo(t *testing.T) { envoyFilterMesh(t, "go") }

func TestEnvoyFilterEnvoy(t *testing.T) { envoyFilterMesh(t, "envoy") }

func envoyFilterMesh(t *testing.T, engine string) {
	t.Parallel()
	// On demand, so that what moves a workload away from it shows.
	m := startText(t, patchable, options{engine: engine, args: []string{"--config-mode", "on-demand"}})
	apart := work(t)
	for name, text := range patches {
		if err := os.WriteFile(filepath.Join(apart, name+".yaml"), []byte(m.fill.Replace(text)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	apply := func(name string) { m.must("apply", "-f", filepath.Join(apart, name+".yaml")) }
	const headers = "/echo/headers"
	m.want(headers, "", 200, "")

	if engine == "envoy" && !strings.Contains(m.admin("echo-0", "/server_info"), `"concurrency": 2`) {
		t.Error("what the Process says of its proxy's processors does not hold")
	}
	apply("headers")
	m.want(headers, "", 200, "X-Patched: by-filter")
	m.want(headers, "", 200, "X-Route: by-route")
	apply("gateway")
	m.want("/teapot", "", 418, "tea")

	apply("bad")
	m.finding("WEFT0350", "spec.configPatches[0].patch.value", "nothing.v3.Nothing")
	m.want(headers, "", 200, "X-Patched: by-filter")

	// What the engine has not is kept from it; what stands beside it is not.
	apply("lua")
	m.want(headers, "", 200, "X-Lua: by-script")
	apply("slow")
	m.eventually("what stands beside it", func() error {
		a, err := m.try(headers, "")
		if err != nil {
			return err
		}
		if !strings.Contains(a.body, "X-Patched") || !strings.Contains(a.body, "X-Lua") {
			t.Errorf("what worked went away while the guilty one was looked for: %s", a.body)
		}
		if !strings.Contains(a.body, "X-Beside: still") {
			return fmt.Errorf("%s", a.body)
		}
		return nil
	})
	if engine == "go" {
		m.finding("WEFT0260", "spec.configPatches[0]", "extensions.filters.http.bandwidth_limit.v3.BandwidthLimit is not supported")
	}
	apply("outbound")
	m.finding("WEFT0302", "spec.configPatches[0].match", "the listener of port 9080")
	m.want(headers, "", 200, "X-Patched: by-filter")

	if engine == "go" {
		return // which has no TypedStruct
	}
	apply("limit")
	m.eventually("a request too many", func() error {
		a, err := m.try(headers, "")
		if err == nil && a.code != 429 {
			err = fmt.Errorf("%d, want 429", a.code)
		}
		return err
	})
}

// finding waits for a Finding.
func (m *mesh) finding(code, field, says string) {
	m.t.Helper()
	m.eventually("a Finding "+code, func() error {
		var all []model.Finding
		for _, f := range m.status().Findings {
			if f.Code == code && f.Field == field && strings.Contains(f.Message, says) {
				return nil
			}
			all = append(all, f)
		}
		return fmt.Errorf("there are %v", all)
	})
}
