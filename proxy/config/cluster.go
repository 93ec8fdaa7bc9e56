package config

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/transport"
	"github.com/weftmesh/weft/wire"
)

// clusterConfig is a decoded cluster and what it waits for.
type clusterConfig struct {
	spec *cluster.Spec
	// eds is the name of its endpoints, empty when they are in it.
	eds        string
	edsTimeout time.Duration
	secrets    []need
	insecure   bool // certificates need not be for the host that a request names
}

// transportMatchMetadata is the section that chooses transport sockets.
const transportMatchMetadata = "envoy.transport_socket_match"

func (d *Decoder) decodeCluster(m *clusterv3.Cluster) (*clusterConfig, error) {
	s := &cluster.Spec{
		Name: m.Name, BufferLimit: int(m.PerConnectionBufferLimitBytes.GetValue()), AltStatName: m.AltStatName, ConnectTimeout: duration(m.ConnectTimeout),
		Breakers: [2]cluster.Breakers{cluster.DefaultBreakers, cluster.DefaultBreakers},
		Service:  serviceRef(m.Metadata),
		Metadata: plain(m.Metadata),
		DNS:      dns(m, m.DnsFailureRefreshRate, m.DnsLookupFamily.String()),
	}
	c := &clusterConfig{spec: s}
	if err := d.discovery(m, c); err != nil {
		return nil, err
	}
	if err := loadBalancing(m, s); err != nil {
		return nil, err
	}
	if err := breakers(m.CircuitBreakers, &s.Breakers); err != nil {
		return nil, at(err, "circuit_breakers")
	}
	s.Outlier, s.ReportMetrics = outlier(m.OutlierDetection), m.LrsReportEndpointMetrics
	var err error
	if s.Health, err = d.healthChecks(m.HealthChecks); err != nil {
		return nil, err
	}
	s.IgnoreHealthOnRemoval, s.CloseOnFailure = m.IgnoreHealthOnHostRemoval, m.CloseConnectionsOnHostHealthFailure
	if err := upstreamHTTP(m, s); err != nil {
		return nil, err
	}
	if err := checkForward(c); err != nil {
		return nil, at(err, "upstream_http_protocol_options")
	}
	if err := d.upstreamTransports(m, c); err != nil {
		return nil, err
	}
	if t := m.TrackClusterStats; t != nil {
		s.Track = cluster.Track{Budgets: t.TimeoutBudgets, Sizes: t.RequestResponseSizes, Endpoints: t.PerEndpointStats}
	}
	s.HTTP.OwnPool = m.ConnectionPoolPerDownstreamConnection
	s.HTTP.PreconnectPerHost = m.GetPreconnectPolicy().GetPerUpstreamPreconnectRatio().GetValue()
	s.HTTP.PreconnectAhead = m.GetPreconnectPolicy().GetPredictivePreconnectRatio().GetValue()
	if s.HTTP.PreconnectAhead > 1 && (s.LB.Policy != cluster.RoundRobin || s.LB.Subsets != nil) {
		return nil, at(errors.New("only with round robin, without subsets"), "preconnect_policy.predictive_preconnect_ratio")
	}
	if s.Greeter, err = d.greeter(m.Filters); err != nil {
		return nil, err
	}
	if k := m.GetUpstreamConnectionOptions().GetTcpKeepalive(); k != nil {
		s.Keepalive = keepAlive(k)
	}
	return c, at(d.bind(m.UpstreamBindConfig, s), "upstream_bind_config")
}

// greeter reads the network filters of a cluster: only one that speaks before a
// connection's bytes is known.
func (d *Decoder) greeter(filters []*clusterv3.Filter) (g cluster.Greeter, err error) {
	for i, f := range filters {
		if f.TypedConfig == nil {
			return nil, at(errors.New("has no typed_config"), "filters[%d]", i)
		}
		if g != nil {
			return nil, at(errors.New("only one is supported"), "filters[%d]", i)
		}
		if d.Greeter == nil {
			return nil, at(errors.New("not supported"), "filters[%d]", i)
		}
		if g, err = d.Greeter(f.TypedConfig); err != nil {
			return nil, at(err, "filters[%d].typed_config", i)
		}
	}
	return g, nil
}

