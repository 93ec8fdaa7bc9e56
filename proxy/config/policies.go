package config

import (
	"errors"
	"fmt"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	weightedv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3"
	providedv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/cluster_provided/v3"
	lbv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	leastv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	maglevv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	overridev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/override_host/v3"
	randomv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	ringv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	roundv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	subsetv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/subset/v3"
	localityv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/wrr_locality/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/http/match"
	"github.com/weftmesh/weft/proxy/route"
)

// supportedPolicies lists the supported fields of load-balancing extensions.
var supportedPolicies = strict.Table{
	"envoy.config.cluster.v3.LoadBalancingPolicy":        "policies",
	"envoy.config.cluster.v3.LoadBalancingPolicy.Policy": "typed_extension_config",

	"envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided": "",
	"envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin":           "slow_start_config locality_lb_config",
	"envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest": "choice_count active_request_bias slow_start_config " +
		"locality_lb_config enable_full_scan selection_method",
	"envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin": "enable_oob_load_report " +
		"oob_reporting_period blackout_period weight_expiration_period weight_update_period error_utilization_penalty " +
		"metric_names_for_computing_utilization slow_start_config oob_reporting_config",
	"envoy.extensions.load_balancing_policies.common.v3.OrcaOobReportingConfig": "port_value authority transport_socket_match_criteria~",
	"envoy.extensions.load_balancing_policies.random.v3.Random":                 "locality_lb_config",
	"envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash": "hash_function minimum_ring_size maximum_ring_size " +
		"use_hostname_for_hashing hash_balance_factor consistent_hashing_lb_config locality_weighted_lb_config",
	"envoy.extensions.load_balancing_policies.maglev.v3.Maglev": "table_size consistent_hashing_lb_config locality_weighted_lb_config",
	"envoy.extensions.load_balancing_policies.subset.v3.Subset": "fallback_policy default_subset subset_selectors locality_weight_aware " +
		"scale_locality_weight panic_mode_any list_as_any subset_lb_policy",
	"envoy.extensions.load_balancing_policies.subset.v3.Subset.LbSubsetSelector": "keys single_host_per_subset fallback_policy fallback_keys_subset",
	"envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality":       "endpoint_picking_policy",

	"envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig":                                  "zone_aware_lb_config locality_weighted_lb_config",
	"envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.ZoneAwareLbConfig":                "routing_enabled min_cluster_size fail_traffic_on_panic force_locality_direct_routing force_local_zone locality_basis",
	"envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.ZoneAwareLbConfig.ForceLocalZone": "min_size",
	"envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.LocalityWeightedLbConfig":         "",
	"envoy.extensions.load_balancing_policies.common.v3.SlowStartConfig":                                   "slow_start_window aggression min_weight_percent",
	"envoy.extensions.load_balancing_policies.common.v3.ConsistentHashingLbConfig":                         "use_hostname_for_hashing hash_balance_factor hash_policy",

	"envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost":                    "override_host_sources selected_host_key fallback_policy",
	"envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost.OverrideHostSource": "header metadata",
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
		{&overridev3.OverrideHost{}, func(m proto.Message) error { return overrideHost(m.(*overridev3.OverrideHost), lb) }},
		{&localityv3.WrrLocality{}, func(m proto.Message) error {
			if err := policies(m.(*localityv3.WrrLocality).EndpointPickingPolicy, lb); err != nil {
				return at(err, "endpoint_picking_policy")
			}
			lb.LocalityWeighted = true
			return nil
		}},
		{&weightedv3.ClientSideWeightedRoundRobin{}, func(m proto.Message) error { return loadWeights(m.(*weightedv3.ClientSideWeightedRoundRobin), lb) }},
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
	lb.Policy, lb.SlowStart = cluster.RoundRobin, slowStart(m.SlowStartConfig)
	return at(localityLB(m.LocalityLbConfig, lb), "locality_lb_config")
}

