package config

import (
	"errors"
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	providedv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/cluster_provided/v3"
	lbv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	leastv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	maglevv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	randomv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	ringv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	roundv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	subsetv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/subset/v3"
	localityv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/wrr_locality/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/cluster"
)

// supportedPolicies lists the supported fields of load-balancing extensions.
var supportedPolicies = strict.Table{
	"envoy.config.cluster.v3.LoadBalancingPolicy":        "policies",
	"envoy.config.cluster.v3.LoadBalancingPolicy.Policy": "typed_extension_config",

	"envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided": "",
	"envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin":           "slow_start_config locality_lb_config",
	"envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest": "choice_count active_request_bias slow_start_config " +
		"locality_lb_config enable_full_scan selection_method",
	"envoy.extensions.load_balancing_policies.random.v3.Random": "locality_lb_config",
	"envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash": "hash_function minimum_ring_size maximum_ring_size " +
		"use_hostname_for_hashing hash_balance_factor consistent_hashing_lb_config locality_weighted_lb_config",
	"envoy.extensions.load_balancing_policies.maglev.v3.Maglev": "table_size consistent_hashing_lb_config locality_weighted_lb_config",
	"envoy.extensions.load_balancing_policies.subset.v3.Subset": "fallback_policy default_subset subset_selectors locality_weight_aware " +
		"scale_locality_weight panic_mode_any list_as_any subset_lb_policy",
	"envoy.extensions.load_balancing_policies.subset.v3.Subset.LbSubsetSelector": "keys single_host_per_subset fallback_policy fallback_keys_subset",
	"envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality":       "endpoint_picking_policy",

	"envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig":                          "zone_aware_lb_config locality_weighted_lb_config",
	"envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.ZoneAwareLbConfig":        "fail_traffic_on_panic",
	"envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.LocalityWeightedLbConfig": "",
	"envoy.extensions.load_balancing_policies.common.v3.SlowStartConfig":                           "slow_start_window aggression min_weight_percent",
	"envoy.extensions.load_balancing_policies.common.v3.ConsistentHashingLbConfig":                 "use_hostname_for_hashing hash_balance_factor",
}

// policies reads the first policy of a list; Envoy takes the first that it
// knows, and all that it knows and that are not known here are refused before.
func policies(m *clusterv3.LoadBalancingPolicy, lb *cluster.LB) error {
	if len(m.GetPolicies()) == 0 {
		return at(errors.New("is empty"), "policies")
	}
	return at(policy(m.Policies[0].GetTypedExtensionConfig().GetTypedConfig(), lb), "policies[0].typed_extension_config.typed_config")
}

func policy(a *anypb.Any, lb *cluster.LB) error {
	for _, p := range []struct {
		m    proto.Message
		read func(proto.Message) error
	}{
		{&roundv3.RoundRobin{}, func(m proto.Message) error { return roundRobin(m.(*roundv3.RoundRobin), lb) }},
		{&leastv3.LeastRequest{}, func(m proto.Message) error { return leastRequest(m.(*leastv3.LeastRequest), lb) }},
		{&randomv3.Random{}, func(m proto.Message) error {
			lb.Policy = cluster.Random
			return at(localityLB(m.(*randomv3.Random).LocalityLbConfig, lb), "locality_lb_config")
		}},
		{&ringv3.RingHash{}, func(m proto.Message) error { return ringHash(m.(*ringv3.RingHash), lb) }},
		{&maglevv3.Maglev{}, func(m proto.Message) error { return maglev(m.(*maglevv3.Maglev), lb) }},
		{&subsetv3.Subset{}, func(m proto.Message) error { return subsetPolicy(m.(*subsetv3.Subset), lb) }},
		{&localityv3.WrrLocality{}, func(m proto.Message) error {
			if err := policies(m.(*localityv3.WrrLocality).EndpointPickingPolicy, lb); err != nil {
				return at(err, "endpoint_picking_policy")
			}
			lb.LocalityWeighted = true
			return nil
		}},
		{&providedv3.ClusterProvided{}, func(proto.Message) error { lb.Policy = cluster.Provided; return nil }},
	} {
		if a.MessageIs(p.m) {
			if err := openExtension(a, p.m); err != nil {
				return err
			}
			return p.read(p.m)
		}
	}
	return fmt.Errorf("%s is not supported", a.GetTypeUrl())
}

