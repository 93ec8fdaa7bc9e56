package wire

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"sigs.k8s.io/yaml"
)

// Bootstrap is what a proxy needs to begin: who it is and where its control
// plane is. YAML turns it into an Envoy v3 bootstrap that the Go proxy and a
// stock Envoy both accept.
type Bootstrap struct {
	Node NodeID
	// Service is node.cluster, Istio's "reviews.default".
	Service  string
	Metadata NodeMetadata
	// More are further entries of the metadata, which beat none of those.
	More     map[string]string
	Locality Locality

	// Admin is where the admin API listens; zero: 127.0.0.1:15000.
	Admin netip.AddrPort
	// XDSSocket is the path of the control plane's unix socket, or XDSAddress
	// its host:port in plain text; exactly one of them.
	XDSSocket  string
	XDSAddress netip.AddrPort
	// Token authenticates the proxy: "authorization: Bearer …"; "": none.
	Token string
	// SDSSocket is where `default` and `ROOTCA` are served; "": the proxy
	// gets them itself (Go engine).
	SDSSocket string
	// ALSSocket takes gRPC access logs; "": no such cluster.
	ALSSocket string
	// Mark is set on every connection that the proxy makes (SO_MARK), so that
	// it is not captured again; 0: none.
	Mark int

	// Prometheus, when valid, is who answers /stats/prometheus on port 15090 of
	// all addresses, Health who answers /healthz/ready on 15021: an agent
	// beside an engine that does not serve these ports itself.
	Prometheus, Health netip.AddrPort
	// FewStats makes Envoy keep only the statistics that Weft reads, as
	// Istio does; the Go proxy applies it to its admin output.
	FewStats bool
	// Kept are further statistics that it keeps then.
	Kept KeptStats
	// Runtime are values of the engine's runtime.
	Runtime map[string]string
	// Patches are merged into it in the end: messages in their binary form, of which lists
	// are appended and single values replace.
	Patches [][]byte
}

// Unpatched ends the name of the file that has the bootstrap without its patches, for a
// proxy that cannot begin with them.
const Unpatched = ".unpatched"

// Locality is where a proxy runs.
type Locality struct{ Region, Zone, SubZone string }

// YAML returns the bootstrap as a file.
func (b *Bootstrap) YAML() ([]byte, error) {
	m, err := b.Proto()
	if err != nil {
		return nil, err
	}
	raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("bootstrap of %s: %w", b.Node, err)
	}
	return yaml.JSONToYAML(raw)
}

// Proto returns the bootstrap as Envoy's message.
func (b *Bootstrap) Proto() (*bootstrapv3.Bootstrap, error) {
	if (b.XDSSocket == "") == !b.XDSAddress.IsValid() {
		return nil, fmt.Errorf("bootstrap of %s: want one of XDSSocket and XDSAddress", b.Node)
	}
	if b.Node.Name == "" || b.Node.Namespace == "" {
		return nil, errors.New("bootstrap: Node has no name or no namespace")
	}
	admin := b.Admin
	if !admin.IsValid() {
		admin = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), PortAdmin)
	}
	ads := &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		ResourceApiVersion:    corev3.ApiVersion_V3,
		// Listeners and clusters come when they come: a proxy without its
		// control plane waits and is not ready.
		InitialFetchTimeout: durationpb.New(0),
	}
	m := &bootstrapv3.Bootstrap{
		Node:  b.node(),
		Admin: &bootstrapv3.Admin{Address: socketAddress(admin)},
		DynamicResources: &bootstrapv3.Bootstrap_DynamicResources{
			LdsConfig: ads, CdsConfig: ads, AdsConfig: b.ads(),
		},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{Clusters: b.clusters()},
	}
	if b.Prometheus.IsValid() {
		m.StaticResources.Listeners = append(m.StaticResources.Listeners,
			relayListener("prometheus", PortPrometheus, "/stats/prometheus"))
	}
	if b.Health.IsValid() {
		m.StaticResources.Listeners = append(m.StaticResources.Listeners,
			relayListener("health", PortHealth, "/healthz/ready"))
	}
	// The control plane asks for no reports of proxies that are not on demand.
	m.ClusterManager = &bootstrapv3.ClusterManager{LoadStatsConfig: b.loads()}
	if b.More[SelfDiscoveryKey] == "true" {
		m.ClusterManager.LocalClusterName = LocalCluster
		m.StaticResources.Clusters = append(m.StaticResources.Clusters, localCluster())
	}
	if b.Mark != 0 {
		m.ClusterManager.UpstreamBindConfig = MarkBind(b.Mark)
	}
	if b.FewStats {
		m.StatsConfig = fewStats(b.Kept)
	}
	m.LayeredRuntime = layers(b.Runtime)
	for _, raw := range b.Patches {
		if err := (proto.UnmarshalOptions{Merge: true}).Unmarshal(raw, m); err != nil {
			return nil, fmt.Errorf("bootstrap of %s: patch: %w", b.Node, err)
		}
	}
	return m, nil
}

