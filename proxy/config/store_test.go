package config

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/http"
	"github.com/weftmesh/weft/proxy/listener"
	"github.com/weftmesh/weft/proxy/transport"
	"github.com/weftmesh/weft/proxy/xds"
	"github.com/weftmesh/weft/wire"
)

// rig is a Store with fakes around it.
type rig struct {
	*Store
	mu        sync.Mutex
	clusters  map[string]*cluster.Spec
	endpoints map[string]bool // by service: arrived
	changed   chan struct{}
	live      []string
	refuse    string // a listener that cannot be bound
	subs      []string
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{clusters: map[string]*cluster.Spec{}, endpoints: map[string]bool{}, changed: make(chan struct{})}
	secrets := transport.NewSecretStore()
	r.Store = NewStore(Options{
		Decoder: &Decoder{
			Secrets: secrets, HTTPStats: http.NewStats(),
			Clusters: cluster.NewManager(t.Context(), cluster.Options{}),
		},
		Clusters: r, Listeners: r.setListeners, Secrets: secrets,
	})
	return r
}

// start runs the Store until the bubble ends.
func (r *rig) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	r.Connect(r)
	synctest.Wait()
}

func (r *rig) Subscribe(typeURL string, names ...string) { r.note("+", typeURL, names) }

func (r *rig) Unsubscribe(typeURL string, names ...string) { r.note("-", typeURL, names) }

func (r *rig) SubscribeAll(typeURL string) { r.note("*", typeURL, nil) }

func (r *rig) Forget(typeURL string, names ...string) { r.note("!", typeURL, names) }

func (r *rig) Activity(string) (uint64, bool) { return 0, false }

func (r *rig) note(sign, typeURL string, names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	short := typeURL[strings.LastIndexByte(typeURL, '.')+1:]
	r.subs = append(r.subs, sign+short+" "+strings.Join(names, ","))
}

func (r *rig) Update(set []*cluster.Spec, remove []string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range set {
		if s.AltStatName == "refuse" {
			return errors.New("cluster " + s.Name + ": refused")
		}
	}
	for _, s := range set {
		r.clusters[s.Name] = s
	}
	for _, n := range remove {
		delete(r.clusters, n)
	}
	r.wakeLocked()
	return nil
}

func (r *rig) wakeLocked() {
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *rig) SetEndpoints(service string, _ *cluster.Endpoints) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.endpoints[service] = true
	r.wakeLocked()
	return nil
}

func (r *rig) ForgetEndpoints(service string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.endpoints, service)
}

func (r *rig) WaitReady(ctx context.Context, names ...string) []string {
	for {
		r.mu.Lock()
		missing := slices.DeleteFunc(slices.Clone(names), func(n string) bool {
			c := r.clusters[n]
			return c != nil && (c.Type != cluster.EDS || r.endpoints[n])
		})
		changed := r.changed
		r.mu.Unlock()
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return missing
		}
	}
}

func (r *rig) setListeners(_ context.Context, all []*listener.Listener) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live = nil
	var errs []error
	for _, l := range all {
		if l.Name == r.refuse {
			errs = append(errs, &listener.Error{Listener: l.Name, Err: errors.New("address already in use")})
			continue
		}
		r.live = append(r.live, l.Name+" "+l.Addresses[0].String())
	}
	return errors.Join(errs...)
}

func (r *rig) liveNow() []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.live)
}

func (r *rig) cluster(name string) *cluster.Spec {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.clusters[name]
}

// set applies one resource written as YAML.
func (r *rig) set(t *testing.T, typeURL, name, text string) error {
	t.Helper()
	var m proto.Message
	switch typeURL {
	case wire.TypeCluster:
		m = &clusterv3.Cluster{}
	case wire.TypeEndpoint:
		m = &endpointv3.ClusterLoadAssignment{}
	case wire.TypeListener:
		m = &listenerv3.Listener{}
	case wire.TypeRoute:
		m = &routev3.RouteConfiguration{}
	case wire.TypeExtension:
		m = &corev3.TypedExtensionConfig{}
	}
	fromYAML(t, text, m)
	body, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return xds.Describe(r.Apply(xds.Update{Type: typeURL, Set: []xds.Resource{{Name: name, Version: "1", Body: body}}}))
}

func (r *rig) must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const (
	edsCluster  = "{name: c, type: EDS, connect_timeout: 1s, eds_cluster_config: {eds_config: {ads: {}, resource_api_version: V3}}}"
	rdsListener = `
name: l
address: {socket_address: {address: 127.0.0.1, port_value: 80}}
filter_chains:
- filters:
  - name: envoy.filters.network.http_connection_manager
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: s
      rds: {route_config_name: r, config_source: {ads: {}, resource_api_version: V3}}
      http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
`
	routesToC = "{name: r, virtual_hosts: [{name: v, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: c}}]}]}"
)

func TestListenerWaitsForClustersAndRoutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start(t)
		r.must(t, r.set(t, wire.TypeCluster, "c", edsCluster))
		r.must(t, r.set(t, wire.TypeListener, "l", rdsListener))
		if got := r.liveNow(); got != nil || r.Live() {
			t.Fatalf("live without endpoints and routes: %v", got)
		}
		r.must(t, r.set(t, wire.TypeRoute, "r", routesToC))
		if got := r.liveNow(); got != nil {
			t.Fatalf("live without endpoints: %v", got)
		}
		r.must(t, r.set(t, wire.TypeEndpoint, "c", "{cluster_name: c}"))
		if d := cmp.Diff([]string{"l 127.0.0.1:80"}, r.liveNow()); d != "" {
			t.Fatal(d)
		}
		if !r.Live() {
			t.Error("not live")
		}
		if d := cmp.Diff([]string{"+ClusterLoadAssignment c", "+RouteConfiguration r"}, r.subs); d != "" {
			t.Error(d)
		}
	})
}

func TestFetchTimeoutEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start(t)
		r.must(t, r.set(t, wire.TypeCluster, "c", edsCluster))
		r.must(t, r.set(t, wire.TypeListener, "l", rdsListener))
		time.Sleep(14 * time.Second)
		if got := r.liveNow(); got != nil {
			t.Fatalf("live too early: %v", got)
		}
		time.Sleep(2 * time.Second)
		if got := r.liveNow(); len(got) != 1 {
			t.Fatal("not live after 15 s")
		}
	})
}

func TestBadResourceKeepsTheLastGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start(t)
		r.must(t, r.set(t, wire.TypeCluster, "c", "{name: c, type: STATIC, connect_timeout: 1s}"))
		r.must(t, r.set(t, wire.TypeListener, "l", rdsListener))
		r.must(t, r.set(t, wire.TypeRoute, "r", routesToC))
		if len(r.liveNow()) != 1 {
			t.Fatal("not live")
		}
		for _, bad := range []struct{ typeURL, name, text, want string }{
			{wire.TypeListener, "l", "{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 81}}, tcp_fast_open_queue_length: 3}", "l: tcp_fast_open_queue_length: not supported"},
			{wire.TypeListener, "l", `{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 81}}, filter_chains: [{filters: [{name: h, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: x, rds: {config_source: {ads: {}}, route_config_name: r}, codec_type: HTTP3}}]}]}`,
				"l: filter_chains[0].filters[0].typed_config.codec_type: HTTP3 is not supported"},
			{wire.TypeRoute, "r", "{name: r, vhds: {config_source: {path_config_source: {path: x}}}}", "r: vhds.config_source.path_config_source: is supported for secrets only"},
			{wire.TypeCluster, "c", "{name: c, type: STATIC, connect_timeout: 1s, max_requests_per_connection: 1, dns_resolvers: [{pipe: {path: x}}]}", "c: dns_resolvers: not supported"},
			{wire.TypeCluster, "c", "{name: c, type: STATIC, connect_timeout: 1s, alt_stat_name: refuse}", "c: cluster c: refused"},
		} {
			if err := r.set(t, bad.typeURL, bad.name, bad.text); err == nil || err.Error() != bad.want {
				t.Errorf("got %v, want %q", err, bad.want)
			}
		}
		if d := cmp.Diff([]string{"l 127.0.0.1:80"}, r.liveNow()); d != "" {
			t.Error(d)
		}
		if r.routesOf("r")() == nil || r.cluster("c") == nil {
			t.Error("routes or cluster are gone")
		}
		for _, rec := range r.Records() {
			if rec.Rejected == "" || rec.Body == nil {
				t.Errorf("%s %s: rejected %q, body %v", rec.Type, rec.Name, rec.Rejected, rec.Body != nil)
			}
		}
	})
}

func TestListenerThatCannotBeBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start(t)
		r.OpenGate()
		r.refuse = "l"
		inline := strings.Replace(rdsListener, "rds: {route_config_name: r, config_source: {ads: {}, resource_api_version: V3}}", "route_config: {name: r}", 1)
		if err := r.set(t, wire.TypeListener, "l", inline); err == nil || err.Error() != "l: address already in use" {
			t.Errorf("got %v", err)
		}
	})
}

