package proxy_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/proxy"
	"github.com/weftmesh/weft/test/freeport"
)

// TestForeignControlPlane: go-control-plane's own server configures the proxy,
// in both variants of the protocol.
func TestForeignControlPlane(t *testing.T) {
	for _, api := range []string{"GRPC", "DELTA_GRPC"} {
		t.Run(api, func(t *testing.T) {
			t.Cleanup(func() { goleak.VerifyNone(t, goleak.IgnoreCurrent()) })
			f := newForeign(t, api)
			one, two := backend(t, "one"), backend(t, "two")
			f.publish("1", f.world("a", one))
			eventually(t, f.addr, "/", "one GET /")
			// An endpoint changes, then a route.
			f.publish("2", f.world("a", two))
			eventually(t, f.addr, "/", "two GET /")
			f.publish("3", f.world("b", one))
			eventually(t, f.addr, "/", "one GET /")
			// A route that cannot be carried out is refused by name, and the last good one stays.
			bad := f.world("b", one)
			bad.routes.VirtualHosts[0].Routes[0].GetRoute().ClusterSpecifier = &routev3.RouteAction_ClusterSpecifierPlugin{ClusterSpecifierPlugin: "lua"}
			f.publish("4", bad)
			f.log.until(t, "cluster_specifier_plugin")
			eventually(t, f.addr, "/", "one GET /")
			f.publish("5", f.world("c", two))
			eventually(t, f.addr, "/", "two GET /")
			if text := f.log.String(); strings.Count(text, "rejected resources") > 10 || strings.Contains(text, "type=Cluster") {
				t.Errorf("more was rejected than one route, or too often:\n%s", text)
			}
		})
	}
}

// foreign is a control plane of other people's making, and a proxy.
type foreign struct {
	t     *testing.T
	cache cache.SnapshotCache
	addr  string // of the listener
	log   *journal
}

// journal is a log that tests wait for.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

func (j *journal) until(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !strings.Contains(j.String(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the log never says %q:\n%s", text, j)
		}
	}
}

func newForeign(t *testing.T, api string) *foreign {
	f := &foreign{t: t, cache: cache.NewSnapshotCache(true, cache.IDHash{}, nil), addr: freeport.Addr(t), log: &journal{}}
	sock := filepath.Join(t.TempDir(), "xds")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(s, server.NewServer(ctx, f.cache, nil))
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(l) })
	file := filepath.Join(t.TempDir(), "bootstrap.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, foreignBootstrap, api, sock), 0o600); err != nil {
		t.Fatal(err)
	}
	wg.Go(func() {
		err := proxy.Run(ctx, proxy.Options{Bootstrap: file, DrainTime: time.Millisecond, Log: slog.New(slog.NewTextHandler(f.log, nil))})
		if err != nil {
			t.Errorf("proxy: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		s.Stop()
		wg.Wait()
	})
	return f
}

const foreignBootstrap = `node: {id: here, cluster: here}
dynamic_resources:
  lds_config: {ads: {}, resource_api_version: V3}
  cds_config: {ads: {}, resource_api_version: V3}
  ads_config: {api_type: %s, transport_api_version: V3, set_node_on_first_message_only: true, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}
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

// state is what is published at a time.
type state struct {
	routes   *routev3.RouteConfiguration
	cluster  *clusterv3.Cluster
	listener *listenerv3.Listener
	ends     *endpointv3.ClusterLoadAssignment
}

// world is a listener, its routes, one cluster with that name, and an endpoint.
func (f *foreign) world(cluster, addr string) state {
	w := state{&routev3.RouteConfiguration{}, &clusterv3.Cluster{}, &listenerv3.Listener{}, &endpointv3.ClusterLoadAssignment{}}
	host, port, _ := strings.Cut(addr, ":")
	lhost, lport, _ := strings.Cut(f.addr, ":")
	for text, m := range map[string]proto.Message{
		fmt.Sprintf(`{name: r, virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: %s}}]}]}`, cluster):                         w.routes,
		fmt.Sprintf(`{name: %s, type: EDS, eds_cluster_config: {eds_config: {ads: {}, resource_api_version: V3}}}`, cluster):                                          w.cluster,
		fmt.Sprintf(`{cluster_name: %s, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}]}]}`, cluster, host, port): w.ends,
		fmt.Sprintf(`{name: l, address: {socket_address: {address: %s, port_value: %s}}, filter_chains: [{filters: [{name: envoy.filters.network.http_connection_manager, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: x, rds: {route_config_name: r, config_source: {ads: {}, resource_api_version: V3}}, http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]}}]}]}`, lhost, lport): w.listener,
	} {
		fromYAML(f.t, text, m)
	}
	return w
}

func (f *foreign) publish(version string, w state) {
	f.t.Helper()
	s, err := cache.NewSnapshot(version, map[resource.Type][]types.Resource{
		resource.ListenerType: {w.listener}, resource.RouteType: {w.routes}, resource.ClusterType: {w.cluster}, resource.EndpointType: {w.ends},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.cache.SetSnapshot(f.t.Context(), (&corev3.Node{Id: "here"}).Id, s); err != nil {
		f.t.Fatal(err)
	}
}
