package config

import (
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/proxy/cluster"
)

const (
	dnsType     = `cluster_type: {name: d, typed_config: {"@type": type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster`
	forwardType = `lb_policy: CLUSTER_PROVIDED, cluster_type: {name: d, typed_config: {"@type": type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig`
	oneName     = `load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: a.b, port_value: 1}}}}]}]}`
)

func decode(t *testing.T, yaml string) (*cluster.Spec, error) {
	t.Helper()
	m := &clusterv3.Cluster{}
	fromYAML(t, "{name: c, connect_timeout: 1s, "+yaml+"}", m)
	if err := check(m); err != nil {
		return nil, err
	}
	c, err := newDecoder().decodeCluster(m)
	if err != nil {
		return nil, err
	}
	return c.spec, nil
}

func TestClusterTypes(t *testing.T) {
	s, err := decode(t, dnsType+", dns_refresh_rate: 7s, dns_jitter: 1s, dns_lookup_family: V4_ONLY, all_addresses_in_single_endpoint: true}}, "+oneName)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(cluster.DNS{Refresh: 7 * time.Second, Jitter: time.Second, Family: cluster.FamilyV4}, s.DNS); diff != "" || s.Type != cluster.LogicalDNS {
		t.Errorf("type %d, %s", s.Type, diff)
	}
	if s, err = decode(t, dnsType+"}}, "+oneName); err != nil || s.Type != cluster.StrictDNS || s.Endpoints.Localities[0].Endpoints[0].Name != "a.b" {
		t.Errorf("%+v, %v", s, err)
	}
	s, err = decode(t, forwardType+", dns_cache_config: {name: nn, max_hosts: 7, host_ttl: 9s, preresolve_hostnames: [{address: A.b, port_value: 1}]}}}")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&cluster.DNSCacheSpec{Name: "nn", MaxHosts: 7, HostTTL: 9 * time.Second, Ahead: []string{"a.b"}}, s.Cache); diff != "" || !s.HTTP.AutoSNI || !s.HTTP.AutoSAN {
		t.Errorf("%+v: %s", s.HTTP, diff)
	}
	for name, c := range map[string]struct{ yaml, want string }{
		"endpoints":    {forwardType + ", dns_cache_config: {name: nn}}}, " + oneName, "load_assignment: this type of cluster has none"},
		"policy":       {strings.Replace(forwardType, "CLUSTER_PROVIDED", "RANDOM", 1) + ", dns_cache_config: {name: nn}}}", "lb_policy: CLUSTER_PROVIDED"},
		"sub clusters": {forwardType + ", sub_clusters_config: {}}}", "sub_clusters_config: not supported"},
		"half checked": {
			forwardType + `, dns_cache_config: {name: nn}}}, typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type":
				type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {}}, upstream_http_protocol_options: {auto_sni: true}}}`,
			"needs both auto_sni and auto_san_validation",
		},
		"resolver": {dnsType + `, typed_dns_resolver_config: {name: x, typed_config: {"@type": type.googleapis.com/google.protobuf.Duration, value: 1s}}}}, ` + oneName, "typed_dns_resolver_config: not supported"},
	} {
		if _, err := decode(t, c.yaml); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}