func keepAlive(k *corev3.TcpKeepalive) transport.KeepAlive {
	return transport.KeepAlive{
		Enable: true, Idle: seconds(k.KeepaliveTime), Interval: seconds(k.KeepaliveInterval), Probes: int(k.KeepaliveProbes.GetValue()),
	}
}

func seconds(v *wrapperspb.UInt32Value) time.Duration {
	return time.Duration(v.GetValue()) * time.Second
}

// discovery reads where the endpoints come from.
func (d *Decoder) discovery(m *clusterv3.Cluster, c *clusterConfig) error {
	s := c.spec
	if m.GetClusterType() != nil {
		if err := d.clusterType(m.GetClusterType().GetTypedConfig(), c); err != nil {
			return at(err, "cluster_type.typed_config")
		}
		if s.Type == cluster.StrictDNS || s.Type == cluster.LogicalDNS || s.Type == cluster.Discovered {
			return loadAssignment(m, s)
		}
		if m.LoadAssignment != nil {
			return at(errors.New("this type of cluster has none"), "load_assignment")
		}
		return nil
	}
	switch m.GetType() {
	case clusterv3.Cluster_STATIC:
		s.Type = cluster.Static
	case clusterv3.Cluster_STRICT_DNS:
		s.Type = cluster.StrictDNS
	case clusterv3.Cluster_LOGICAL_DNS:
		s.Type = cluster.LogicalDNS
	case clusterv3.Cluster_ORIGINAL_DST:
		s.Type = cluster.OriginalDst
	case clusterv3.Cluster_EDS:
		s.Type = cluster.EDS
		src, err := readSource(m.EdsClusterConfig.GetEdsConfig(), "")
		if err != nil {
			return at(err, "eds_cluster_config.eds_config")
		}
		s.ServiceName = m.EdsClusterConfig.ServiceName
		c.eds, c.edsTimeout = s.ServiceName, src.timeout
		if c.eds == "" {
			c.eds = m.Name
		}
		if m.LoadAssignment != nil {
			return at(errors.New("an EDS cluster has none"), "load_assignment")
		}
	default:
		return at(fmt.Errorf("%v is not supported", m.GetType()), "type")
	}
	if o := m.GetOriginalDstLbConfig(); o != nil {
		if o.UseHttpHeader {
			s.Original.Header = "x-envoy-original-dst-host"
			if o.HttpHeaderName != "" {
				s.Original.Header = lower(o.HttpHeaderName)
			}
		}
		s.Original.Port = uint16(o.UpstreamPortOverride.GetValue())
		if k := o.MetadataKey; k != nil {
			s.Original.Metadata = []string{k.Key}
			for _, p := range k.Path {
				s.Original.Metadata = append(s.Original.Metadata, p.GetKey())
			}
		}
	}
	s.Original.Cleanup = duration(m.CleanupInterval)
	return loadAssignment(m, s)
}

func loadAssignment(m *clusterv3.Cluster, s *cluster.Spec) error {
	if m.LoadAssignment == nil {
		return nil
	}
	var err error
	s.Endpoints, err = decodeEndpoints(m.LoadAssignment, s.Type == cluster.StrictDNS || s.Type == cluster.LogicalDNS || s.Type == cluster.Discovered)
	return at(err, "load_assignment")
}

