package config

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/base/overload"
	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter/runtime"
	"github.com/weftmesh/weft/proxy/transport"
	"github.com/weftmesh/weft/proxy/xds"
	"github.com/weftmesh/weft/wire"
)

// supportedBootstrap lists the supported fields of the bootstrap.
var supportedBootstrap = strict.Table{
	"envoy.config.bootstrap.v3.Bootstrap": "node static_resources dynamic_resources admin cluster_manager stats_config layered_runtime " +
		"bootstrap_extensions~ application_log_config~ stats_flush_interval stats_eviction_interval deferred_stat_options~ overload_manager",
	"envoy.extensions.bootstrap.internal_listener.v3.InternalListener": "", // there is nothing to switch on
	"envoy.config.bootstrap.v3.Bootstrap.StaticResources":              "listeners clusters secrets",
	"envoy.config.bootstrap.v3.Bootstrap.DynamicResources":             "lds_config cds_config ads_config",
	"envoy.config.bootstrap.v3.Admin":                                  "address access_log~ profile_path",
	"envoy.config.bootstrap.v3.ClusterManager":                         "upstream_bind_config enable_deferred_cluster_creation",
	"envoy.config.core.v3.Node": "id cluster metadata~ locality user_agent_name user_agent_version " +
		"user_agent_build_version~ client_features",
	"envoy.config.bootstrap.v3.LayeredRuntime":          "layers",
	"envoy.config.bootstrap.v3.RuntimeLayer":            "name static_layer admin_layer",
	"envoy.config.bootstrap.v3.RuntimeLayer.AdminLayer": "",
	"envoy.config.metrics.v3.StatsConfig":               "use_all_default_tags=false stats_matcher stats_tags~",
	"envoy.config.metrics.v3.StatsMatcher":              "reject_all inclusion_list exclusion_list",
	"envoy.type.matcher.v3.ListStringMatcher":           "patterns",
}

// Bootstrap is a decoded bootstrap.
type Bootstrap struct {
	Node     *corev3.Node
	Metadata wire.NodeMetadata
	// Admin is where the admin API listens; invalid: nowhere.
	Admin netip.AddrPort
	// Mark is SO_MARK of all upstream connections; 0: none.
	Mark int
	// ADS is nil when everything is static.
	ADS *xds.Target
	// Listeners and Clusters say whether these come over ADS.
	Listeners, Clusters bool
	// KeepStat tells whether a statistic of that name is shown; nil: all are.
	KeepStat func(name string) bool
	// Runtime has the values of the runtime's layers.
	Runtime *runtime.Store
	// SDSSocket is where the cluster sds-grpc is; "": nowhere, or not at a unix socket.
	SDSSocket string
	// Workloads: peers are found out by address, from istiod (istio.workload.Workload).
	Workloads bool
	// Notes say what of the bootstrap has another effect than in Envoy.
	Notes []string
	// Overload says when load is shed.
	Overload overload.Config
	// Proto is the message itself, for /config_dump.
	Proto *bootstrapv3.Bootstrap
}

// LoadBootstrap reads a file, YAML or JSON.
func LoadBootstrap(path string) (*Bootstrap, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	b, err := ParseBootstrap(raw)
	if err != nil {
		return nil, fmt.Errorf("bootstrap %s: %w", path, err)
	}
	return b, nil
}

