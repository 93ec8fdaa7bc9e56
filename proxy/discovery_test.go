package proxy_test

import (
	"io"
	nethttp "net/http"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/weftmesh/weft/proxy/xds/xdstest"
	"github.com/weftmesh/weft/test/freeport"
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
	warm, now := freeport.Addr(t), freeport.Addr(t)
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

// passing is a listener that passes bytes on, behind a listener filter and a network
// filter that come by name.
func (m *mesh) passing(name, addr string) {
	m.t.Helper()
	ap := strings.Split(addr, ":")
	source := "config_source: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 0s}, type_urls: "
	m.set(name, `
name: `+name+`
address: {socket_address: {address: `+ap[0]+`, port_value: `+ap[1]+`}}
listener_filters:
- name: `+name+`-listener
  config_discovery: {`+source+`[type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol]}
filter_chains:
- filters:
  - name: `+name+`-network
    config_discovery: {`+source+`[type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC]}
  - name: tcp
    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: a}
`, &listenerv3.Listener{})
}

// Network and listener filters by name: without them connections are closed and counted.
func TestConnectionFilterDiscovery(t *testing.T) {
	m := newMesh(t)
	addr := freeport.Addr(t)
	m.cluster("a", "")
	m.endpoint("a", backend(t, "one"))
	m.passing("tcp", addr)
	m.listen()
	c := &nethttp.Client{Transport: &nethttp.Transport{DisableKeepAlives: true}} // filters see connections
	until := func(what string, ok func(answer string) bool) {
		t.Helper()
		for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			answer := ""
			if resp, err := c.Get("http://" + addr + "/x"); err == nil {
				b, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				answer = string(b)
			}
			if ok(answer) {
				return
			}
		}
		t.Fatalf("never: %s", what)
	}
	passes := func(answer string) bool { return answer == "one GET /x" }
	closes := func(answer string) bool { return answer == "" }
	stat := func(name string) {
		t.Helper()
		until("statistic "+name, func(string) bool {
			return strings.Contains(get(m.admin, "/stats?usedonly&filter=extension_config"), name)
		})
	}
	stat(".extension_config_missing")
	const optional = `{"@type": type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol, allow_requests_without_proxy_protocol: true}`
	m.extension("tcp-listener", optional)
	stat(".network_extension_config_missing")
	rules := func(action string) string {
		return `{"@type": type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC, stat_prefix: r, rules: {action: ` + action +
			`, policies: {all: {permissions: [{any: true}], principals: [{any: true}]}}}}`
	}
	m.extension("tcp-network", rules("ALLOW"))
	until("allowed", passes)
	m.extension("tcp-network", rules("DENY"))
	until("denied", closes)
	m.extension("tcp-network", rules("ALLOW"))
	until("allowed again", passes)
	m.extension("tcp-listener", strings.Replace(optional, "true", "false", 1))
	until("a header is wanted", closes)
	for _, s := range []string{"tcp_listener_filter.tcp-listener.config_reload: 2", "network_filter.tcp-network.config_reload: 3"} {
		if got := get(m.admin, "/stats?filter=extension_config"); !strings.Contains(got, s) {
			t.Errorf("statistics lack %s: %s", s, got)
		}
	}
}
