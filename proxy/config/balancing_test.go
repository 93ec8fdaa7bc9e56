package config

import (
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/proxy/cluster"
)

// ext is a load_balancing_policy with one extension.
func ext(name, fields string) string {
	return `load_balancing_policy: ` + policyOf(name, fields)
}

func policyOf(name, fields string) string {
	dir := map[string]string{"RoundRobin": "round_robin", "LeastRequest": "least_request", "RingHash": "ring_hash", "WrrLocality": "wrr_locality", "OverrideHost": "override_host", "ClientSideWeightedRoundRobin": "client_side_weighted_round_robin"}[name]
	if dir == "" {
		dir = strings.ToLower(name)
	}
	return `{policies: [{typed_extension_config: {name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.load_balancing_policies.` +
		dir + ".v3." + name + fields + "}}}]}"
}

func TestLoadBalancing(t *testing.T) {
	bias, keys := 0.5, cluster.KeysSubset
	for _, c := range []struct {
		name, yaml string
		want       cluster.LB
	}{
		{"enum", "lb_policy: LEAST_REQUEST, least_request_lb_config: {choice_count: 3, active_request_bias: {default_value: 0.5, runtime_key: x}}",
			cluster.LB{Policy: cluster.LeastRequest, Choices: 3, Bias: &bias}},
		{"enum ring", "lb_policy: RING_HASH, ring_hash_lb_config: {hash_function: MURMUR_HASH_2}, common_lb_config: {consistent_hashing_lb_config: {hash_balance_factor: 120}}",
			cluster.LB{Policy: cluster.RingHash, Murmur: true, BalanceFactor: 120}},
		{"enum subsets", `lb_policy: RANDOM, lb_subset_config: {fallback_policy: ANY_ENDPOINT, list_as_any: true, locality_weight_aware: true, scale_locality_weight: true,
			subset_selectors: [{keys: [a, b], fallback_policy: KEYS_SUBSET, fallback_keys_subset: [a]}, {keys: [c], single_host_per_subset: true}]}`,
			cluster.LB{Policy: cluster.Random, Subsets: &cluster.Subsets{
				Fallback: cluster.AnyEndpoint, ListAsAny: true, LocalityAware: true, ScaleLocality: true,
				Selectors: []cluster.Selector{{Names: []string{"a", "b"}, Fallback: &keys, Keep: []string{"a"}}, {Names: []string{"c"}, Single: true}},
			}}},
		{"round robin", ext("RoundRobin", ", slow_start_config: {slow_start_window: 3s, min_weight_percent: {value: 20}}, locality_lb_config: {locality_weighted_lb_config: {}}"),
			cluster.LB{LocalityWeighted: true, SlowStart: &cluster.SlowStart{Window: 3 * time.Second, MinPercent: 20}}},
		{"zones", "common_lb_config: {zone_aware_lb_config: {routing_enabled: {value: 12.6}, min_cluster_size: 3}}",
			cluster.LB{Zone: &cluster.Zone{Percent: 13, MinHosts: 3}}},
		{"zones, by weight", ext("Random", ", locality_lb_config: {zone_aware_lb_config: {force_local_zone: {min_size: 4}, locality_basis: HEALTHY_HOSTS_WEIGHT}}"),
			cluster.LB{Policy: cluster.Random, Zone: &cluster.Zone{Percent: 100, MinHosts: 6, ForceMin: 4, ByWeight: true}}},
		{"reported load", ext("ClientSideWeightedRoundRobin", ", enable_oob_load_report: true, weight_update_period: 0.01s, oob_reporting_config: {port_value: 7}, metric_names_for_computing_utilization: [eps]"),
			cluster.LB{Load: &cluster.LoadWeights{
				Blackout: 10 * time.Second, Expiration: 3 * time.Minute, Update: 100 * time.Millisecond, Metrics: []string{"eps"},
				OutOfBand: &cluster.OutOfBand{Interval: 10 * time.Second, Port: 7},
			}}},
		{"least request", ext("LeastRequest", ", selection_method: FULL_SCAN, locality_lb_config: {zone_aware_lb_config: {fail_traffic_on_panic: true}}"),
			cluster.LB{Policy: cluster.LeastRequest, FullScan: true, FailOnPanic: true, Zone: &cluster.Zone{Percent: 100, MinHosts: 6}}},
		{"random", ext("Random", ""), cluster.LB{Policy: cluster.Random}},
		{"ring", ext("RingHash", ", minimum_ring_size: 10, consistent_hashing_lb_config: {use_hostname_for_hashing: true, hash_balance_factor: 150}"),
			cluster.LB{Policy: cluster.RingHash, MinRing: 10, HashHostname: true, BalanceFactor: 150}},
		{"maglev", ext("Maglev", ", table_size: 251, locality_weighted_lb_config: {}"), cluster.LB{Policy: cluster.Maglev, TableSize: 251, LocalityWeighted: true}},
		{"localities", ext("WrrLocality", ", endpoint_picking_policy: "+policyOf("Random", "")), cluster.LB{Policy: cluster.Random, LocalityWeighted: true}},
		{"override", ext("OverrideHost", ", override_host_sources: [{header: X-To}, {metadata: {key: ns, path: [{key: k}]}}], selected_host_key: {key: a, path: [{key: b}]}, fallback_policy: "+policyOf("Random", "")),
			cluster.LB{
				Policy: cluster.Random, Override: []cluster.OverrideSource{{Header: "x-to"}, {Metadata: []string{"ns", "k"}}}, OverrideKey: []string{"a", "b"},
			}},
		{"subset", ext("Subset", ", fallback_policy: DEFAULT_SUBSET, default_subset: {v: '1'}, subset_selectors: [{keys: [v]}], subset_lb_policy: "+policyOf("Random", "")),
			cluster.LB{Policy: cluster.Random, Subsets: &cluster.Subsets{
				Fallback: cluster.DefaultSubset, Default: map[string]string{"v": "1"}, Selectors: []cluster.Selector{{Names: []string{"v"}}},
			}}},
	} {
		m := &clusterv3.Cluster{}
		fromYAML(t, "{name: c, connect_timeout: 1s, type: STATIC, "+c.yaml+"}", m)
		if err := check(m); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		got, err := newDecoder().decodeCluster(m)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		c.want.PanicPercent = 50
		if diff := cmp.Diff(c.want, got.spec.LB); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestRefusedBalancing(t *testing.T) {
	for _, c := range []struct{ name, yaml, want string }{
		{"no policy of ours", `load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {"@type": type.googleapis.com/envoy.config.core.v3.Pipe, path: x}}}]}`,
			"typed_config: type.googleapis.com/envoy.config.core.v3.Pipe is not supported"},
		{"hash policy", ext("Maglev", ", consistent_hashing_lb_config: {hash_policy: [{filter_state: {key: x}}]}"), "consistent_hashing_lb_config.hash_policy[0].filter_state: not supported"},
		{"no source of hosts", ext("OverrideHost", ", override_host_sources: [{}], fallback_policy: "+policyOf("Random", "")), "override_host_sources[0]: want one of header and metadata"},
		{"hosts named twice", ext("OverrideHost", ", override_host_sources: [{header: x}], fallback_policy: "+
			policyOf("OverrideHost", ", override_host_sources: [{header: x}], fallback_policy: "+policyOf("Random", ""))), "override_host inside of override_host"},
		{"subsets twice", ext("Subset", ", subset_selectors: [{keys: [v]}], subset_lb_policy: "+
			policyOf("Subset", ", subset_selectors: [{keys: [v]}], subset_lb_policy: "+policyOf("Random", ""))), "subsets inside of subsets"},
		{"metadata fallback", "lb_subset_config: {metadata_fallback_policy: FALLBACK_LIST}", "lb_subset_config.metadata_fallback_policy: not supported"},
		{"no policy", "load_balancing_policy: {}", "load_balancing_policy.policies: is empty"},
	} {
		m := &clusterv3.Cluster{}
		fromYAML(t, "{name: c, connect_timeout: 1s, type: STATIC, "+c.yaml+"}", m)
		err := check(m)
		if err == nil {
			_, err = newDecoder().decodeCluster(m)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}