// ParseBootstrap decodes and checks a bootstrap.
func ParseBootstrap(raw []byte) (*Bootstrap, error) {
	js, err := yaml.YAMLToJSONStrict(raw)
	if err != nil {
		return nil, err
	}
	m := &bootstrapv3.Bootstrap{}
	if err := protojson.Unmarshal(js, m); err != nil {
		return nil, err
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	c, err := checker()
	if err != nil {
		return nil, err
	}
	// Static resources are checked one by one, as if they had come over ADS.
	head := shallow(m)
	if err := c.Check(head); err != nil {
		return nil, err
	}
	b := &Bootstrap{Node: m.Node, Proto: m}
	if b.Node == nil {
		b.Node = &corev3.Node{}
	}
	if b.Metadata, err = wire.ParseNodeMetadata(b.Node.Metadata); err != nil {
		return nil, at(err, "node.metadata")
	}
	if a := m.GetAdmin().GetAddress(); a != nil {
		if b.Admin, err = addrPort(a); err != nil {
			return nil, at(err, "admin.address")
		}
	}
	if b.Mark, err = mark(m.GetClusterManager().GetUpstreamBindConfig()); err != nil {
		return nil, at(err, "cluster_manager.upstream_bind_config")
	}
	if b.Runtime, err = layers(m.GetLayeredRuntime()); err != nil {
		return nil, at(err, "layered_runtime")
	}
	if b.Overload, err = overloadManager(m.OverloadManager); err != nil {
		return nil, at(err, "overload_manager")
	}
	if b.KeepStat, err = keepStat(m.GetStatsConfig().GetStatsMatcher()); err != nil {
		return nil, at(err, "stats_config.stats_matcher")
	}
	if err := b.agentFields(m); err != nil {
		return nil, err
	}
	if err := b.dynamic(m); err != nil {
		return nil, err
	}
	return b, nil
}

// shallow is m without its static resources.
func shallow(m *bootstrapv3.Bootstrap) *bootstrapv3.Bootstrap {
	out := &bootstrapv3.Bootstrap{}
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Name() != "static_resources" {
			out.ProtoReflect().Set(f, v)
		}
		return true
	})
	return out
}

// layers reads the runtime. Without a layered_runtime there is an admin layer,
// as in Envoy.
func layers(m *bootstrapv3.LayeredRuntime) (*runtime.Store, error) {
	if m == nil {
		return runtime.New(runtime.Layer{Name: "admin", Admin: true}), nil
	}
	var out []runtime.Layer
	for i, l := range m.Layers {
		layer := runtime.Layer{Name: l.Name, Admin: l.GetAdminLayer() != nil}
		if s := l.GetStaticLayer(); s != nil {
			var err error
			if layer, err = runtime.NewLayer(l.Name, s.AsMap()); err != nil {
				return nil, at(err, "layers[%d].static_layer", i)
			}
		}
		out = append(out, layer)
	}
	return runtime.New(out...), nil
}

func mark(m *corev3.BindConfig) (int, error) {
	out := 0
	for i, o := range m.GetSocketOptions() {
		if o.Level != wire.SolSocket || o.Name != wire.SoMark {
			return 0, at(fmt.Errorf("level %d, name %d: only SO_MARK (%d, %d) is supported", o.Level, o.Name, wire.SolSocket, wire.SoMark), "socket_options[%d]", i)
		}
		out = int(o.GetIntValue())
	}
	if a := m.GetSourceAddress(); a != nil && !slices.Contains([]string{"", "0.0.0.0", "::"}, a.Address) {
		return 0, at(errors.New("not supported"), "source_address")
	}
	return out, nil
}

func keepStat(m *metricsv3.StatsMatcher) (func(string) bool, error) {
	var matches []func(string) bool
	compile := func() error {
		list := m.GetInclusionList()
		if list == nil {
			list = m.GetExclusionList()
		}
		for i, p := range list.GetPatterns() {
			t, err := textMatch(p)
			if err != nil {
				return at(err, "patterns[%d]", i)
			}
			matches = append(matches, t.Match)
		}
		return nil
	}
	any := func(name string) bool {
		return slices.ContainsFunc(matches, func(f func(string) bool) bool { return f(name) })
	}
	switch s := m.GetStatsMatcher().(type) {
	case nil:
		return nil, nil
	case *metricsv3.StatsMatcher_RejectAll:
		return func(string) bool { return !s.RejectAll }, nil
	case *metricsv3.StatsMatcher_InclusionList:
		return any, at(compile(), "inclusion_list")
	case *metricsv3.StatsMatcher_ExclusionList:
		return func(n string) bool { return !any(n) }, at(compile(), "exclusion_list")
	default:
		return nil, fmt.Errorf("%T is not supported", s)
	}
}

