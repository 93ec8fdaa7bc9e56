package proxy_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/freeport"
)

// TestStatsSinks: what a server of statsd gets, also of Envoy where there is one.
func TestStatsSinks(t *testing.T) {
	for name, c := range map[string]struct {
		sink string
		want []string
	}{
		"statsd": {"StatsdSink, prefix: p", []string{`^p\.cluster\.up\.upstream_rq_total:1\|c$`, `^p\.http\.m\.downstream_rq_2xx:1\|c$`, `^p\.server\.live:1\|g$`}},
		"dog":    {"DogStatsdSink, max_bytes_per_datagram: 500", []string{`^envoy\.cluster\.upstream_rq_total:1\|c\|#envoy\.cluster_name:up$`, `^envoy\.server\.live:1\|g$`}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, p := range []struct {
				name  string
				start func(*testing.T, string)
			}{{"Weft", startWeft}, {"Envoy", startEnvoy}} {
				if p.name == "Envoy" && os.Getenv("WEFT_ENVOY") == "" {
					continue
				}
				t.Run(p.name, func(t *testing.T) {
					server, err := net.ListenPacket("udp", "127.0.0.1:0")
					if err != nil {
						t.Fatal(err)
					}
					defer server.Close()
					addr, admin := freeport.Addr(t), freeport.Addr(t)
					sinks := fmt.Sprintf("stats_flush_interval: 0.2s\nstats_sinks:\n- {name: envoy.stat_sinks.x, typed_config: {\"@type\": type.googleapis.com/envoy.config.metrics.v3.%s, address: %s}}\n",
						c.sink, socketAddress(server.LocalAddr().String()))
					p.start(t, watched(t, addr, admin, sinks, "", ""))
					ready(t, admin, addr)
					get(addr, "/")
					receives(t, server, c.want)
				})
			}
		})
	}
}

// receives reads datagrams until there was a line for each expression.
func receives(t *testing.T, server net.PacketConn, want []string) {
	t.Helper()
	_ = server.SetReadDeadline(time.Now().Add(60 * time.Second))
	b := make([]byte, 64<<10)
	var open []*regexp.Regexp
	for _, w := range want {
		open = append(open, regexp.MustCompile(w))
	}
	for len(open) > 0 {
		n, _, err := server.ReadFrom(b)
		if err != nil {
			t.Fatalf("%v; still waiting for %v", err, open)
		}
		for line := range strings.SplitSeq(string(b[:n]), "\n") {
			for i, re := range open {
				if re.MatchString(line) {
					open = append(open[:i:i], open[i+1:]...)
					break
				}
			}
		}
	}
}

// TestDefaultTracer: connection managers that name no provider have the bootstrap's.
func TestDefaultTracer(t *testing.T) {
	c := newCollector(t)
	addr, admin := freeport.Addr(t), freeport.Addr(t)
	startWeft(t, watched(t, addr, admin, `tracing:
  http:
    name: envoy.tracers.opentelemetry
    typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig, service_name: usual, grpc_service: {envoy_grpc: {cluster_name: spans}}}
`, "{name: spans, connect_timeout: 1s, load_assignment: {cluster_name: spans, endpoints: [{lb_endpoints: [{endpoint: {address: "+socketAddress(c.address)+"}}]}]}"+spansHTTP2+"}",
		"tracing: {random_sampling: {value: 100}}, "))
	ready(t, admin, addr)
	get(addr, "/")
	if got := c.of(t, "usual", 1); len(got) != 1 {
		t.Errorf("%d spans", len(got))
	}
}

// watched is a bootstrap with a route to an upstream. more is added to it, and to
// its clusters and connection manager.
func watched(t *testing.T, addr, admin, more, cluster, manager string) string {
	t.Helper()
	const typ = `"@type": type.googleapis.com/envoy.extensions.filters.`
	text := "admin: {address: " + socketAddress(admin) + "}\n" + more + "static_resources:\n  clusters:\n  - {name: up, connect_timeout: 1s, load_assignment: {cluster_name: up, endpoints: [" +
		"{lb_endpoints: [{endpoint: {address: " + socketAddress(upstream(t)) + "}}]}]}}\n"
	if cluster != "" {
		text += "  - " + cluster + "\n"
	}
	text += "  listeners:\n  - name: l\n    address: " + socketAddress(addr) + "\n    filter_chains:\n    - filters:\n      - name: hcm\n        typed_config: {" + typ +
		"network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: m, " + manager + "route_config: {virtual_hosts: [{name: v, domains: ['*'], routes: [" +
		"{match: {prefix: /}, route: {cluster: up}}]}]}, http_filters: [{name: r, typed_config: {" + typ + "http.router.v3.Router}}]}\n"
	file := filepath.Join(t.TempDir(), "bootstrap.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