// Routes that name a cluster which is still warming wait for it: no request
// goes to a cluster that has no endpoints yet.
func TestRoutesWaitForNewClusters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start(t)
		r.must(t, r.set(t, wire.TypeCluster, "old", "{name: old, type: STATIC, connect_timeout: 1s}"))
		r.must(t, r.set(t, wire.TypeListener, "l", rdsListener))
		r.must(t, r.set(t, wire.TypeRoute, "r", strings.Replace(routesToC, "cluster: c", "cluster: old", 1)))
		r.liveNow()
		first := r.routesOf("r")()
		r.must(t, r.set(t, wire.TypeCluster, "c", edsCluster))
		r.must(t, r.set(t, wire.TypeRoute, "r", routesToC))
		synctest.Wait()
		if r.routesOf("r")() != first {
			t.Fatal("the routes changed before the cluster was ready")
		}
		// The old cluster goes only when no route names it.
		r.Apply(xds.Update{Type: wire.TypeCluster, Removed: []string{"old"}})
		synctest.Wait()
		if r.cluster("old") == nil {
			t.Fatal("the cluster was removed while routes named it")
		}
		r.must(t, r.set(t, wire.TypeEndpoint, "c", "{cluster_name: c}"))
		synctest.Wait()
		if r.routesOf("r")() == first {
			t.Fatal("the routes did not change")
		}
		time.Sleep(2 * linger)
		if r.cluster("old") != nil {
			t.Error("the cluster is still there")
		}
	})
}

func TestUnsubscribesFromWhatIsNotNamedAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start(t)
		r.must(t, r.set(t, wire.TypeCluster, "c", edsCluster))
		r.must(t, r.set(t, wire.TypeEndpoint, "c", "{cluster_name: c}"))
		r.must(t, r.set(t, wire.TypeListener, "l", rdsListener))
		r.must(t, r.set(t, wire.TypeRoute, "r", routesToC))
		r.liveNow()
		r.Apply(xds.Update{Type: wire.TypeListener, Removed: []string{"l"}})
		r.Apply(xds.Update{Type: wire.TypeCluster, Removed: []string{"c"}})
		time.Sleep(2 * linger)
		if got := r.liveNow(); got != nil {
			t.Errorf("still live: %v", got)
		}
		want := []string{"+ClusterLoadAssignment c", "+RouteConfiguration r", "-RouteConfiguration r", "-ClusterLoadAssignment c"}
		if d := cmp.Diff(want, r.subs); d != "" {
			t.Error(d)
		}
	})
}

func TestClusterWaitsForItsSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start(t)
		text := `
name: c
type: STATIC
connect_timeout: 1s
transport_socket:
  name: envoy.transport_sockets.tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
    common_tls_context:
      validation_context_sds_secret_config: {name: ca, sds_config: {ads: {}, resource_api_version: V3}}
`
		r.must(t, r.set(t, wire.TypeCluster, "c", text))
		if r.cluster("c") != nil {
			t.Fatal("the cluster did not wait")
		}
		if d := cmp.Diff([]string{"+Secret ca"}, r.subs); d != "" {
			t.Error(d)
		}
		time.Sleep(16 * time.Second)
		synctest.Wait()
		if r.cluster("c") == nil {
			t.Error("the cluster waits longer than the fetch timeout")
		}
	})
}

// FuzzApply feeds any bytes as any type: nothing may panic, and what is
// accepted must be of a type that is known.
func FuzzApply(f *testing.F) {
	types := []struct {
		url string
		m   proto.Message
	}{
		{wire.TypeCluster, &clusterv3.Cluster{}}, {wire.TypeEndpoint, &endpointv3.ClusterLoadAssignment{}},
		{wire.TypeListener, &listenerv3.Listener{}}, {wire.TypeRoute, &routev3.RouteConfiguration{}}, {wire.TypeSecret, &tlsv3.Secret{}},
	}
	for i, text := range []string{istioCluster, "{cluster_name: c, endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: /x}}}}]}]}", rdsListener, routesToC} {
		m := proto.Clone(types[i].m)
		js, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			f.Fatal(err)
		}
		if err := protojson.Unmarshal(js, m); err != nil {
			f.Fatal(err)
		}
		raw, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(byte(i), raw)
	}
	f.Add(byte(4), []byte{})
	r := newRig(f)
	f.Fuzz(func(t *testing.T, kind byte, raw []byte) {
		url := types[int(kind)%len(types)].url
		for _, x := range r.Apply(xds.Update{Type: url, Set: []xds.Resource{{Name: "x", Body: &anypb.Any{TypeUrl: url, Value: raw}}}}) {
			if x.Err == nil || x.Err.Error() == "" {
				t.Error("refused without a reason")
			}
		}
	})
}
