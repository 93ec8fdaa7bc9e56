package cluster

import (
	"cmp"
	"math"
	"strconv"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	commonmatcherv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/pb"
)

// HTTPOptions is the key of a cluster's HTTP options.
const HTTPOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

const (
	defaultRing   = 1024
	defaultMaglev = 65537
	// defaultPingTimeout is how long the answer to an HTTP/2 PING is waited for.
	defaultPingTimeout = 20 * time.Second
)

func (b *Builder) applyPolicy(c *clusterv3.Cluster, t *target) {
	b.applyZones(c, t)
	b.applyLB(c, t)
	c.CircuitBreakers = breakers(t.policy.Pool)
	applyPool(c, t.policy.Pool, b.v.Mesh.Keepalive)
	applyOutlier(c, t.policy.Outlier)
	if t.policy.RetryBudget != nil {
		retryBudget(c, t.policy.RetryBudget)
	}
}

// retryBudget takes the place of the bound on retries.
func retryBudget(c *clusterv3.Cluster, r *model.RetryBudget) {
	out := &clusterv3.CircuitBreakers_Thresholds_RetryBudget{MinRetryConcurrency: pb.U32Set(r.MinConcurrency)}
	if r.Percent != nil {
		out.BudgetPercent = &typev3.Percent{Value: *r.Percent}
	}
	if r.Interval > 0 {
		out.BudgetInterval = pb.Duration(r.Interval)
	}
	limits := c.CircuitBreakers.Thresholds[0]
	limits.RetryBudget, limits.MaxRetries = out, nil
}

// errorCodes says which statuses count as errors for ejection.
func errorCodes(o *httpv3.HttpProtocolOptions, t *target) bool {
	if t.policy.Outlier == nil || len(t.policy.Outlier.HTTPCodes) == 0 {
		return false
	}
	or := &commonmatcherv3.MatchPredicate_MatchSet{}
	for _, code := range t.policy.Outlier.HTTPCodes {
		or.Rules = append(or.Rules, &commonmatcherv3.MatchPredicate{Rule: &commonmatcherv3.MatchPredicate_HttpResponseHeadersMatch{
			HttpResponseHeadersMatch: &commonmatcherv3.HttpHeadersMatch{Headers: []*routev3.HeaderMatcher{{
				Name:                 ":status",
				HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: pb.Exact(strconv.FormatUint(uint64(code), 10))},
			}}},
		}})
	}
	match := or.Rules[0]
	if len(or.Rules) > 1 {
		match = &commonmatcherv3.MatchPredicate{Rule: &commonmatcherv3.MatchPredicate_OrMatch{OrMatch: or}}
	}
	o.OutlierDetection = &httpv3.HttpProtocolOptions_OutlierDetection{ErrorMatcher: match}
	return true
}

func originOf(v *scope.View, k model.Key) model.Origin {
	if o, ok := v.Index.Snapshot.Objects.Find(k); ok {
		return o.Head().Origin
	}
	return model.Origin{}
}

func (b *Builder) applyLB(c *clusterv3.Cluster, t *target) {
	lb := t.policy.LB
	if c.LbPolicy == clusterv3.Cluster_CLUSTER_PROVIDED {
		return
	}
	c.LbPolicy = clusterv3.Cluster_LEAST_REQUEST
	if lb != nil {
		switch lb.Algorithm {
		case model.RoundRobin:
			c.LbPolicy = clusterv3.Cluster_ROUND_ROBIN
		case model.Random:
			c.LbPolicy = clusterv3.Cluster_RANDOM
		case model.ConsistentHash:
			applyHash(c, lb.Hash)
		}
		applyWarmup(c, lb)
	}
	if t.svc.Distribution.Near() {
		// Instances that are not ready are sent, so that it shows when a zone has too few;
		// they must not be used for that.
		c.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{}}
	}
	if l, _ := b.localityLB(t); l != nil && len(l.Distribute) > 0 {
		if c.CommonLbConfig == nil {
			c.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{}
		}
		c.CommonLbConfig.LocalityConfigSpecifier = &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{
			LocalityWeightedLbConfig: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig{},
		}
	}
}

func applyHash(c *clusterv3.Cluster, h *model.Hash) {
	if h == nil {
		return
	}
	size := h.MinRing
	if h.Maglev {
		if size == 0 {
			size = defaultMaglev
		}
		c.LbPolicy = clusterv3.Cluster_MAGLEV
		c.LbConfig = &clusterv3.Cluster_MaglevLbConfig_{MaglevLbConfig: &clusterv3.Cluster_MaglevLbConfig{
			TableSize: wrapperspb.UInt64(size),
		}}
		return
	}
	if size == 0 {
		size = defaultRing
	}
	c.LbPolicy = clusterv3.Cluster_RING_HASH
	c.LbConfig = &clusterv3.Cluster_RingHashLbConfig_{RingHashLbConfig: &clusterv3.Cluster_RingHashLbConfig{
		MinimumRingSize: wrapperspb.UInt64(size),
	}}
}

