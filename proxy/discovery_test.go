package proxy_test

import (
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/weftmesh/weft/proxy/xds/xdstest"
	"github.com/weftmesh/weft/wire"
)

// discovering is a listener with a filter that comes by name.
func (m *mesh) discovering(name, addr, more string) {
	m.t.Helper()
	ap := strings.Split(addr, ":")
	m.set(name, `
name: `+name+`
address: {socket_address: {address: `+ap[0]+`, port_value: `+ap[1]+`}}
filter_chains:
- filters:
  - name: envoy.filters.network.http_connection_manager
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: test
      rds: {route_config_name: r, config_source: {ads: {}, resource_api_version: V3}}
      http_filters:
      - name: `+name+`-filter
        config_discovery:
          config_source: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 0s}
          type_urls: [type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault]
`+more+`
      - {name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
`, &listenerv3.Listener{})
}

func (m *mesh) extension(name, config string) {
	m.t.Helper()
	m.set(name, "{name: "+name+", typed_config: "+config+"}", &corev3.TypedExtensionConfig{})
}

func faultWith(status string) string {
	return `{"@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, abort: {http_status: ` + status +
		`, percentage: {numerator: 100}}}`
}

// A filter by name: the listener follows it, keeps it when a bad one
// comes, and falls back to the default when it is taken away.
func TestExtensionDiscovery(t *testing.T) {
	m := newMesh(t)
	warm, now := freeAddr(t), freeAddr(t)
	m.cluster("a", "")
	m.endpoint("a", backend(t, "one"))
	m.routes("r", toA)
	m.discovering("warm", warm, "")
	m.discovering("now", now, "          apply_default_config_without_warming: true\n          default_config: "+faultWith("418"))
	m.listen()
	eventually(t, now, "/", "418 fault filter abort")
	eventually(t, warm, "/", "500 ") // the control plane has told that there is none
	m.extension("warm-filter", faultWith("419"))
	m.extension("now-filter", faultWith("421"))
	eventually(t, warm, "/", "419 fault filter abort")
	eventually(t, now, "/", "421 fault filter abort")

	m.extension("warm-filter", `{"@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, upstream_cluster: x}`)
	m.until("NACK of an unsupported field", func(v xdstest.View) bool {
		return v.Nack(wire.TypeExtension) == "warm-filter: typed_config: upstream_cluster: not supported"
	})
	m.extension("warm-filter", `{"@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}`)
	m.until("NACK of a type that is not listed", func(v xdstest.View) bool {
		return strings.HasPrefix(v.Nack(wire.TypeExtension), "warm-filter: typed_config: has the type type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors")
	})
	if got := get(warm, "/"); got != "419 fault filter abort" {
		t.Errorf("after the NACKs: %q", got)
	}

	// The listener changes beside the filter, which goes on being followed.
	m.discovering("now", now, "          apply_default_config_without_warming: true\n          default_config: "+faultWith("422"))
	m.extension("now-filter", faultWith("423"))
	eventually(t, now, "/", "423 fault filter abort")
	m.Remove(wire.TypeExtension, "now-filter")
	eventually(t, now, "/", "422 fault filter abort")
	m.Remove(wire.TypeExtension, "warm-filter")
	eventually(t, warm, "/", "500 ")
	m.extension("warm-filter", `{"@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault}`)
	eventually(t, warm, "/x", "one GET /x")
	if s := get(m.admin, "/stats?filter=extension_config"); !strings.Contains(s, "extension_config_discovery.http_filter.warm-filter.config_reload: 2") {
		t.Errorf("statistics: %s", s)
	}
	m.Remove(wire.TypeListener, "warm")
	m.Remove(wire.TypeListener, "now")
	m.until("the names are no longer subscribed to", func(v xdstest.View) bool {
		left := map[string]bool{}
		for _, r := range v.Requests() {
			if r.TypeUrl == wire.TypeExtension {
				for _, n := range r.ResourceNamesSubscribe {
					left[n] = true
				}
				for _, n := range r.ResourceNamesUnsubscribe {
					delete(left, n)
				}
			}
		}
		return len(left) == 0
	})
}