func breakers(m *clusterv3.CircuitBreakers, out *[2]cluster.Breakers) error {
	for i, t := range m.GetThresholds() {
		p := cluster.Default
		if t.Priority == corev3.RoutingPriority_HIGH {
			p = cluster.High
		}
		b := &out[p]
		set(&b.Connections, t.MaxConnections)
		set(&b.Pending, t.MaxPendingRequests)
		set(&b.Requests, t.MaxRequests)
		set(&b.Retries, t.MaxRetries)
		b.ShowRemaining = t.TrackRemaining
		if r := t.RetryBudget; r != nil {
			if r.BudgetPercent != nil && (r.BudgetPercent.Value < 0 || r.BudgetPercent.Value > 100) {
				return at(fmt.Errorf("%v is not a percentage", r.BudgetPercent.Value), "thresholds[%d].retry_budget.budget_percent", i)
			}
			budget := cluster.DefaultBudget
			budget.Interval = duration(r.BudgetInterval)
			if r.BudgetPercent != nil {
				budget.Percent = r.BudgetPercent.Value
			}
			set(&budget.MinConcurrency, r.MinRetryConcurrency)
			b.Budget = &budget
		}
	}
	for i, t := range m.GetPerHostThresholds() {
		// Envoy looks at the connections only.
		if t.MaxPendingRequests != nil || t.MaxRequests != nil || t.MaxRetries != nil || t.RetryBudget != nil || t.TrackRemaining {
			return at(errors.New("only max_connections is supported"), "per_host_thresholds[%d]", i)
		}
		p := cluster.Default
		if t.Priority == corev3.RoutingPriority_HIGH {
			p = cluster.High
		}
		set(&out[p].PerHost, t.MaxConnections)
	}
	return nil
}

// set replaces a default by what is there.
func set(p *uint32, v *wrapperspb.UInt32Value) {
	if v != nil {
		*p = v.Value
	}
}

// or is v or a default.
func or(v *wrapperspb.UInt32Value, def uint32) uint32 {
	set(&def, v)
	return def
}

func outlier(m *clusterv3.OutlierDetection) *cluster.Outlier {
	if m == nil {
		return nil
	}
	o := &cluster.Outlier{
		Consecutive5xx: or(m.Consecutive_5Xx, 5), ConsecutiveGateway: or(m.ConsecutiveGatewayFailure, 5),
		ConsecutiveLocal: or(m.ConsecutiveLocalOriginFailure, 5),
		Enforce5xx:       or(m.EnforcingConsecutive_5Xx, 100), EnforceGateway: or(m.EnforcingConsecutiveGatewayFailure, 0),
		EnforceLocal: or(m.EnforcingConsecutiveLocalOriginFailure, 100),
		SplitLocal:   m.SplitExternalLocalOriginErrors,
		Interval:     duration(m.Interval), BaseEjection: duration(m.BaseEjectionTime),
		MaxEjection: duration(m.MaxEjectionTime), Jitter: duration(m.MaxEjectionTimeJitter),
		MaxEjectionPercent: or(m.MaxEjectionPercent, 10),
		AlwaysEjectOne:     m.GetAlwaysEjectOneHost().GetValue(),
		KeepOnHealthy:      m.SuccessfulActiveHealthCheckUnejectHost != nil && !m.SuccessfulActiveHealthCheckUnejectHost.Value,
	}
	o.SuccessRate = &cluster.SuccessRate{
		Enforce: or(m.EnforcingSuccessRate, 100), EnforceLocal: or(m.EnforcingLocalOriginSuccessRate, 100),
		MinHosts: or(m.SuccessRateMinimumHosts, 5), MinVolume: or(m.SuccessRateRequestVolume, 100),
		StdevFactorPerThousand: or(m.SuccessRateStdevFactor, 1900),
	}
	o.FailurePercentage = &cluster.FailurePercentage{
		Enforce: or(m.EnforcingFailurePercentage, 0), EnforceLocal: or(m.EnforcingFailurePercentageLocalOrigin, 0),
		MinHosts: or(m.FailurePercentageMinimumHosts, 5), MinVolume: or(m.FailurePercentageRequestVolume, 50),
		Threshold: or(m.FailurePercentageThreshold, 85),
	}
	return o
}

