package proxy_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/proxy"
	"github.com/weftmesh/weft/proxy/xds/xdstest"
	"github.com/weftmesh/weft/test/freeport"
	"github.com/weftmesh/weft/wire"
)

// mesh is a control plane and one proxy in this process.
type mesh struct {
	*xdstest.Server
	t        *testing.T
	sock     string
	admin    string
	register func(*grpc.Server)
	end      func() // of the proxy; at the latest with the test
}

// newMesh makes a control plane that does not listen yet and a proxy that runs.
func newMesh(t *testing.T) *mesh {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t, goleak.IgnoreCurrent()) })
	dir := t.TempDir()
	m := &mesh{Server: xdstest.New(), t: t, sock: filepath.Join(dir, "xds"), admin: freeport.Addr(t)}
	b := &wire.Bootstrap{
		Node:  wire.NodeID{Type: wire.Sidecar, IP: "10.244.0.5", Name: "test", Namespace: "default", Domain: "default.svc.cluster.local"},
		Admin: netip.MustParseAddrPort(m.admin), XDSSocket: m.sock, Token: "secret",
	}
	raw, err := b.YAML()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "bootstrap.yaml")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	p, err := proxy.New(proxy.Options{Bootstrap: file, Log: log, DrainTime: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	m.end = sync.OnceFunc(func() {
		nethttp.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() {
		m.end()
		m.Stop()
	})
	return m
}

func (m *mesh) listen() {
	m.t.Helper()
	if err := m.Listen("unix", m.sock, m.register); err != nil {
		m.t.Fatal(err)
	}
}

// set gives the control plane a resource written as YAML.
func (m *mesh) set(name, text string, msg proto.Message) {
	m.t.Helper()
	fromYAML(m.t, text, msg)
	typeURL := "type.googleapis.com/" + string(msg.ProtoReflect().Descriptor().FullName())
	m.Set(typeURL, name, msg)
}

func fromYAML(t *testing.T, text string, msg proto.Message) {
	t.Helper()
	js, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if err := protojson.Unmarshal(js, msg); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}

func (m *mesh) cluster(name, extra string) {
	m.t.Helper()
	m.set(name, fmt.Sprintf("{name: %s, type: EDS, connect_timeout: 1s, eds_cluster_config: {eds_config: {ads: {}, resource_api_version: V3}}%s}", name, extra), &clusterv3.Cluster{})
}

func (m *mesh) endpoint(name, addr string) {
	m.t.Helper()
	ap := netip.MustParseAddrPort(addr)
	m.set(name, fmt.Sprintf("{cluster_name: %s, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %d}}}}]}]}",
		name, ap.Addr(), ap.Port()), &endpointv3.ClusterLoadAssignment{})
}

func (m *mesh) routes(name, routes string) {
	m.t.Helper()
	m.set(name, fmt.Sprintf("{name: %s, virtual_hosts: [{name: v, domains: ['*'], routes: [%s]}]}", name, routes), &routev3.RouteConfiguration{})
}

// httpFilters is a chain with an HTTP connection manager.
func httpFilters(routes string) string {
	return fmt.Sprintf(`
  - name: envoy.filters.network.http_connection_manager
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: test
      rds: {route_config_name: %s, config_source: {ads: {}, resource_api_version: V3}}
      http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
`, routes)
}

func (m *mesh) listener(name, addr, extra, filters string) {
	m.t.Helper()
	ap := netip.MustParseAddrPort(addr)
	m.set(name, fmt.Sprintf("name: %s\naddress: {socket_address: {address: %s, port_value: %d}}\n%sfilter_chains:\n- filters:%s",
		name, ap.Addr(), ap.Port(), extra, filters), &listenerv3.Listener{})
}

func (m *mesh) until(what string, ok func(v xdstest.View) bool) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 60*time.Second)
	defer cancel()
	if !m.Until(ok, ctx.Done()) {
		m.t.Fatalf("the control plane never saw: %s", what)
	}
}

