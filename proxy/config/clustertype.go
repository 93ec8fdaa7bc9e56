package config

import (
	"errors"
	"fmt"

	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	forwardv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dynamic_forward_proxy/v3"
	redisclusterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/redis/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/http/forward"
)

// supportedTypes lists the supported fields of clusters that are extensions.
var supportedTypes = strict.Table{
	"envoy.extensions.clusters.aggregate.v3.ClusterConfig":             "clusters",
	"envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig": "dns_cache_config allow_insecure_cluster_options",
	"envoy.extensions.clusters.dns.v3.DnsCluster": "dns_refresh_rate dns_failure_refresh_rate respect_dns_ttl dns_jitter dns_lookup_family " +
		"all_addresses_in_single_endpoint",
	"envoy.extensions.clusters.dns.v3.DnsCluster.RefreshRate": "base_interval max_interval",
}

// clusterType reads a cluster whose type is an extension.
func (d *Decoder) clusterType(a *anypb.Any, c *clusterConfig) error {
	switch {
	case a == nil:
		return errors.New("is missing")
	case a.MessageIs(&aggregatev3.ClusterConfig{}):
		m := &aggregatev3.ClusterConfig{}
		if err := unpack(a, m); err != nil {
			return err
		}
		c.spec.Type, c.spec.Clusters = cluster.Aggregate, m.Clusters
		return nil
	case a.MessageIs(&forwardv3.ClusterConfig{}):
		m := &forwardv3.ClusterConfig{}
		if err := unpack(a, m); err != nil {
			return err
		}
		c.spec.Type, c.insecure = cluster.DynamicForward, m.AllowInsecureClusterOptions
		var err error
		c.spec.Cache, err = forward.Cache(m.GetDnsCacheConfig())
		return at(err, "dns_cache_config")
	case a.MessageIs(&redisclusterv3.RedisClusterConfig{}):
		m := &redisclusterv3.RedisClusterConfig{}
		if err := unpack(a, m); err != nil {
			return err
		}
		redisCluster(m, c.spec)
		return nil
	case a.MessageIs(&dnsv3.DnsCluster{}):
		m := &dnsv3.DnsCluster{}
		if err := unpack(a, m); err != nil {
			return err
		}
		dnsCluster(m, c.spec)
		return nil
	default:
		return fmt.Errorf("%s is not supported", a.TypeUrl)
	}
}

// dnsCluster reads the form of DNS clusters that is an extension.
func dnsCluster(m *dnsv3.DnsCluster, s *cluster.Spec) {
	s.Type = cluster.StrictDNS
	if m.AllAddressesInSingleEndpoint {
		s.Type = cluster.LogicalDNS
	}
	s.DNS = dns(m, m.DnsFailureRefreshRate, m.DnsLookupFamily.String())
}

// dnsForm is either message with options of DNS, rateForm either of refresh rates.
type (
	dnsForm interface {
		GetDnsRefreshRate() *durationpb.Duration
		GetRespectDnsTtl() bool
		GetDnsJitter() *durationpb.Duration
	}
	rateForm interface {
		GetBaseInterval() *durationpb.Duration
		GetMaxInterval() *durationpb.Duration
	}
)

// dns reads the options of DNS in either form.
func dns(m dnsForm, failure rateForm, family string) cluster.DNS {
	return cluster.DNS{
		Refresh: duration(m.GetDnsRefreshRate()), RespectTTL: m.GetRespectDnsTtl(), Jitter: duration(m.GetDnsJitter()),
		FailureBase: duration(failure.GetBaseInterval()), FailureMax: duration(failure.GetMaxInterval()), Family: cluster.FamilyOf(family),
	}
}

// checkForward makes certificates be checked for the host that a request names:
// anything else would trust any of them for all.
func checkForward(c *clusterConfig) error {
	h := &c.spec.HTTP
	if c.spec.Type != cluster.DynamicForward || c.insecure {
		return nil
	}
	if h.AutoSNI != h.AutoSAN {
		return errors.New("a dynamic forward proxy cluster needs both auto_sni and auto_san_validation, unless allow_insecure_cluster_options is set")
	}
	h.AutoSNI, h.AutoSAN = true, true
	return nil
}