// upstreamTransports reads the transport socket and those chosen by metadata.
func (d *Decoder) upstreamTransports(m *clusterv3.Cluster, c *clusterConfig) error {
	socket, err := d.proxySocket(m.TransportSocket, c.spec)
	if err != nil {
		return at(err, "transport_socket.typed_config")
	}
	if c.spec.TLS, c.spec.Inner, err = d.upstreamSocket(socket, c); err != nil {
		return at(err, "transport_socket")
	}
	for i, match := range m.TransportSocketMatches {
		t := cluster.Transport{Name: match.Name}
		inner, err := d.matchedProxySocket(match.TransportSocket, c.spec, i == 0 && m.TransportSocket == nil)
		if err != nil {
			return at(err, "transport_socket_matches[%d].transport_socket.typed_config", i)
		}
		if t.TLS, t.Inner, err = d.upstreamSocket(inner, c); err != nil {
			return at(err, "transport_socket_matches[%d].transport_socket", i)
		}
		t.Labels, err = labels(&corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"": match.Match}}, "")
		if err != nil {
			return at(err, "transport_socket_matches[%d].match", i)
		}
		c.spec.Transports = append(c.spec.Transports, t)
	}
	return nil
}

func (d *Decoder) clientTLS(m *corev3.TransportSocket, c *clusterConfig) (cluster.TLS, error) {
	t, needs, err := d.upstreamTLS(m)
	if err != nil || t == nil {
		return nil, err
	}
	c.secrets = append(c.secrets, needs...)
	ct, err := transport.NewClientTLS(d.Secrets, *t)
	if err != nil {
		return nil, err
	}
	return ct, nil
}

// bind reads the source addresses, one per family. SO_MARK is the only socket
// option that is taken, and only with the mark that all of the proxy's connections have.
func (d *Decoder) bind(m *corev3.BindConfig, s *cluster.Spec) error {
	for i, o := range m.GetSocketOptions() {
		if o.Level != wire.SolSocket || o.Name != wire.SoMark || int(o.GetIntValue()) != d.Mark {
			return at(fmt.Errorf("level %d, name %d: only SO_MARK with the mark of the proxy (%d) is supported", o.Level, o.Name, d.Mark),
				"socket_options[%d]", i)
		}
	}
	s.BindFree = m.GetFreebind().GetValue()
	var err error
	if s.Bind, err = sourceAddress(m.GetSourceAddress()); err != nil {
		return at(err, "source_address")
	}
	for i, e := range m.GetExtraSourceAddresses() {
		a, err := sourceAddress(e.Address)
		if err == nil && (i > 0 || a.Is4() == s.Bind.Is4()) {
			err = errors.New("want one address of each family at most")
		}
		if err != nil {
			return at(err, "extra_source_addresses[%d].address", i)
		}
		s.Bind6 = a
	}
	return nil
}

// sourceAddress reads an address without a port; the unspecified one is none.
func sourceAddress(m *corev3.SocketAddress) (netip.Addr, error) {
	if m == nil {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(m.Address)
	if err != nil {
		return a, at(err, "address")
	}
	if m.Protocol != corev3.SocketAddress_TCP {
		return a, at(errors.New("only TCP is supported here"), "protocol")
	}
	if m.GetPortValue() != 0 {
		return a, at(errors.New("only 0 is supported"), "port_value")
	}
	if a.IsUnspecified() {
		return netip.Addr{}, nil
	}
	return a, nil
}

// serviceRef reads Istio's metadata of a cluster: istio → services[0].
func serviceRef(m *corev3.Metadata) filter.ServiceRef {
	list := m.GetFilterMetadata()["istio"].GetFields()["services"].GetListValue().GetValues()
	if len(list) == 0 {
		return filter.ServiceRef{}
	}
	f := list[0].GetStructValue().GetFields()
	return filter.ServiceRef{
		Host: f["host"].GetStringValue(), Name: f["name"].GetStringValue(), Namespace: f["namespace"].GetStringValue(),
	}
}