// MarkBind is the bind configuration that puts SO_MARK on upstream
// connections, of both families. A cluster whose own bind configuration has no
// socket options keeps the mark (seen on Envoy 1.40, and so here).
func MarkBind(mark int) *corev3.BindConfig {
	return &corev3.BindConfig{SocketOptions: []*corev3.SocketOption{MarkOption(mark)}}
}

// Level and name of SO_MARK on Linux.
const (
	SolSocket = 1
	SoMark    = 36
)

// MarkOption is the socket option SO_MARK.
func MarkOption(mark int) *corev3.SocketOption {
	return &corev3.SocketOption{
		Description: "mark of the proxy's own traffic",
		Level:       SolSocket, Name: SoMark,
		Value: &corev3.SocketOption_IntValue{IntValue: int64(mark)},
		State: corev3.SocketOption_STATE_PREBIND,
	}
}

func (b *Bootstrap) node() *corev3.Node {
	n := &corev3.Node{Id: b.Node.String(), Cluster: b.Service, Metadata: b.Metadata.Struct()}
	for k, v := range b.More {
		if n.Metadata.GetFields()[k] == nil {
			n.Metadata.Fields[k] = structpb.NewStringValue(v)
		}
	}
	if b.Locality != (Locality{}) {
		n.Locality = &corev3.Locality{Region: b.Locality.Region, Zone: b.Locality.Zone, SubZone: b.Locality.SubZone}
	}
	return n
}

func (b *Bootstrap) ads() *corev3.ApiConfigSource {
	svc := grpcService(XDSCluster)
	if b.Token != "" {
		svc.InitialMetadata = []*corev3.HeaderValue{{Key: "authorization", Value: "Bearer " + b.Token}}
	}
	return &corev3.ApiConfigSource{
		ApiType:                   corev3.ApiConfigSource_DELTA_GRPC,
		TransportApiVersion:       corev3.ApiVersion_V3,
		SetNodeOnFirstMessageOnly: true,
		GrpcServices:              []*corev3.GrpcService{svc},
	}
}

// loads is where load is reported to (LRS).
func (b *Bootstrap) loads() *corev3.ApiConfigSource {
	out := b.ads()
	out.ApiType, out.SetNodeOnFirstMessageOnly = corev3.ApiConfigSource_GRPC, false
	return out
}

// SDSSource is the config source of a secret that the agent, or the Go proxy
// itself, serves by the cluster sds-grpc.
func SDSSource() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
			ApiType:                   corev3.ApiConfigSource_GRPC,
			TransportApiVersion:       corev3.ApiVersion_V3,
			SetNodeOnFirstMessageOnly: true,
			GrpcServices:              []*corev3.GrpcService{grpcService(SDSCluster)},
		}},
		ResourceApiVersion:  corev3.ApiVersion_V3,
		InitialFetchTimeout: durationpb.New(0),
	}
}

