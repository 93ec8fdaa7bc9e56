package proxy_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	nethttp "net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/weftmesh/weft/proxy"
	"github.com/weftmesh/weft/test/freeport"
)

// static is a bootstrap without a control plane: one listener, one connection
// manager. Its fields are YAML.
type static struct {
	// manager are further fields of the connection manager, listener those of
	// the listener, boot those of the bootstrap, each with its indentation.
	manager, listener, boot string
	// routes are those of the only virtual host, host further fields of it.
	routes, host string
	// clusters by name: addresses of endpoints.
	clusters map[string]string
	// http2 clusters.
	http2 map[string]string
}

const staticRouter = `http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
`

// yaml writes the bootstrap.
func (s *static) yaml(addr, admin string) string {
	filters := staticRouter
	if strings.Contains(s.manager, "http_filters:") {
		filters = ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "node: {id: test, cluster: test}\nadmin: {address: {socket_address: %s}}\n%sstatic_resources:\n  listeners:\n  - name: l\n    address: {socket_address: %s}\n%s",
		socket(admin), s.boot, socket(addr), s.listener)
	fmt.Fprintf(&b, `    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: test
          generate_request_id: false
%s`, indent(s.manager+filters, "          "))
	if !strings.Contains(s.manager, "scoped_routes:") {
		fmt.Fprintf(&b, "          route_config:\n            name: r\n            virtual_hosts:\n            - name: v\n              domains: ['*']\n%s", indent(s.host, "              "))
		if s.routes != "" {
			fmt.Fprintf(&b, "              routes:\n%s", indent(s.routes, "              "))
		}
	}
	b.WriteString("  clusters:\n")
	for _, set := range []struct {
		of    map[string]string
		extra string
	}{{s.clusters, ""}, {s.http2, strings.TrimPrefix(spansHTTP2, ", ")}} {
		names := make([]string, 0, len(set.of))
		for n := range set.of {
			names = append(names, n)
		}
		slices.Sort(names)
		for _, n := range names {
			fmt.Fprintf(&b, "  - {name: %s, type: STATIC, connect_timeout: 2s, load_assignment: {cluster_name: %s, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: %s}}}]}]}", n, n, socket(set.of[n]))
			if set.extra != "" {
				fmt.Fprintf(&b, ", %s", set.extra)
			}
			b.WriteString("}\n")
		}
	}
	if len(s.clusters)+len(s.http2) == 0 {
		return strings.TrimSuffix(b.String(), "  clusters:\n")
	}
	return b.String()
}

func socket(addr string) string {
	host, port, _ := strings.Cut(addr, ":")
	return fmt.Sprintf("{address: %s, port_value: %s}", host, port)
}

func indent(s, by string) string {
	if s == "" {
		return ""
	}
	lines := strings.SplitAfter(strings.TrimSuffix(s, "\n")+"\n", "\n")
	return by + strings.Join(lines[:len(lines)-1], by)
}

// served is a proxy that runs: Weft's, or Envoy's.
type served struct{ addr, admin string }

// engines runs the same bootstrap in Weft and, where there is one, in Envoy,
// and calls f for each.
func (s *static) engines(t *testing.T, f func(t *testing.T, p served)) {
	t.Helper()
	t.Run("weft", func(t *testing.T) { f(t, s.weft(t)) })
	if os.Getenv("WEFT_ENVOY") == "" {
		return
	}
	t.Run("envoy", func(t *testing.T) { f(t, s.envoy(t)) })
}

func (s *static) write(t *testing.T) (p served, file string) {
	t.Helper()
	p = served{freeport.Addr(t), freeport.Addr(t)}
	file = filepath.Join(t.TempDir(), "bootstrap.yaml")
	if err := os.WriteFile(file, []byte(s.yaml(p.addr, p.admin)), 0o600); err != nil {
		t.Fatal(err)
	}
	return p, file
}

func (s *static) weft(t *testing.T) served {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t, goleak.IgnoreCurrent()) })
	p, file := s.write(t)
	pr, err := proxy.New(proxy.Options{Bootstrap: file, Log: slog.New(slog.DiscardHandler), DrainTime: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- pr.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		nethttp.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	p.ready(t)
	return p
}

func (s *static) envoy(t *testing.T) served {
	t.Helper()
	p, file := s.write(t)
	cmd := exec.CommandContext(t.Context(), os.Getenv("WEFT_ENVOY"), "-c", file, "--concurrency", "1", "--disable-hot-restart", "-l", "error")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(out.String()[:min(out.Len(), 2000)])
		}
	})
	p.ready(t)
	return p
}

func (p served) ready(t *testing.T) {
	t.Helper()
	end := time.Now().Add(60 * time.Second)
	for time.Now().Before(end) {
		if get(p.admin, "/ready") == "LIVE\n" {
			return
		}
		select {
		case <-t.Context().Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Fatal("the proxy is not ready")
}

// ask makes a request and returns status and body; head are lines "name: value".
func (p served) ask(t *testing.T, method, path string, head ...string) (string, nethttp.Header) {
	t.Helper()
	r, err := nethttp.NewRequestWithContext(t.Context(), method, "http://"+p.addr+path, nethttp.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("User-Agent", "")
	for _, h := range head {
		name, value, _ := strings.Cut(h, ": ")
		if strings.EqualFold(name, "host") {
			r.Host = value
			continue
		}
		r.Header.Add(name, value)
	}
	resp, err := nethttp.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, b), resp.Header
}

// mirrorBackend answers with what it was asked: path, host and the x- headers.
func mirrorBackend(t *testing.T, name string) string {
	t.Helper()
	s := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		lines := []string{}
		for n, v := range r.Header {
			if n = strings.ToLower(n); strings.HasPrefix(n, "x-") && n != "x-forwarded-proto" && n != "x-envoy-expected-rq-timeout-ms" {
				lines = append(lines, n+"="+strings.Join(v, "|"))
			}
		}
		slices.Sort(lines)
		fmt.Fprintf(w, "%s %s %s %s", name, r.Method, r.URL.RequestURI(), strings.Join(lines, " "))
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// question is a request, and what both engines answer.
type question struct {
	path string
	head []string
	want string
}

func (s *static) check(t *testing.T, questions ...question) {
	t.Helper()
	s.engines(t, func(t *testing.T, p served) {
		for _, q := range questions {
			got, _ := p.ask(t, "GET", q.path, q.head...)
			if d := cmp.Diff(q.want, strings.TrimRight(got, " ")); d != "" {
				t.Errorf("GET %s %v: %s", q.path, q.head, d)
			}
		}
	})
}