// loadWeights reads client-side weighted round robin, with Envoy's defaults.
func loadWeights(m *weightedv3.ClientSideWeightedRoundRobin, lb *cluster.LB) error {
	l := &cluster.LoadWeights{
		Blackout: durationOr(m.BlackoutPeriod, 10*time.Second), Expiration: durationOr(m.WeightExpirationPeriod, 3*time.Minute),
		Update: max(durationOr(m.WeightUpdatePeriod, time.Second), 100*time.Millisecond),
		// Without one there is none, whatever the API's comment says.
		Penalty: float64(m.GetErrorUtilizationPenalty().GetValue()), Metrics: m.MetricNamesForComputingUtilization,
	}
	if m.EnableOobLoadReport.GetValue() {
		o := m.OobReportingConfig
		l.OutOfBand = &cluster.OutOfBand{
			Interval: durationOr(m.OobReportingPeriod, 10*time.Second), Port: uint16(o.GetPortValue()), Authority: o.GetAuthority(),
		}
		if o.GetPortValue() > 65535 {
			return at(fmt.Errorf("%d is not a port", o.GetPortValue()), "oob_reporting_config.port_value")
		}
		if c := o.GetTransportSocketMatchCriteria(); c != nil {
			var err error
			if l.OutOfBand.TransportLabels, err = labels(&corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"": c}}, ""); err != nil {
				return at(err, "oob_reporting_config.transport_socket_match_criteria")
			}
		}
	}
	lb.Policy, lb.Load, lb.SlowStart = cluster.RoundRobin, l, slowStart(m.SlowStartConfig)
	return nil
}

// durationOr is a duration or a default.
func durationOr(d *durationpb.Duration, def time.Duration) time.Duration {
	if d == nil {
		return def
	}
	return d.AsDuration()
}

func leastRequest(m *leastv3.LeastRequest, lb *cluster.LB) error {
	lb.Policy, lb.SlowStart = cluster.LeastRequest, slowStart(m.SlowStartConfig)
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
	return consistent(m.ConsistentHashingLbConfig, lb)
}

func maglev(m *maglevv3.Maglev, lb *cluster.LB) error {
	lb.Policy, lb.TableSize = cluster.Maglev, m.TableSize.GetValue()
	lb.LocalityWeighted = m.LocalityWeightedLbConfig != nil
	return consistent(m.ConsistentHashingLbConfig, lb)
}

func consistent(m *lbv3.ConsistentHashingLbConfig, lb *cluster.LB) error {
	if m == nil {
		return nil
	}
	lb.HashHostname, lb.BalanceFactor = m.UseHostnameForHashing, m.HashBalanceFactor.GetValue()
	return at(ownHash(m.HashPolicy, lb), "consistent_hashing_lb_config")
}

// ownHash reads what a cluster hashes by, whatever the routes say.
func ownHash(list []*routev3.RouteAction_HashPolicy, lb *cluster.LB) error {
	if len(list) == 0 {
		return nil
	}
	policies, err := hashPolicies(list)
	if err != nil {
		return err
	}
	h, err := route.NewHasher(policies)
	if err != nil {
		return at(err, "hash_policy")
	}
	lb.Hash = h.Hash
	return nil
}

// overrideHost reads where requests may name hosts.
func overrideHost(m *overridev3.OverrideHost, lb *cluster.LB) error {
	if err := policies(m.FallbackPolicy, lb); err != nil {
		return at(err, "fallback_policy")
	}
	if lb.Override != nil {
		return at(errors.New("override_host inside of override_host is not supported"), "fallback_policy")
	}
	for i, s := range m.OverrideHostSources {
		switch {
		case (s.Header == "") == (s.Metadata == nil):
			return at(errors.New("want one of header and metadata"), "override_host_sources[%d]", i)
		case s.Metadata != nil:
			lb.Override = append(lb.Override, cluster.OverrideSource{Metadata: match.MetadataPath(s.Metadata)})
		default:
			lb.Override = append(lb.Override, cluster.OverrideSource{Header: lower(s.Header)})
		}
	}
	if m.SelectedHostKey != nil {
		if lb.OverrideKey = match.MetadataPath(m.SelectedHostKey); len(lb.OverrideKey) < 2 {
			return at(errors.New("wants a path"), "selected_host_key")
		}
	}
	return nil
}

func localityLB(m *lbv3.LocalityLbConfig, lb *cluster.LB) error {
	switch c := m.GetLocalityConfigSpecifier().(type) {
	case nil:
	case *lbv3.LocalityLbConfig_ZoneAwareLbConfig_:
		z := c.ZoneAwareLbConfig
		lb.FailOnPanic = z.FailTrafficOnPanic
		lb.Zone = zone(z.RoutingEnabled, z.MinClusterSize)
		switch {
		case z.ForceLocalZone != nil:
			lb.Zone.ForceMin = or(z.ForceLocalZone.MinSize, 1)
		case z.ForceLocalityDirectRouting: //nolint:staticcheck // deprecated, but it counts
			lb.Zone.ForceMin = 1
		}
		lb.Zone.ByWeight = z.LocalityBasis == lbv3.LocalityLbConfig_ZoneAwareLbConfig_HEALTHY_HOSTS_WEIGHT
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
	var err error
	lb.Subsets, err = subsets(m, m.FallbackPolicy.String(), m.SubsetSelectors,
		func(s *subsetv3.Subset_LbSubsetSelector) string { return s.FallbackPolicy.String() })
	return err
}