func grpcService(cluster string) *corev3.GrpcService {
	return &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
		EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: cluster},
	}}
}

func (b *Bootstrap) clusters() []*clusterv3.Cluster {
	xds := pipe(b.XDSSocket)
	if b.XDSAddress.IsValid() {
		xds = socketAddress(b.XDSAddress)
	}
	out := []*clusterv3.Cluster{staticCluster(XDSCluster, xds, true)}
	if b.SDSSocket != "" {
		out = append(out, staticCluster(SDSCluster, pipe(b.SDSSocket), true))
	}
	if b.ALSSocket != "" {
		out = append(out, staticCluster(ALSCluster, pipe(b.ALSSocket), true))
	}
	if b.Prometheus.IsValid() {
		out = append(out, staticCluster("prometheus", socketAddress(b.Prometheus), false))
	}
	if b.Health.IsValid() {
		out = append(out, staticCluster("health", socketAddress(b.Health), false))
	}
	return out
}

func staticCluster(name string, to *corev3.Address, http2 bool) *clusterv3.Cluster {
	c := &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:       durationpb.New(time.Second),
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: name,
			Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: to}},
			}}}},
		},
	}
	if http2 {
		c.TypedExtensionProtocolOptions = map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": mustAny(&httpv3.HttpProtocolOptions{
				UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
					ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
						ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
							Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
						}}}}),
		}
	}
	return c
}

// layers is a runtime with some values, which the admin API may change; nil: there are
// none.
func layers(values map[string]string) *bootstrapv3.LayeredRuntime {
	if len(values) == 0 {
		return nil
	}
	static := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for k, v := range values {
		static.Fields[k] = structpb.NewStringValue(v)
	}
	return &bootstrapv3.LayeredRuntime{Layers: []*bootstrapv3.RuntimeLayer{
		{Name: "global config", LayerSpecifier: &bootstrapv3.RuntimeLayer_StaticLayer{StaticLayer: static}},
		{Name: "admin", LayerSpecifier: &bootstrapv3.RuntimeLayer_AdminLayer_{AdminLayer: &bootstrapv3.RuntimeLayer_AdminLayer{}}},
	}}
}

// localCluster has the instances of the proxy's own kind, which the control plane knows.
func localCluster() *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 LocalCluster,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{
			ServiceName: LocalCluster,
			EdsConfig: &corev3.ConfigSource{
				ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
				ResourceApiVersion:    corev3.ApiVersion_V3,
				// A control plane that does not know of it must not hold the proxy up.
				InitialFetchTimeout: durationpb.New(time.Second),
			},
		},
	}
}

// relayListener answers one path on a well-known port of all addresses.
func relayListener(name string, port uint16, path string) *listenerv3.Listener {
	hcm := &hcmv3.HttpConnectionManager{
		StatPrefix: name,
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
			Name: name,
			VirtualHosts: []*routev3.VirtualHost{{
				Name: name, Domains: []string{"*"},
				Routes: []*routev3.Route{{
					Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: path}},
					Action: &routev3.Route_Route{Route: &routev3.RouteAction{
						ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: name},
					}},
				}},
			}},
		}},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name:       "envoy.filters.http.router",
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: mustAny(&routerv3.Router{})},
		}},
	}
	return &listenerv3.Listener{
		Name:    name,
		Address: socketAddress(netip.AddrPortFrom(netip.IPv4Unspecified(), port)),
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name:       "envoy.filters.network.http_connection_manager",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: mustAny(hcm)},
		}}}},
	}
}

func socketAddress(a netip.AddrPort) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       a.Addr().String(),
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(a.Port())},
	}}}
}

func pipe(path string) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path}}}
}

func mustAny(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		panic("BUG: bootstrap: " + err.Error())
	}
	return a
}
