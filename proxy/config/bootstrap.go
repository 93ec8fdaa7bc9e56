package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/base/overload"
	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter/runtime"
	"github.com/weftmesh/weft/proxy/transport"
	"github.com/weftmesh/weft/proxy/xds"
	"github.com/weftmesh/weft/wire"
)

// supportedBootstrap lists the supported fields of the bootstrap.
var supportedBootstrap = strict.Table{
	"envoy.config.bootstrap.v3.Bootstrap": "node static_resources dynamic_resources admin cluster_manager stats_config layered_runtime " +
		"bootstrap_extensions~ application_log_config~ stats_flush_interval stats_eviction_interval deferred_stat_options~ overload_manager stats_sinks tracing",
	"envoy.config.metrics.v3.StatsSink":                                "name typed_config",
	"envoy.config.metrics.v3.StatsdSink":                               "address prefix",
	"envoy.config.metrics.v3.DogStatsdSink":                            "address prefix max_bytes_per_datagram",
	"envoy.config.trace.v3.Tracing":                                    "http",
	"envoy.extensions.bootstrap.internal_listener.v3.InternalListener": "", // there is nothing to switch on
	"envoy.config.bootstrap.v3.Bootstrap.StaticResources":              "listeners clusters secrets",
	"envoy.config.bootstrap.v3.Bootstrap.DynamicResources":             "lds_config cds_config ads_config",
	"envoy.config.bootstrap.v3.Admin":                                  "address access_log~ profile_path ignore_global_conn_limit", // its connections never count
	"envoy.config.bootstrap.v3.ClusterManager":                         "local_cluster_name outlier_detection load_stats_config upstream_bind_config enable_deferred_cluster_creation",
	"envoy.config.bootstrap.v3.ClusterManager.OutlierDetection":        "event_log_path",
	"envoy.config.core.v3.Node": "id cluster metadata~ locality user_agent_name user_agent_version " +
		"user_agent_build_version~ client_features",
	"envoy.config.bootstrap.v3.LayeredRuntime":          "layers",
	"envoy.config.bootstrap.v3.RuntimeLayer":            "name static_layer admin_layer disk_layer rtds_layer",
	"envoy.config.bootstrap.v3.RuntimeLayer.DiskLayer":  "symlink_root subdirectory append_service_cluster",
	"envoy.config.bootstrap.v3.RuntimeLayer.RtdsLayer":  "name rtds_config",
	"envoy.config.bootstrap.v3.RuntimeLayer.AdminLayer": "",
	"envoy.config.metrics.v3.StatsConfig":               "use_all_default_tags=false stats_matcher stats_tags~ histogram_bucket_settings",
	// There is nothing that would need bins.
	"envoy.config.metrics.v3.HistogramBucketSettings": "match buckets bins",
	"envoy.config.metrics.v3.StatsMatcher":            "reject_all inclusion_list exclusion_list",
	"envoy.type.matcher.v3.ListStringMatcher":         "patterns",
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
	// Buckets are the bounds of histograms' buckets by their names; nil: the usual ones.
	Buckets func(stat string) []float64
	// Runtime has the values of the runtime's layers.
	Runtime *runtime.Store
	// runtimeNeeds are the layers that come over ADS.
	runtimeNeeds []need
	// SDSSocket is where the cluster sds-grpc is; "": nowhere, or not at a unix socket.
	SDSSocket string
	// Workloads: peers are found out by address, from istiod (istio.workload.Workload).
	Workloads bool
	// Notes say what of the bootstrap has another effect than in Envoy.
	Notes []string
	// Refused is why the bootstrap is not used as it was patched; nil: it is.
	Refused error
	// LocalCluster names the static cluster that this proxy is an endpoint of; "": there is none.
	LocalCluster string
	// LoadStats is where load is reported to (LRS); without a cluster: nowhere.
	LoadStats Collector
	// EjectionLog is the file of outlier detection's events; "": none.
	EjectionLog string
	// Place is where the node stands; nil: it does not say.
	Place *cluster.Place
	// Overload says when load is shed.
	Overload overload.Config
	// Sinks get the statistics every FlushInterval.
	Sinks         []StatsSink
	FlushInterval time.Duration
	// Tracing is the provider of connection managers that make spans and name none;
	// nil: such do not export them.
	Tracing *tracev3.Tracing_Http
	// Proto is the message itself, for /config_dump.
	Proto *bootstrapv3.Bootstrap
}

// LoadBootstrap reads a file, YAML or JSON. Where it cannot be carried out for what an
// EnvoyFilter has added, the one without that is read (see wire.Unpatched).
func LoadBootstrap(path string) (*Bootstrap, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	b, err := ParseBootstrap(raw)
	if err == nil {
		return b, nil
	}
	err = fmt.Errorf("bootstrap %s: %w", path, err)
	if raw, plainErr := os.ReadFile(path + wire.Unpatched); plainErr == nil {
		if b, plainErr := ParseBootstrap(raw); plainErr == nil {
			b.Refused = err
			return b, nil
		}
	}
	return nil, err
}

// position is what protojson says of the JSON that a bootstrap was made to, which nobody has seen.
var position = regexp.MustCompile(`^proto:\s(?:syntax error )?\(line \d+:\d+\): (.*)$`)

