package config

import (
	"errors"
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	templaterewritev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/rewrite/uri_template/v3"

	"github.com/weftmesh/weft/proxy/route"
)

func lower(s string) string { return strings.ToLower(s) }

// subsetMetadata is the section that chooses endpoints.
const subsetMetadata = "envoy.lb"

func (d *Decoder) forward(m *routev3.RouteAction) (*route.Forward, error) {
	f := &route.Forward{
		PrefixRewrite:     m.PrefixRewrite,
		Timeout:           defaultRouteTimeout,
		IdleTimeout:       durationPtr(m.IdleTimeout),
		GRPCTimeoutMax:    durationPtr(m.MaxGrpcTimeout),
		GRPCTimeoutOffset: duration(m.GrpcTimeoutOffset),
		HighPriority:      m.Priority == corev3.RoutingPriority_HIGH,
	}
	if m.Timeout != nil {
		f.Timeout = m.Timeout.AsDuration()
	}
	if s := m.MaxStreamDuration; s != nil {
		// As in Envoy, where such a route has no timeout of the older kind.
		f.Timeout, f.GRPCTimeoutMax = 0, nil
		f.MaxStreamDuration = durationPtr(s.MaxStreamDuration)
		f.GRPCStreamMax, f.GRPCStreamOffset = durationPtr(s.GrpcTimeoutHeaderMax), duration(s.GrpcTimeoutHeaderOffset)
	}
	switch m.ClusterNotFoundResponseCode {
	case routev3.RouteAction_NOT_FOUND:
		f.MissingStatus = 404
	case routev3.RouteAction_INTERNAL_SERVER_ERROR:
		f.MissingStatus = 500
	}
	var err error
	if f.Subset, err = labels(m.MetadataMatch, subsetMetadata); err != nil {
		return nil, at(err, "metadata_match")
	}
	if err := d.target(m, f); err != nil {
		return nil, err
	}
	if f.RegexRewrite, err = regexRewrite(m.RegexRewrite); err != nil {
		return nil, at(err, "regex_rewrite")
	}
	if p := m.PathRewritePolicy; p != nil {
		t := &templaterewritev3.UriTemplateRewriteConfig{}
		if err := open(p.GetTypedConfig(), t); err != nil {
			return nil, at(err, "path_rewrite_policy.typed_config")
		}
		f.TemplateRewrite = t.PathTemplateRewrite
	}
	if f.Host, err = hostRewrite(m); err != nil {
		return nil, err
	}
	if f.Retry, err = retryPolicy(m.RetryPolicy); err != nil {
		return nil, at(err, "retry_policy")
	}
	f.Hedge = hedgePolicy(m.HedgePolicy)
	if f.Internal, err = internalRedirect(m.InternalRedirectPolicy); err != nil {
		return nil, at(err, "internal_redirect_policy")
	}
	if f.Mirrors, err = d.mirrors(m.RequestMirrorPolicies); err != nil {
		return nil, err
	}
	if f.Hash, err = hashPolicies(m.HashPolicy); err != nil {
		return nil, err
	}
	for i, u := range m.UpgradeConfigs {
		up := route.Upgrade{
			Type: u.UpgradeType, Enabled: u.Enabled == nil || u.Enabled.Value,
			Terminate: u.ConnectConfig != nil, AllowPost: u.ConnectConfig.GetAllowPost(),
		}
		if up.ProxyProtocol, err = connectProxyProtocol(u.ConnectConfig.GetProxyProtocolConfig()); err != nil {
			return nil, at(err, "upgrade_configs[%d].connect_config.proxy_protocol_config", i)
		}
		f.Upgrades = append(f.Upgrades, up)
	}
	return f, nil
}

// connectProxyProtocol reads the version of the header before a CONNECT's payload, 0: there is none.
func connectProxyProtocol(m *corev3.ProxyProtocolConfig) (int, error) {
	switch {
	case m == nil:
		return 0, nil
	case m.PassThroughTlvs != nil:
		return 0, at(errors.New("is for clusters only"), "pass_through_tlvs")
	case len(m.AddedTlvs) > 0:
		return 0, at(errors.New("is for clusters only"), "added_tlvs")
	}
	return proxyVersion(m), nil
}

