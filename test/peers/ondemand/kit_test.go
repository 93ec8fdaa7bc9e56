// Package ondemand drives configuration on demand through Envoy 1.40 and
// through Weft's proxy: the same bootstrap, the same control plane (delta ADS), the
// same requests. What clients get and what the control plane is asked for must
// be the same. WEFT_ENVOY names Envoy.
package ondemand

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"

	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/on_demand/v3"

	"github.com/weftmesh/weft/proxy"
	"github.com/weftmesh/weft/proxy/xds/xdstest"
	"github.com/weftmesh/weft/test/freeport"
	"github.com/weftmesh/weft/wire"
)

// world is a control plane, one proxy that follows it, and a backend.
type world struct {
	*xdstest.Server
	t       *testing.T
	engine  string
	sock    string
	addr    string // of the proxy's listener
	admin   string
	backend string
	log     []string
	boot    string // more of the bootstrap
	stop    func()
}

const limit = 60 * time.Second

func newWorld(t *testing.T, engine string) *world {
	t.Helper()
	w := &world{Server: xdstest.New(), t: t, engine: engine, sock: filepath.Join(t.TempDir(), "xds"), addr: freeport.Addr(t), admin: freeport.Addr(t)}
	b := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(rw, "%s %s %s %d", r.Method, r.Host, r.URL.Path, n)
		if seen := r.Header["X-Seen"]; seen != nil {
			fmt.Fprintf(rw, " %v", seen)
		}
	}))
	t.Cleanup(b.Close)
	w.backend = b.Listener.Addr().String()
	w.Hollow(wire.TypeVirtualHost)
	// So that the first answer about virtual hosts is not empty: see the trap.
	w.Set(wire.TypeVirtualHost, "r/-", &routev3.VirtualHost{Name: "r/-", Domains: []string{"none.invalid"}})
	// The server says nothing about a type that it has nothing of: proxies would wait.
	w.Set(wire.TypeCluster, "base", message(t, "{name: base, type: STATIC, connect_timeout: 1s}", &clusterv3.Cluster{}))
	return w
}

func (w *world) listen() {
	w.t.Helper()
	if err := w.Listen("unix", w.sock, nil); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(w.Stop)
}

const bootstrap = `node: {id: here, cluster: here}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: %s}}}
dynamic_resources:
  lds_config: {ads: {}, resource_api_version: V3}
  cds_config: {ads: {}, resource_api_version: V3}
  ads_config: {api_type: DELTA_GRPC, transport_api_version: V3, set_node_on_first_message_only: true, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}
static_resources:
  clusters:
  - name: xds
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment: {cluster_name: xds, endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: %s}}}}]}]}
`

// start runs the proxy until it is ready.
func (w *world) start() {
	w.t.Helper()
	_, port, _ := net.SplitHostPort(w.admin)
	file := filepath.Join(w.t.TempDir(), "bootstrap.yaml")
	if err := os.WriteFile(file, append(fmt.Appendf(nil, bootstrap, port, w.sock), w.boot...), 0o600); err != nil {
		w.t.Fatal(err)
	}
	gone := make(chan struct{})
	var said func() string
	if w.engine == "envoy" {
		said = w.envoy(file, gone)
	} else {
		said = w.weft(file, gone)
	}
	end := time.Now().Add(limit)
	for {
		resp, err := http.Get("http://" + w.admin + "/ready")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-gone:
			w.t.Fatalf("%s ended at once: %s", w.engine, said())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(end) {
			w.t.Fatalf("%s is not ready: %s", w.engine, said())
		}
	}
}

func (w *world) envoy(file string, gone chan struct{}) (said func() string) {
	name := os.Getenv("WEFT_ENVOY")
	if name == "" {
		name = "envoy"
	}
	bin, err := exec.LookPath(name)
	if err != nil {
		w.t.Fatal("no Envoy to compare with: set WEFT_ENVOY to the binary of Envoy 1.40")
	}
	cmd := exec.Command(bin, "-c", file, "--concurrency", "1", "--disable-hot-restart", "-l", "warning")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait()
		close(gone)
	}()
	w.stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		<-gone
		if w.t.Failed() {
			w.t.Log("envoy: " + out.String())
		}
	})
	w.t.Cleanup(w.stop)
	return func() string { _ = cmd.Process.Kill(); <-gone; return out.String() }
}

func (w *world) weft(file string, gone chan struct{}) (said func() string) {
	ctx, cancel := context.WithCancel(w.t.Context())
	var failed error
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(w.t.Output(), nil))
	}
	go func() {
		failed = proxy.Run(ctx, proxy.Options{Bootstrap: file, Log: log, DrainTime: time.Millisecond})
		close(gone)
	}()
	w.stop = sync.OnceFunc(func() {
		cancel()
		<-gone
		if failed != nil {
			w.t.Errorf("weft proxy: %v", failed)
		}
	})
	w.t.Cleanup(w.stop)
	return func() string { return fmt.Sprint(failed) }
}