func applyWarmup(c *clusterv3.Cluster, lb *model.LoadBalancer) {
	if lb.Warmup <= 0 {
		return
	}
	slow := &clusterv3.Cluster_SlowStartConfig{SlowStartWindow: pb.Duration(lb.Warmup)}
	if v := lb.WarmupAggression; v != nil {
		slow.Aggression = &corev3.RuntimeDouble{DefaultValue: *v, RuntimeKey: "upstream.slow_start.aggression"}
	}
	if v := lb.WarmupPercent; v != nil {
		slow.MinWeightPercent = &typev3.Percent{Value: *v}
	}
	switch c.LbPolicy {
	case clusterv3.Cluster_ROUND_ROBIN:
		c.LbConfig = &clusterv3.Cluster_RoundRobinLbConfig_{
			RoundRobinLbConfig: &clusterv3.Cluster_RoundRobinLbConfig{SlowStartConfig: slow},
		}
	case clusterv3.Cluster_LEAST_REQUEST:
		c.LbConfig = &clusterv3.Cluster_LeastRequestLbConfig_{
			LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{SlowStartConfig: slow},
		}
	}
}

// breakers bounds what may be open. Without a policy there is no bound: Envoy's
// own default of 1024 would surprise.
func breakers(p *model.ConnectionPool) *clusterv3.CircuitBreakers {
	limit := func(n uint32) *wrapperspb.UInt32Value {
		if n == 0 {
			n = math.MaxUint32
		}
		return pb.U32(n)
	}
	if p == nil {
		p = &model.ConnectionPool{}
	}
	return &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
		MaxConnections:     limit(p.MaxConnections),
		MaxPendingRequests: limit(p.HTTP1MaxPending),
		MaxRequests:        limit(p.HTTP2MaxRequests),
		MaxRetries:         limit(p.MaxRetries),
		TrackRemaining:     true,
	}}}
}

// Bound lets no more than so many requests through to a cluster at a time.
func Bound(c *clusterv3.Cluster, most uint32) {
	for _, t := range c.GetCircuitBreakers().GetThresholds() {
		t.MaxRequests = pb.U32(min(most, t.GetMaxRequests().GetValue()))
	}
}

func applyPool(c *clusterv3.Cluster, p *model.ConnectionPool, meshKeepalive *model.Keepalive) {
	keepalive := meshKeepalive
	if p != nil && p.Keepalive != nil {
		keepalive = p.Keepalive
	}
	if keepalive != nil {
		k := &corev3.TcpKeepalive{KeepaliveProbes: pb.U32Set(keepalive.Probes)}
		k.KeepaliveTime = pb.U32Set(uint32(keepalive.Time.Seconds()))
		k.KeepaliveInterval = pb.U32Set(uint32(keepalive.Interval.Seconds()))
		c.UpstreamConnectionOptions = &clusterv3.UpstreamConnectionOptions{TcpKeepalive: k}
	}
	if p != nil && p.ConnectTimeout > 0 {
		c.ConnectTimeout = pb.Duration(p.ConnectTimeout)
	}
}

func applyOutlier(c *clusterv3.Cluster, o *model.Outlier) {
	if o == nil {
		return
	}
	out := &clusterv3.OutlierDetection{
		// Success-rate ejection is Envoy's own idea; Istio's API has no such field.
		EnforcingSuccessRate:           pb.U32(0),
		SplitExternalLocalOriginErrors: o.SplitExternalLocal,
	}
	if o.SplitExternalLocal {
		out.EnforcingLocalOriginSuccessRate = pb.U32(0)
	}
	if n := o.Consecutive5xx; n != nil {
		out.Consecutive_5Xx, out.EnforcingConsecutive_5Xx = pb.U32(*n), enforce(*n)
	}
	if n := o.ConsecutiveGateway; n != nil {
		out.ConsecutiveGatewayFailure, out.EnforcingConsecutiveGatewayFailure = pb.U32(*n), enforce(*n)
	}
	if n := o.ConsecutiveLocal; n != nil && o.SplitExternalLocal {
		out.ConsecutiveLocalOriginFailure, out.EnforcingConsecutiveLocalOriginFailure = pb.U32(*n), enforce(*n)
	}
	ejection(out, o)
	c.OutlierDetection = out
	if c.CommonLbConfig == nil {
		c.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{}
	}
	// 0 switches panic mode off: rather no endpoint than an ejected one.
	c.CommonLbConfig.HealthyPanicThreshold = &typev3.Percent{Value: float64(o.MinHealthPercent)}
}

// ejection sets when and how much is ejected.
func ejection(out *clusterv3.OutlierDetection, o *model.Outlier) {
	if o.Interval > 0 {
		out.Interval = pb.Duration(o.Interval)
	}
	if o.BaseEjection > 0 {
		out.BaseEjectionTime = pb.Duration(o.BaseEjection)
	}
	if o.MaxEjectionPercent > 0 {
		out.MaxEjectionPercent = pb.U32(o.MaxEjectionPercent)
	}
}