// target reads which cluster a request goes to.
func (d *Decoder) target(m *routev3.RouteAction, f *route.Forward) error {
	switch c := m.ClusterSpecifier.(type) {
	case *routev3.RouteAction_Cluster:
		f.Cluster = c.Cluster
	case *routev3.RouteAction_ClusterHeader:
		f.ClusterHeader = lower(c.ClusterHeader)
	case *routev3.RouteAction_WeightedClusters:
		total := uint64(0)
		f.WeightHeader, f.HashWeights = lower(c.WeightedClusters.GetHeaderName()), c.WeightedClusters.GetUseHashPolicy().GetValue()
		for i, w := range c.WeightedClusters.Clusters {
			out, err := d.weighted(w, c.WeightedClusters.RuntimeKeyPrefix)
			if err != nil {
				return at(err, "weighted_clusters.clusters[%d]", i)
			}
			total += uint64(out.Weight)
			f.Weighted = append(f.Weighted, out)
		}
		if t := c.WeightedClusters.TotalWeight; t != nil && uint64(t.Value) != total {
			return at(fmt.Errorf("is %d, the weights add up to %d", t.Value, total), "weighted_clusters.total_weight")
		}
		if total == 0 || total > 1<<32-1 {
			return at(fmt.Errorf("the weights add up to %d, want 1 to 2^32-1", total), "weighted_clusters")
		}
	default:
		return errors.New("no cluster: want cluster, cluster_header or weighted_clusters")
	}
	return nil
}

func (d *Decoder) weighted(m *routev3.WeightedCluster_ClusterWeight, prefix string) (route.WeightedCluster, error) {
	w := route.WeightedCluster{
		Cluster: m.Name, ClusterHeader: lower(m.ClusterHeader), Weight: m.GetWeight().GetValue(), HostRewrite: m.GetHostRewriteLiteral(),
	}
	if (w.Cluster == "") == (w.ClusterHeader == "") {
		return w, at(errors.New("want one of name and cluster_header"), "name")
	}
	if prefix != "" {
		w.Live = d.Runtime.Key(prefix + "." + m.Name)
	}
	var err error
	if w.Subset, err = labels(m.MetadataMatch, subsetMetadata); err != nil {
		return w, at(err, "metadata_match")
	}
	if w.RequestHeaders, w.ResponseHeaders, err = bothHeaderOps(m); err != nil {
		return w, err
	}
	w.FilterConfig, w.FilterOff, err = d.perFilter(m.TypedPerFilterConfig)
	return w, err
}

func hostRewrite(m *routev3.RouteAction) (route.HostRewrite, error) {
	h := route.HostRewrite{AppendForwardedHost: m.AppendXForwardedHost}
	switch s := m.HostRewriteSpecifier.(type) {
	case *routev3.RouteAction_HostRewriteLiteral:
		h.Literal = s.HostRewriteLiteral
	case *routev3.RouteAction_AutoHostRewrite:
		h.Auto = s.AutoHostRewrite.GetValue()
	case *routev3.RouteAction_HostRewriteHeader:
		h.Header = lower(s.HostRewriteHeader)
	case *routev3.RouteAction_HostRewritePathRegex:
		r, err := regexRewrite(s.HostRewritePathRegex)
		h.PathRegex = r
		return h, at(err, "host_rewrite_path_regex")
	}
	return h, nil
}

func hashPolicies(list []*routev3.RouteAction_HashPolicy) ([]route.HashPolicy, error) {
	var out []route.HashPolicy
	for i, m := range list {
		h := route.HashPolicy{Terminal: m.Terminal}
		switch p := m.PolicySpecifier.(type) {
		case *routev3.RouteAction_HashPolicy_Header_:
			h.Header = lower(p.Header.HeaderName)
			r, err := regexRewrite(p.Header.RegexRewrite)
			if err != nil {
				return nil, at(err, "hash_policy[%d].header.regex_rewrite", i)
			}
			h.Rewrite = r
		case *routev3.RouteAction_HashPolicy_Cookie_:
			h.Cookie = &route.HashCookie{Name: p.Cookie.Name, Path: p.Cookie.Path, TTL: durationPtr(p.Cookie.Ttl)}
			for _, a := range p.Cookie.Attributes {
				text := a.Name
				if a.Value != "" {
					text += "=" + a.Value
				}
				h.Cookie.Attributes = append(h.Cookie.Attributes, text)
			}
		case *routev3.RouteAction_HashPolicy_ConnectionProperties_:
			if !p.ConnectionProperties.SourceIp {
				return nil, at(errors.New("want source_ip"), "hash_policy[%d].connection_properties", i)
			}
			h.SourceIP = true
		case *routev3.RouteAction_HashPolicy_QueryParameter_:
			h.Query = p.QueryParameter.Name
		default:
			return nil, at(fmt.Errorf("%T is not supported", p), "hash_policy[%d]", i)
		}
		out = append(out, h)
	}
	return out, nil
}