// dynamic reads where the dynamic resources come from.
func (b *Bootstrap) dynamic(m *bootstrapv3.Bootstrap) error {
	d := m.GetDynamicResources()
	for what, src := range map[string]*corev3.ConfigSource{"lds_config": d.GetLdsConfig(), "cds_config": d.GetCdsConfig()} {
		if src == nil {
			continue
		}
		if _, err := readSource(src, ""); err != nil {
			return at(err, "dynamic_resources.%s", what)
		}
		if d.GetAdsConfig() == nil {
			return at(errors.New("refers to ads, but there is no ads_config"), "dynamic_resources.%s", what)
		}
	}
	b.Listeners, b.Clusters = d.GetLdsConfig() != nil, d.GetCdsConfig() != nil
	if d.GetAdsConfig() == nil {
		return nil
	}
	return at(b.ads(d.AdsConfig, m.GetStaticResources().GetClusters()), "dynamic_resources.ads_config")
}

func (b *Bootstrap) ads(m *corev3.ApiConfigSource, clusters []*clusterv3.Cluster) error {
	world := false
	switch m.ApiType {
	case corev3.ApiConfigSource_DELTA_GRPC, corev3.ApiConfigSource_AGGREGATED_DELTA_GRPC:
	case corev3.ApiConfigSource_GRPC, corev3.ApiConfigSource_AGGREGATED_GRPC:
		world = true
	default:
		return at(fmt.Errorf("%v is not supported, only DELTA_GRPC and GRPC", m.ApiType), "api_type")
	}
	if len(m.GrpcServices) != 1 {
		return at(fmt.Errorf("there are %d, want one", len(m.GrpcServices)), "grpc_services")
	}
	svc := m.GrpcServices[0]
	name := svc.GetEnvoyGrpc().GetClusterName()
	i := slices.IndexFunc(clusters, func(c *clusterv3.Cluster) bool { return c.Name == name })
	if i < 0 {
		return at(fmt.Errorf("there is no static cluster %q", name), "grpc_services[0].envoy_grpc.cluster_name")
	}
	t := &xds.Target{Metadata: map[string]string{}, StateOfTheWorld: world, EveryNode: world && !m.SetNodeOnFirstMessageOnly}
	for _, h := range svc.InitialMetadata {
		t.Metadata[lower(h.Key)] = h.Value
	}
	b.ADS = t
	return at(b.reach(clusters[i], t), "cluster %s", name)
}

// reach reads the address of the control plane's cluster. It is dialled by
// name and not through the cluster manager: what brings the clusters must not
// depend on them.
func (b *Bootstrap) reach(m *clusterv3.Cluster, t *xds.Target) error {
	e, err := decodeEndpoints(m.GetLoadAssignment(), true)
	if err != nil {
		return at(err, "load_assignment")
	}
	if len(e.Localities) == 0 || len(e.Localities[0].Endpoints) == 0 {
		return at(errors.New("has no endpoint"), "load_assignment")
	}
	switch ep := e.Localities[0].Endpoints[0]; {
	case ep.Path != "":
		t.Network, t.Address = "unix", ep.Path
	case ep.Name != "":
		t.Network, t.Address = "tcp", net.JoinHostPort(ep.Name, fmt.Sprint(ep.Port))
	default:
		t.Network, t.Address = "tcp", ep.Addr.String()
	}
	plain := DialMarked(b.Mark)
	t.Dial = plain
	tctx, needs, err := (&Decoder{}).upstreamTLS(m.TransportSocket)
	if err != nil || tctx == nil {
		return at(err, "transport_socket")
	}
	if len(needs) > 0 {
		return at(errors.New("secrets of the control plane's own cluster must be inline or files"), "transport_socket")
	}
	tctx.ALPN = []string{"h2"}
	client, err := transport.NewClientTLS(transport.NewSecretStore(), *tctx)
	if err != nil {
		return at(err, "transport_socket")
	}
	t.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		nc, err := plain(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return client.Handshake(ctx, nc, transport.ClientHello{})
	}
	return nil
}

// DialMarked dials by name with the mark on the socket, 0: none.
func DialMarked(mark int) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := transport.Direct{Mark: mark}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if network == "unix" {
			return d.Dial(ctx, transport.Target{Path: address})
		}
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			return nil, err
		}
		for _, a := range addrs {
			var ap netip.AddrPort
			if ap, err = netip.ParseAddrPort(net.JoinHostPort(a.Unmap().String(), port)); err != nil {
				return nil, err
			}
			var nc net.Conn
			if nc, err = d.Dial(ctx, transport.Target{Addr: ap}); err == nil {
				return nc, nil
			}
		}
		return nil, err
	}
}
