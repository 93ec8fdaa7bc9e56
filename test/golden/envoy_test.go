package golden

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/control/translate"
	"github.com/weftmesh/weft/wire"
)

// envoyBinary finds a stock Envoy: WEFT_ENVOY, or "envoy" in PATH.
func envoyBinary(t *testing.T) string {
	t.Helper()
	name := os.Getenv("WEFT_ENVOY")
	if name == "" {
		name = "envoy"
	}
	found, err := exec.LookPath(name)
	if err != nil {
		t.Skip("no Envoy: set WEFT_ENVOY to the binary")
	}
	return found
}

// TestEnvoyAccepts gives what a proxy with engine "envoy" gets to a stock Envoy.
// Everything is put into one static bootstrap: a dynamic one would be accepted
// without a look at what comes later.
func TestEnvoyAccepts(t *testing.T) {
	envoy := envoyBinary(t)
	for _, name := range archives(t) {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			in := read(t, name)
			if in.spec.Proxyless != nil {
				t.Skip("it is for gRPC; test/peers/grpcproxyless runs that")
			}
			if in.spec.OnDemand != nil {
				t.Skip("nothing of it can be static; test/mesh runs Envoy on demand")
			}
			resources, _ := in.translate(t, "envoy")
			validate(t, envoy, resources)
		})
	}
}

// sampleEvery is how many cases go by for one that Envoy is started for. WEFT_GOLDEN_ENVOY=all
// has it started for all, which takes a quarter of an hour.
const sampleEvery = 40

// TestEnvoyAcceptsCases gives a sample of the cases to a stock Envoy. Certificates that are
// named as files are not there, so those cases tell nothing.
func TestEnvoyAcceptsCases(t *testing.T) {
	envoy := envoyBinary(t)
	every := sampleEvery
	if os.Getenv("WEFT_GOLDEN_ENVOY") == "all" {
		every = 1
	}
	for i, c := range corpus(t) {
		names := sortedKeys(c.proxies)
		name := names[i/every%len(names)] + "@envoy"
		if i%every != 0 || unsupported[c.file.name()+"/"+c.name] != "" {
			continue
		}
		t.Run(c.file.name()+"/"+c.name+"/"+name, func(t *testing.T) {
			r, _ := c.translate(t, name)
			for _, list := range r.ByType {
				for _, x := range list {
					if x.Body != nil && bytes.Contains(x.Body.Value, []byte(".pem")) {
						t.Skip("it names files that are not there")
					}
				}
			}
			validate(t, envoy, r)
		})
	}
}

func validate(t *testing.T, envoy string, r *translate.Resources) {
	t.Helper()
	raw, err := protojson.Marshal(bootstrap(t, r))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "bootstrap.json")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(envoy, "--mode", "validate", "-c", file, "-l", "warning").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func messages[M proto.Message](t *testing.T, r *translate.Resources, url string, fresh func() M) []M {
	t.Helper()
	var out []M
	for _, res := range r.Of(url) {
		m := fresh()
		if err := res.Body.UnmarshalTo(m); err != nil {
			t.Fatalf("%s: %v", res.Name, err)
		}
		out = append(out, m)
	}
	return out
}

