package proxy_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	nethttp "net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weftmesh/weft/proxy"
	"github.com/weftmesh/weft/test/freeport"
)

// runStatic runs a proxy on a bootstrap in which ADMIN, and whatever else the
// replacements name, stands for an address as "address: A, port_value: P".
// It returns the address of the admin pages.
func runStatic(t *testing.T, bootstrap string, addrs map[string]string) (admin string) {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t, goleak.IgnoreCurrent()) })
	admin = freeport.Addr(t)
	all := []string{"{ADMIN}", socketAddress(admin)}
	for name, addr := range addrs {
		all = append(all, "{"+name+"}", socketAddress(addr))
	}
	file := filepath.Join(t.TempDir(), "bootstrap.yaml")
	text := "admin: {address: {ADMIN}}\n" + bootstrap
	if err := os.WriteFile(file, []byte(strings.NewReplacer(all...).Replace(text)), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := proxy.New(proxy.Options{Bootstrap: file, Log: slog.New(slog.DiscardHandler), DrainTime: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		nethttp.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return admin
}

func socketAddress(addr string) string {
	host, port, _ := net.SplitHostPort(addr)
	return "{socket_address: {address: " + host + ", port_value: " + port + "}}"
}

// TestStaticListenerWhosePortIsTaken: the process ends, and says which listener it was.
func TestStaticListenerWhosePortIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "bootstrap.yaml")
	text := "static_resources:\n  listeners:\n  - {name: web, address: " + socketAddress(taken.Addr().String()) + ", filter_chains: [{filters: [" + tcpTo + "]}]}" +
		strings.ReplaceAll(staticUp, "{UP}", socketAddress("127.0.0.1:9"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	err = proxy.Run(t.Context(), proxy.Options{Bootstrap: file, Log: slog.New(slog.DiscardHandler), DrainTime: time.Second})
	want := `static_resources.listeners: listener "web": listen on ` + taken.Addr().String() + ": "
	if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("Run: %v, want %s…", err, want)
	}
}

// connect dials until somebody listens.
func connect(t *testing.T, addr string) net.Conn {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); ; {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.SetDeadline(time.Now().Add(60 * time.Second))
			t.Cleanup(func() { c.Close() })
			return c
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// talk sends one message, ends, and returns all that comes back.
func talk(t *testing.T, addr, say string) string {
	t.Helper()
	c := connect(t, addr)
	defer c.Close()
	_, _ = io.WriteString(c, say)
	_ = c.(*net.TCPConn).CloseWrite()
	b, _ := io.ReadAll(c) // a reset is an answer, too
	return string(b)
}

// statsOf returns the statistics that begin so and are not zero.
func statsOf(t *testing.T, admin, prefix string) string {
	t.Helper()
	r, err := nethttp.Get("http://" + admin + "/stats")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, prefix) && !strings.HasSuffix(line, ": 0") {
			out = append(out, strings.TrimPrefix(line, prefix))
		}
	}
	return strings.Join(out, " ")
}

const tcpTo = `{name: t, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: up}}`

const staticUp = `
  clusters:
  - {name: up, type: STATIC, load_assignment: {cluster_name: up, endpoints: [{lb_endpoints: [{endpoint: {address: {UP}}}]}]}}
`