// openExtension reads an extension into which the check of the message around it
// does not look.
func openExtension(a *anypb.Any, m proto.Message) error {
	if err := a.UnmarshalTo(m); err != nil {
		return err
	}
	return check(m)
}

func roundRobin(m *roundv3.RoundRobin, lb *cluster.LB) error {
	lb.Policy, lb.SlowStart = cluster.RoundRobin, slowStartPolicy(m.SlowStartConfig)
	return at(localityLB(m.LocalityLbConfig, lb), "locality_lb_config")
}

func leastRequest(m *leastv3.LeastRequest, lb *cluster.LB) error {
	lb.Policy, lb.SlowStart = cluster.LeastRequest, slowStartPolicy(m.SlowStartConfig)
	lb.Choices, lb.Bias = m.ChoiceCount.GetValue(), bias(m.ActiveRequestBias)
	lb.FullScan = m.SelectionMethod == leastv3.LeastRequest_FULL_SCAN || m.GetEnableFullScan().GetValue() //nolint:staticcheck // deprecated
	return at(localityLB(m.LocalityLbConfig, lb), "locality_lb_config")
}

func ringHash(m *ringv3.RingHash, lb *cluster.LB) error {
	lb.Policy = cluster.RingHash
	lb.MinRing, lb.MaxRing = m.MinimumRingSize.GetValue(), m.MaximumRingSize.GetValue()
	lb.Murmur = m.HashFunction == ringv3.RingHash_MURMUR_HASH_2
	lb.HashHostname = m.UseHostnameForHashing              //nolint:staticcheck // deprecated, but it counts
	lb.BalanceFactor = m.GetHashBalanceFactor().GetValue() //nolint:staticcheck // as above
	lb.LocalityWeighted = m.LocalityWeightedLbConfig != nil
	consistent(m.ConsistentHashingLbConfig, lb)
	return nil
}

func maglev(m *maglevv3.Maglev, lb *cluster.LB) error {
	lb.Policy, lb.TableSize = cluster.Maglev, m.TableSize.GetValue()
	lb.LocalityWeighted = m.LocalityWeightedLbConfig != nil
	consistent(m.ConsistentHashingLbConfig, lb)
	return nil
}

func consistent(m *lbv3.ConsistentHashingLbConfig, lb *cluster.LB) {
	if m != nil {
		lb.HashHostname, lb.BalanceFactor = m.UseHostnameForHashing, m.HashBalanceFactor.GetValue()
	}
}

func slowStartPolicy(m *lbv3.SlowStartConfig) *cluster.SlowStart {
	if m == nil {
		return nil
	}
	return &cluster.SlowStart{
		Window: duration(m.SlowStartWindow), Aggression: m.Aggression.GetDefaultValue(), MinPercent: m.MinWeightPercent.GetValue(),
	}
}

func localityLB(m *lbv3.LocalityLbConfig, lb *cluster.LB) error {
	switch c := m.GetLocalityConfigSpecifier().(type) {
	case nil:
	case *lbv3.LocalityLbConfig_ZoneAwareLbConfig_:
		lb.FailOnPanic = c.ZoneAwareLbConfig.FailTrafficOnPanic
	case *lbv3.LocalityLbConfig_LocalityWeightedLbConfig_:
		lb.LocalityWeighted = true
	default:
		return fmt.Errorf("%T is not supported", c)
	}
	return nil
}

func subsetPolicy(m *subsetv3.Subset, lb *cluster.LB) error {
	if err := policies(m.SubsetLbPolicy, lb); err != nil {
		return at(err, "subset_lb_policy")
	}
	if lb.Subsets != nil {
		return at(errors.New("subsets inside of subsets are not supported"), "subset_lb_policy")
	}
	if len(m.SubsetSelectors) == 0 {
		return nil
	}
	s := &cluster.Subsets{
		PanicAny: m.PanicModeAny, ListAsAny: m.ListAsAny,
		LocalityAware: m.LocalityWeightAware, ScaleLocality: m.ScaleLocalityWeight,
	}
	if err := subsetFallback(int32(m.FallbackPolicy), m.DefaultSubset, s); err != nil {
		return err
	}
	for _, sel := range m.SubsetSelectors {
		s.Selectors = append(s.Selectors, selector(sel.Keys, sel.SingleHostPerSubset, int32(sel.FallbackPolicy), sel.FallbackKeysSubset))
	}
	lb.Subsets = s
	return nil
}