// located is an error of protojson, without a position in the JSON, and with that in the file where the
// field that is not known stands there once.
func located(raw []byte, err error) error {
	found := position.FindStringSubmatch(strings.ReplaceAll(err.Error(), "\u00a0", " "))
	if found == nil {
		return err
	}
	said := found[1]
	name, ok := strings.CutPrefix(said, "unknown field ")
	if !ok {
		return errors.New(said)
	}
	key := regexp.MustCompile(`(?m)(?:^|[\s{,"'])` + regexp.QuoteMeta(strings.Trim(name, `"`)) + `["']?\s*:`)
	if at := key.FindAllIndex(raw, 2); len(at) == 1 {
		return fmt.Errorf("line %d: %s", 1+bytes.Count(raw[:at[0][1]], []byte("\n")), said)
	}
	return errors.New(said)
}

// ParseBootstrap decodes and checks a bootstrap.
func ParseBootstrap(raw []byte) (*Bootstrap, error) {
	js, err := yaml.YAMLToJSONStrict(raw)
	if err != nil {
		return nil, err
	}
	m := &bootstrapv3.Bootstrap{}
	if err := protojson.Unmarshal(js, m); err != nil {
		return nil, located(raw, err)
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
	if l := b.Node.Locality; l != nil {
		b.Place = &cluster.Place{Region: l.Region, Zone: l.Zone, SubZone: l.SubZone}
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
	if b.LoadStats, err = loadStats(m.GetClusterManager().GetLoadStatsConfig()); err != nil {
		return nil, at(err, "cluster_manager.load_stats_config")
	}
	b.EjectionLog = m.GetClusterManager().GetOutlierDetection().GetEventLogPath()
	if b.LocalCluster, err = localCluster(m); err != nil {
		return nil, at(err, "cluster_manager.local_cluster_name")
	}
	if err = b.layers(m.GetLayeredRuntime()); err != nil {
		return nil, at(err, "layered_runtime")
	}
	if b.Overload, err = overloadManager(m.OverloadManager); err != nil {
		return nil, at(err, "overload_manager")
	}
	if b.KeepStat, err = keepStat(m.GetStatsConfig().GetStatsMatcher()); err != nil {
		return nil, at(err, "stats_config.stats_matcher")
	}
	if b.Buckets, err = buckets(m.GetStatsConfig().GetHistogramBucketSettings()); err != nil {
		return nil, at(err, "stats_config.histogram_bucket_settings")
	}
	if err := b.observability(m); err != nil {
		return nil, err
	}
	if err := b.agentFields(m); err != nil {
		return nil, err
	}
	if err := b.dynamic(m); err != nil {
		return nil, err
	}
	return b, nil
}

// loadStats reads where load is reported to.
func loadStats(m *corev3.ApiConfigSource) (Collector, error) {
	switch {
	case m == nil:
		return Collector{}, nil
	case m.ApiType != corev3.ApiConfigSource_GRPC:
		return Collector{}, at(fmt.Errorf("%v is not supported, only GRPC", m.ApiType), "api_type")
	case len(m.GrpcServices) != 1:
		return Collector{}, at(fmt.Errorf("there are %d, want one", len(m.GrpcServices)), "grpc_services")
	}
	c, err := grpcCollector(m.GrpcServices[0])
	c.Timeout = 0 // of a stream that never ends
	return c, at(err, "grpc_services[0]")
}

// localCluster is static, as in Envoy: it is there before any request.
func localCluster(m *bootstrapv3.Bootstrap) (string, error) {
	name := m.GetClusterManager().GetLocalClusterName()
	if name == "" || slices.ContainsFunc(m.GetStaticResources().GetClusters(), func(c *clusterv3.Cluster) bool { return c.Name == name }) {
		return name, nil
	}
	return "", fmt.Errorf("there is no static cluster %q", name)
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
	if m.GetFreebind().GetValue() {
		return 0, at(errors.New("not supported for all clusters: set it where source_address is"), "freebind")
	}
	return out, nil
}

// buckets reads the bounds of histograms' buckets: the first rule that matches a name holds.
func buckets(list []*metricsv3.HistogramBucketSettings) (func(stat string) []float64, error) {
	type rule struct {
		match  func(string) bool
		bounds []float64
	}
	var rules []rule
	for i, m := range list {
		t, err := textMatch(m.Match)
		if err != nil {
			return nil, at(err, "[%d].match", i)
		}
		bounds := slices.Sorted(slices.Values(m.Buckets))
		if len(slices.Compact(slices.Clone(bounds))) != len(bounds) {
			return nil, at(errors.New("has one twice"), "[%d].buckets", i)
		}
		rules = append(rules, rule{t.Match, bounds})
	}
	if rules == nil {
		return nil, nil
	}
	return func(stat string) []float64 {
		for _, r := range rules {
			if r.match(stat) {
				return r.bounds
			}
		}
		return nil
	}, nil
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
	secrets := transport.NewSecretStore()
	files := make([]*fileSecret, len(needs))
	for i, n := range needs {
		if n.path == "" {
			return at(errors.New("secrets of the control plane's own cluster must be inline or in files"), "transport_socket")
		}
		files[i] = newFileSecret(n)
		if _, err := files[i].look(secrets); err != nil {
			return at(err, "transport_socket")
		}
	}
	tctx.ALPN = []string{"h2"}
	client, err := transport.NewClientTLS(secrets, *tctx)
	if err != nil {
		return at(err, "transport_socket")
	}
	t.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		for _, f := range files { // what has rotated since; what cannot be read leaves the old one
			_, _ = f.look(secrets)
		}
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
