package proxy_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/test/freeport"
)

// connects tells what an echo server behind a listener answers; "" when the connection was closed.
func connects(t *testing.T, addr string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	for end := time.Now().Add(60 * time.Second); err != nil; c, err = net.Dial("tcp", addr) { // until it listens
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	defer c.Close()
	if _, err := io.WriteString(c, "hello"); err != nil {
		return ""
	}
	_ = c.(*net.TCPConn).CloseWrite()
	b, err := io.ReadAll(c)
	if err != nil {
		return ""
	}
	return string(b)
}

func echoServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

// TestNetworkFilters: filters that decide about connections, before tcp_proxy.
// With an Envoy at hand it does the same.
func TestNetworkFilters(t *testing.T) {
	const typ = `"@type": type.googleapis.com/envoy.extensions.filters.network.`
	const service = `grpc_service: {envoy_grpc: {cluster_name: services}, timeout: 5s}, transport_api_version: V3`
	ratelimit := func(do, more string) string {
		return `{` + typ + `ratelimit.v3.RateLimit, stat_prefix: rl, domain: d, timeout: 5s, rate_limit_service: {` + service + `}, descriptors: [{entries: [{key: do, value: ` + do + `}]}]` + more + `}`
	}
	for _, tt := range []struct {
		name, filter string
		want         []string
		stats        string
	}{
		{"local_ratelimit", `{` + typ + `local_ratelimit.v3.LocalRateLimit, stat_prefix: l, token_bucket: {max_tokens: 2, fill_interval: 86400s}}`,
			[]string{"hello", "hello", ""}, "local_rate_limit.l.rate_limited: 1\n"},
		{"ratelimit ok", ratelimit("ok", ""), []string{"hello"}, "ratelimit.rl.ok: 1\nratelimit.rl.total: 1\n"},
		{"ratelimit over", ratelimit("over", ""), []string{""}, "ratelimit.rl.cx_closed: 1\nratelimit.rl.over_limit: 1\nratelimit.rl.total: 1\n"},
		{"ratelimit error", ratelimit("fail", ""), []string{"hello"}, "ratelimit.rl.error: 1\nratelimit.rl.failure_mode_allowed: 1\nratelimit.rl.total: 1\n"},
		{"ratelimit strict", ratelimit("fail", ", failure_mode_deny: true"), []string{""}, "ratelimit.rl.cx_closed: 1\nratelimit.rl.error: 1\nratelimit.rl.total: 1\n"},
		{"ext_authz", `{` + typ + `ext_authz.v3.ExtAuthz, stat_prefix: a, ` + service + `}`, []string{""}, // the server fails without a word in the headers
			"ext_authz.a.cx_closed: 1\next_authz.a.error: 1\next_authz.a.total: 1\n"},
		{"ext_authz open", `{` + typ + `ext_authz.v3.ExtAuthz, stat_prefix: a, failure_mode_allow: true, ` + service + `}`, []string{"hello"},
			"ext_authz.a.error: 1\next_authz.a.failure_mode_allowed: 1\next_authz.a.total: 1\n"},
		{"rbac", `{` + typ + `rbac.v3.RBAC, stat_prefix: r., rules: {action: DENY, policies: {p: {permissions: [{any: true}], principals: [{any: true}]}}}, shadow_rules: {}}`, []string{""},
			"r.rbac.denied: 1\nr.rbac.shadow_denied: 1\n"},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
			for _, p := range []struct {
				name  string
				start func(*testing.T, string)
			}{{"Weft", startWeft}, {"Envoy", startEnvoy}} {
				if p.name == "Envoy" && os.Getenv("WEFT_ENVOY") == "" {
					continue
				}
				t.Run(p.name, func(t *testing.T) {
					addr, admin := freeport.Addr(t), freeport.Addr(t)
					p.start(t, netBootstrap(t, addr, admin, tt.filter))
					eventually(t, admin, "/ready", "LIVE\n")
					var got []string
					for range tt.want {
						got = append(got, connects(t, addr))
					}
					if d := cmp.Diff(tt.want, got); d != "" {
						t.Error(d)
					}
					if d := cmp.Diff(tt.stats, stats(t, admin, `^(local_rate_limit|ratelimit|ext_authz|r)\.`)); d != "" {
						t.Error(d)
					}
				})
			}
		})
	}
}

// netBootstrap has a filter before tcp_proxy.
func netBootstrap(t *testing.T, addr, admin, filter string) string {
	t.Helper()
	socket := func(a string) string {
		host, port, _ := strings.Cut(a, ":")
		return fmt.Sprintf("{socket_address: {address: %s, port_value: %s}}", host, port)
	}
	cluster := func(name, at, more string) string {
		return fmt.Sprintf("  - {name: %s, connect_timeout: 1s, load_assignment: {cluster_name: %s, endpoints: [{lb_endpoints: [{endpoint: {address: %s}}]}]}%s}\n", name, name, socket(at), more)
	}
	text := "node: {id: node, cluster: c}\nadmin: {address: " + socket(admin) + "}\nstatic_resources:\n  clusters:\n" +
		cluster("echo", echoServer(t), "") + cluster("services", upstream(t), spansHTTP2) +
		"  listeners:\n  - name: l\n    address: " + socket(addr) + "\n    filter_chains:\n    - filters:\n" +
		"      - {name: f, typed_config: " + filter + "}\n" +
		"      - {name: t, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: echo}}\n"
	file := filepath.Join(t.TempDir(), "bootstrap.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