func message(t *testing.T, text string, m proto.Message) proto.Message {
	t.Helper()
	js, err := yaml.YAMLToJSON([]byte(text))
	if err == nil {
		err = protojson.Unmarshal(js, m)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return m
}

// listener sets the one listener, with HTTP filters before the router and more
// fields of the connection manager.
func (w *world) listener(routes, filters string) {
	w.t.Helper()
	host, port, _ := net.SplitHostPort(w.addr)
	w.Set(wire.TypeListener, "l", message(w.t, fmt.Sprintf(`
name: l
address: {socket_address: {address: %s, port_value: %s}}
filter_chains:
- filters:
  - name: envoy.filters.network.http_connection_manager
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: x
      stream_idle_timeout: 10s
      upgrade_configs: [{upgrade_type: websocket}]
      %s
      http_filters:
      %s
      - {name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
`, host, port, routes, filters), &listenerv3.Listener{}))
}

const rds = "rds: {route_config_name: r, config_source: {ads: {}, resource_api_version: V3}}"

// onDemand is the filter, with clusters on demand.
const onDemand = `- {name: envoy.filters.http.on_demand, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.on_demand.v3.OnDemand, odcds: {source: {ads: {}, resource_api_version: V3}, timeout: 3s}}}`

// hostsOnly is the filter without.
const hostsOnly = `- {name: envoy.filters.http.on_demand, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.on_demand.v3.OnDemand}}`

// vhds sets the route configuration that takes virtual hosts on demand.
func (w *world) vhds(more string) {
	w.Set(wire.TypeRoute, "r", message(w.t, "{name: r, vhds: {config_source: {ads: {}, resource_api_version: V3}}"+more+"}", &routev3.RouteConfiguration{}))
}

// host adds a virtual host that is there for those who ask.
func (w *world) host(name, body string, l xdstest.Lazy) {
	w.t.Helper()
	w.SetLazy(wire.TypeVirtualHost, name, message(w.t, fmt.Sprintf("{name: %q, %s}", name, body), &routev3.VirtualHost{}), l)
}

// cluster adds one with an endpoint on EDS, both for those who ask.
func (w *world) cluster(name string) {
	w.t.Helper()
	w.SetLazy(wire.TypeCluster, name, message(w.t, fmt.Sprintf(
		"{name: %q, type: EDS, connect_timeout: 2s, eds_cluster_config: {eds_config: {ads: {}, resource_api_version: V3}}}", name), &clusterv3.Cluster{}), xdstest.Lazy{})
	host, port, _ := net.SplitHostPort(w.backend)
	w.SetLazy(wire.TypeEndpoint, name, message(w.t, fmt.Sprintf(
		"{cluster_name: %q, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}]}]}",
		name, host, port), &endpointv3.ClusterLoadAssignment{}), xdstest.Lazy{})
}

// bundle are a cluster and its endpoints, to go before what names them.
func bundle(name string) xdstest.Lazy {
	return xdstest.Lazy{With: []xdstest.Ref{{Type: wire.TypeCluster, Name: name}, {Type: wire.TypeEndpoint, Name: name}}}
}

// do sends one request on a connection of its own: what it got, in one line.
func (w *world) do(method, host, path string, body int64, header ...string) string {
	nc, err := net.DialTimeout("tcp", w.addr, limit)
	if err != nil {
		return "no connection"
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(limit))
	r, err := http.NewRequest(method, "http://"+host+path, io.LimitReader(zeros{}, body))
	if err != nil {
		w.t.Fatal(err)
	}
	if r.ContentLength = body; body == 0 {
		r.Body = nil
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	go func() { _ = r.Write(nc) }()
	resp, err := http.ReadResponse(bufio.NewReader(nc), r)
	if err != nil {
		return "no answer: " + err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return fmt.Sprintf("%d %s", resp.StatusCode, b)
}

func (w *world) get(host, path string, header ...string) string {
	return w.do("GET", host, path, 0, header...)
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// say notes something for the comparison.
func (w *world) say(format string, args ...any) { w.log = append(w.log, fmt.Sprintf(format, args...)) }

// asked are the names of a type that were asked for, in order; the wildcard is "*".
func (w *world) asked(typeURL string) (names []string) {
	w.Until(func(v xdstest.View) bool {
		seen := map[string]bool{}
		for _, r := range v.Requests() {
			if r.TypeUrl != typeURL {
				continue
			}
			list := r.ResourceNamesSubscribe
			if len(list) == 0 && !seen["*"] {
				list = []string{"*"}
			}
			for _, n := range list {
				if !seen[n] && (r.ResponseNonce == "" || n != "*") {
					seen[n] = true
					names = append(names, n)
				}
			}
		}
		return true
	}, nil)
	return names
}

// both plays a script on both engines and compares what they said. want, line by
// line, is what has to come out; nil: only that it is the same.
func both(t *testing.T, play func(w *world), want ...string) {
	t.Helper()
	theirs, ours := run(t, play)
	if theirs != ours {
		t.Errorf("Envoy:\n%s\nWeft:\n%s", theirs, ours)
	}
	if all := strings.Join(want, "\n"); len(want) > 0 && ours != all {
		t.Errorf("Weft:\n%s\nwant:\n%s", ours, all)
	}
}

// run plays a script on both engines and returns what they said, in lines.
func run(t *testing.T, play func(w *world)) (theirs, ours string) {
	t.Helper()
	t.Parallel()
	logs := map[string][]string{}
	for _, engine := range []string{"envoy", "weft"} {
		t.Run(engine, func(t *testing.T) {
			w := newWorld(t, engine)
			play(w)
			logs[engine] = w.log
		})
	}
	return strings.Join(logs["envoy"], "\n"), strings.Join(logs["weft"], "\n")
}