func bootstrap(t *testing.T, r *translate.Resources) *bootstrapv3.Bootstrap {
	t.Helper()
	routes := map[string]*routev3.RouteConfiguration{}
	for _, m := range messages(t, r, wire.TypeRoute, func() *routev3.RouteConfiguration { return &routev3.RouteConfiguration{} }) {
		routes[m.Name] = m
	}
	assignments := map[string]*endpointv3.ClusterLoadAssignment{}
	for _, m := range messages(t, r, wire.TypeEndpoint, func() *endpointv3.ClusterLoadAssignment { return &endpointv3.ClusterLoadAssignment{} }) {
		assignments[m.ClusterName] = m
	}
	b := &bootstrapv3.Bootstrap{
		Node: &corev3.Node{Id: "sidecar~10.244.0.2~test.default~default.svc.cluster.local", Cluster: "test"},
		DynamicResources: &bootstrapv3.Bootstrap_DynamicResources{AdsConfig: &corev3.ApiConfigSource{
			ApiType: corev3.ApiConfigSource_DELTA_GRPC, TransportApiVersion: corev3.ApiVersion_V3,
			GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: wire.XDSCluster},
			}}},
		}},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{},
	}
	for _, m := range messages(t, r, wire.TypeListener, func() *listenerv3.Listener { return &listenerv3.Listener{} }) {
		inlineRoutes(t, m, routes)
		b.StaticResources.Listeners = append(b.StaticResources.Listeners, m)
	}
	secrets := messages(t, r, wire.TypeSecret, func() *tlsv3.Secret { return &tlsv3.Secret{} })
	for _, m := range messages(t, r, wire.TypeCluster, func() *clusterv3.Cluster { return &clusterv3.Cluster{} }) {
		if m.GetType() == clusterv3.Cluster_EDS {
			m.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
			m.LoadAssignment = assignments[m.EdsClusterConfig.ServiceName]
			if m.LoadAssignment == nil {
				t.Errorf("cluster %s has no endpoints resource", m.Name)
			}
			m.EdsClusterConfig = nil
		}
		inlineAuthorities(t, m, secrets)
		b.StaticResources.Clusters = append(b.StaticResources.Clusters, m)
	}
	b.StaticResources.Secrets = secrets
	for _, name := range []string{wire.XDSCluster, wire.SDSCluster, wire.ALSCluster} {
		b.StaticResources.Clusters = append(b.StaticResources.Clusters, pipeCluster(t, name))
	}
	return b
}

// inlineRoutes replaces RDS by the route configuration itself.
func inlineRoutes(t *testing.T, l *listenerv3.Listener, routes map[string]*routev3.RouteConfiguration) {
	t.Helper()
	chains := l.FilterChains
	if l.DefaultFilterChain != nil {
		chains = append(chains, l.DefaultFilterChain)
	}
	for _, c := range chains {
		for _, f := range c.Filters {
			h := &hcmv3.HttpConnectionManager{}
			if !f.GetTypedConfig().MessageIs(h) {
				continue
			}
			if err := f.GetTypedConfig().UnmarshalTo(h); err != nil {
				t.Fatal(err)
			}
			rds := h.GetRds()
			if rds == nil {
				continue
			}
			rc := routes[rds.RouteConfigName]
			if rc == nil {
				t.Errorf("listener %s asks for route configuration %s, which does not exist", l.Name, rds.RouteConfigName)
				continue
			}
			h.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: rc}
			raw, err := anypb.New(h)
			if err != nil {
				t.Fatal(err)
			}
			f.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: raw}
		}
	}
}

// inlineAuthorities replaces SDS over ADS by the secret itself: Envoy 1.40 crashes on
// a static cluster that asks for it while it only validates.
func inlineAuthorities(t *testing.T, c *clusterv3.Cluster, secrets []*tlsv3.Secret) {
	t.Helper()
	ctx := &tlsv3.UpstreamTlsContext{}
	if !c.GetTransportSocket().GetTypedConfig().MessageIs(ctx) {
		return
	}
	if err := c.TransportSocket.GetTypedConfig().UnmarshalTo(ctx); err != nil {
		t.Fatal(err)
	}
	sds := ctx.GetCommonTlsContext().GetCombinedValidationContext().GetValidationContextSdsSecretConfig()
	if sds.GetSdsConfig().GetAds() == nil {
		return
	}
	if !slices.ContainsFunc(secrets, func(s *tlsv3.Secret) bool { return s.Name == sds.Name }) {
		t.Errorf("cluster %s asks for secret %s, which does not exist", c.Name, sds.Name)
	}
	sds.SdsConfig = nil
	raw, err := anypb.New(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c.TransportSocket.ConfigType = &corev3.TransportSocket_TypedConfig{TypedConfig: raw}
}

// pipeCluster is a gRPC cluster such as the bootstrap of a proxy has.
func pipeCluster(t *testing.T, name string) *clusterv3.Cluster {
	t.Helper()
	o, err := anypb.New(&httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: &corev3.Http2ProtocolOptions{}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &clusterv3.Cluster{
		Name: name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		TypedExtensionProtocolOptions: map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": o},
		LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{{
			LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
				Address: &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/run/weft/" + name}}},
			}}}},
		}}},
	}
}