// backend answers with its name, and what it was asked.
func backend(t *testing.T, name string) string {
	t.Helper()
	s := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		fmt.Fprintf(w, "%s %s %s", name, r.Method, r.URL.Path)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// get returns body, or status and body of an error.
func get(addr, path string) string {
	r, err := nethttp.Get("http://" + addr + path)
	if err != nil {
		return err.Error()
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return err.Error()
	}
	if r.StatusCode != 200 {
		return fmt.Sprintf("%d %s", r.StatusCode, b)
	}
	return string(b)
}

// eventually repeats a request until it brings what is wanted.
func eventually(t *testing.T, addr, path, want string) {
	t.Helper()
	end := time.Now().Add(60 * time.Second)
	got := ""
	for time.Now().Before(end) {
		if got = get(addr, path); got == want {
			return
		}
		select {
		case <-t.Context().Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Fatalf("GET %s: got %q, want %q", path, got, want)
}

const toA = "{match: {prefix: /}, route: {cluster: a}}"

func TestFollowsTheControlPlane(t *testing.T) {
	m := newMesh(t)
	addr := freeport.Addr(t)
	m.cluster("a", "")
	m.endpoint("a", backend(t, "one"))
	m.listener("l", addr, "", httpFilters("r"))
	m.routes("r", toA)
	m.listen() // after the proxy: the order does not matter
	eventually(t, addr, "/x", "one GET /x")
	if got := get(m.admin, "/ready"); got != "LIVE\n" {
		t.Errorf("/ready: %q", got)
	}

	// Endpoints, clusters and routes change under way.
	m.endpoint("a", backend(t, "two"))
	eventually(t, addr, "/x", "two GET /x")
	m.cluster("b", "")
	m.endpoint("b", backend(t, "three"))
	m.routes("r", "{match: {path: /b}, route: {cluster: b, prefix_rewrite: /rewritten}}, {match: {path: /d}, direct_response: {status: 418, body: {inline_string: tea}}}, "+toA)
	eventually(t, addr, "/b", "three GET /rewritten")
	if got := get(addr, "/d"); got != "418 tea" {
		t.Errorf("/d: %q", got)
	}

	// What is not supported is refused by name, and the old stays.
	m.routes("r", "{match: {prefix: /}, route: {cluster: b, flush_timeout: 1s}}")
	m.until("NACK of the routes", func(v xdstest.View) bool {
		return v.Nack(wire.TypeRoute) == "r: virtual_hosts[0].routes[0].route.flush_timeout: not supported"
	})
	m.listener("l", addr, "tcp_fast_open_queue_length: 1\n", httpFilters("r"))
	m.until("NACK of the listener", func(v xdstest.View) bool {
		return v.Nack(wire.TypeListener) == "l: tcp_fast_open_queue_length: not supported"
	})
	if got := get(addr, "/b"); got != "three GET /rewritten" {
		t.Errorf("after the NACK: %q", got)
	}
	if dump := get(m.admin, "/config_dump"); !strings.Contains(dump, "flush_timeout: not supported") || strings.Contains(dump, "secret") {
		t.Errorf("/config_dump does not tell what was refused, or tells the token: %.2000s", dump)
	}
	m.listener("l", addr, "", httpFilters("r"))
	m.routes("r", toA)
	eventually(t, addr, "/b", "two GET /b")

	// The control plane goes: traffic goes on. It comes back: changes apply.
	m.Stop()
	for range 20 {
		if got := get(addr, "/y"); got != "two GET /y" {
			t.Fatalf("without a control plane: %q", got)
		}
	}
	m.routes("r", "{match: {prefix: /}, route: {cluster: b}}")
	m.listen()
	eventually(t, addr, "/y", "three GET /y")
	m.until("resumption by version", func(v xdstest.View) bool {
		for _, r := range v.Requests() {
			if r.TypeUrl == wire.TypeCluster && r.ResponseNonce == "" && len(r.InitialResourceVersions) == 2 {
				return true
			}
		}
		return false
	})

	// A listener goes.
	m.Remove(wire.TypeListener, "l")
	m.until("ACK of the removal", func(v xdstest.View) bool {
		_, err := net.Dial("tcp", addr)
		return err != nil
	})
}

// Requests never fail while routes are rewritten all the time, between clusters
// that come and go.
func TestNoRequestFailsWhileRoutesChange(t *testing.T) {
	m := newMesh(t)
	addr := freeport.Addr(t)
	m.cluster("c0", "")
	m.endpoint("c0", backend(t, "b0"))
	m.listener("l", addr, "", httpFilters("r"))
	m.routes("r", "{match: {prefix: /}, route: {cluster: c0}}")
	m.listen()
	eventually(t, addr, "/", "b0 GET /")

	stop := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen, failed := map[string]int{}, map[string]int{}
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				got := get(addr, "/")
				mu.Lock()
				if strings.HasSuffix(got, " GET /") && got[0] == 'b' {
					seen[got]++
				} else {
					failed[got]++
				}
				mu.Unlock()
			}
		})
	}
	two := [2]string{backend(t, "b0"), backend(t, "b1")}
	for i := 1; i <= 100; i++ {
		name, old := fmt.Sprintf("c%d", i), fmt.Sprintf("c%d", i-1)
		m.endpoint(name, two[i%2]) // first, or the server may say that the cluster has none
		m.cluster(name, "")
		m.routes("r", fmt.Sprintf("{match: {prefix: /}, route: {cluster: %s}}", name))
		m.Remove(wire.TypeCluster, old)
		m.Remove(wire.TypeEndpoint, old)
		m.until("ACK of the routes", func(v xdstest.View) bool { return v.Acks(wire.TypeRoute) > i })
	}
	close(stop)
	wg.Wait()
	if len(failed) > 0 || len(seen) != 2 {
		t.Errorf("answers %v, failed %v", seen, failed)
	}
}

func TestTCP(t *testing.T) {
	m := newMesh(t)
	addr := freeport.Addr(t)
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() { echo.Close(); wg.Wait() })
	m.cluster("a", "")
	m.endpoint("a", echo.Addr().String())
	m.listener("l", addr, "", `
  - name: envoy.filters.network.tcp_proxy
    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: a}
`)
	m.listen()
	m.until("ACK of the listener", func(v xdstest.View) bool { return v.Acks(wire.TypeListener) > 0 && v.Acks(wire.TypeEndpoint) > 0 })
	var c net.Conn
	for end := time.Now().Add(60 * time.Second); ; {
		if c, err = net.Dial("tcp", addr); err == nil || time.Now().After(end) {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
}