// enforce: a count of 0 switches the detector off.
func enforce(n uint32) *wrapperspb.UInt32Value {
	if n == 0 {
		return pb.U32(0)
	}
	return pb.U32(100)
}

// applyHTTP sets the protocol towards the endpoints and the bounds of its connections.
func (b *Builder) applyHTTP(c *clusterv3.Cluster, t *target) {
	o := httpOptions(t.policy.Pool)
	wanted := errorCodes(o, t)
	wanted = forwardOptions(o, t) || wanted
	switch protocolOf(t) {
	case http2:
		o.UpstreamProtocolOptions = explicitHTTP2(http2Options(t.policy.Pool))
	case asClient:
		o.UpstreamProtocolOptions = useDownstream(http2Options(t.policy.Pool))
	default:
		if o.CommonHttpProtocolOptions == nil && !wanted && (!b.keepCase() || !t.port.Protocol.IsHTTP()) {
			return // HTTP/1.1 is Envoy's default
		}
		o.UpstreamProtocolOptions = explicitHTTP1()
	}
	if b.keepCase() {
		keepCase(o)
	}
	c.TypedExtensionProtocolOptions = map[string]*anypb.Any{HTTPOptions: pb.Any(o)}
}

// keepCase tells whether names of HTTP/1's headers go on as they were written.
func (b *Builder) keepCase() bool {
	h := b.v.Requests.Headers
	return h != nil && h.KeepCase
}

func keepCase(o *httpv3.HttpProtocolOptions) {
	for _, h1 := range []*corev3.Http1ProtocolOptions{
		o.GetExplicitHttpConfig().GetHttpProtocolOptions(), o.GetUseDownstreamProtocolConfig().GetHttpProtocolOptions(),
	} {
		if h1 != nil {
			h1.HeaderKeyFormat = pb.AsWritten()
		}
	}
}

type upstreamProtocol uint8

const (
	http1 upstreamProtocol = iota
	http2
	asClient // whatever the client speaks
)

func protocolOf(t *target) upstreamProtocol {
	p := t.policy.Pool
	switch {
	case p != nil && p.UseClientProtocol:
		return asClient
	case t.port.Protocol.IsHTTP2():
		return http2
	case t.port.Protocol == model.Unknown:
		return asClient
	case !t.port.Protocol.IsHTTP():
	case p != nil && p.H2Upgrade == 1, t.upgrade && (p == nil || p.H2Upgrade == 0):
		return http2
	}
	return http1
}

func httpOptions(p *model.ConnectionPool) *httpv3.HttpProtocolOptions {
	o := &httpv3.HttpProtocolOptions{}
	if p == nil {
		return o
	}
	// The idle timeout of connections holds for those of HTTP, unless these have their own.
	idle := cmp.Or(p.IdleTimeout, p.TCPIdleTimeout)
	if idle == 0 && p.MaxRequestsPerConnection == 0 && p.MaxConnectionDuration == 0 {
		return o
	}
	c := &corev3.HttpProtocolOptions{MaxRequestsPerConnection: pb.U32Set(p.MaxRequestsPerConnection)}
	if idle != 0 {
		c.IdleTimeout = pb.Duration(idle)
	}
	if p.MaxConnectionDuration > 0 {
		c.MaxConnectionDuration = pb.Duration(p.MaxConnectionDuration)
	}
	o.CommonHttpProtocolOptions = c
	return o
}

func http2Options(p *model.ConnectionPool) *corev3.Http2ProtocolOptions {
	h2 := &corev3.Http2ProtocolOptions{}
	if p == nil {
		return h2
	}
	h2.MaxConcurrentStreams = pb.U32Set(p.MaxConcurrentStreams)
	if p.PingInterval > 0 {
		timeout := p.PingTimeout
		if timeout == 0 {
			timeout = defaultPingTimeout
		}
		h2.ConnectionKeepalive = &corev3.KeepaliveSettings{Interval: pb.Duration(p.PingInterval), Timeout: pb.Duration(timeout)}
	}
	return h2
}

func explicitHTTP1() *httpv3.HttpProtocolOptions_ExplicitHttpConfig_ {
	return &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
		ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{
			HttpProtocolOptions: &corev3.Http1ProtocolOptions{},
		},
	}}
}

func explicitHTTP2(h2 *corev3.Http2ProtocolOptions) *httpv3.HttpProtocolOptions_ExplicitHttpConfig_ {
	return &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
		ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: h2},
	}}
}

func useDownstream(h2 *corev3.Http2ProtocolOptions) *httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig {
	return &httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{
		UseDownstreamProtocolConfig: &httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{
			HttpProtocolOptions:  &corev3.Http1ProtocolOptions{},
			Http2ProtocolOptions: h2,
		},
	}
}
