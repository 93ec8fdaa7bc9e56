package config

import (
	"errors"
	"fmt"
	"math"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/proxy/cluster"
)

// loadBalancing reads lb_policy with its fields, or load_balancing_policy.
func loadBalancing(m *clusterv3.Cluster, s *cluster.Spec) error {
	s.LB.PanicPercent = 50
	if c := m.CommonLbConfig; c != nil {
		if c.HealthyPanicThreshold != nil {
			s.LB.PanicPercent = c.HealthyPanicThreshold.Value
		}
		s.IgnoreNewHosts, s.CloseOnChange = c.IgnoreNewHostsUntilFirstHc, c.CloseConnectionsOnHostSetChange
		s.MergeWindow = duration(c.UpdateMergeWindow)
	}
	if p := m.LoadBalancingPolicy; p != nil {
		if err := policies(p, &s.LB); err != nil {
			return at(err, "load_balancing_policy")
		}
		return at(providedFits(s), "load_balancing_policy")
	}
	if err := oldPolicy(m, &s.LB); err != nil {
		return err
	}
	if err := providedFits(s); err != nil {
		return at(err, "lb_policy")
	}
	if m.LbSubsetConfig == nil {
		return nil
	}
	var err error
	s.LB.Subsets, err = subsets(m.LbSubsetConfig, m.LbSubsetConfig.FallbackPolicy.String(), m.LbSubsetConfig.SubsetSelectors,
		func(s *clusterv3.Cluster_LbSubsetConfig_LbSubsetSelector) string { return s.FallbackPolicy.String() })
	return at(err, "lb_subset_config")
}

// providedFits checks that clusters that choose their hosts themselves, and only they, say so.
func providedFits(s *cluster.Spec) error {
	if (s.LB.Policy == cluster.Provided) != s.Type.Provides() {
		return errors.New("CLUSTER_PROVIDED goes with ORIGINAL_DST, aggregate, dynamic forward proxy and Redis clusters, and with nothing else")
	}
	return nil
}

func oldPolicy(m *clusterv3.Cluster, lb *cluster.LB) error {
	switch m.LbPolicy {
	case clusterv3.Cluster_ROUND_ROBIN:
		lb.Policy = cluster.RoundRobin
	case clusterv3.Cluster_LEAST_REQUEST:
		lb.Policy = cluster.LeastRequest
	case clusterv3.Cluster_RANDOM:
		lb.Policy = cluster.Random
	case clusterv3.Cluster_RING_HASH:
		lb.Policy = cluster.RingHash
	case clusterv3.Cluster_MAGLEV:
		lb.Policy = cluster.Maglev
	case clusterv3.Cluster_CLUSTER_PROVIDED:
		lb.Policy = cluster.Provided
	default:
		return at(fmt.Errorf("%v is not supported", m.LbPolicy), "lb_policy")
	}
	switch c := m.LbConfig.(type) {
	case *clusterv3.Cluster_RingHashLbConfig_:
		r := c.RingHashLbConfig
		lb.MinRing, lb.MaxRing = r.MinimumRingSize.GetValue(), r.MaximumRingSize.GetValue()
		lb.Murmur = r.HashFunction == clusterv3.Cluster_RingHashLbConfig_MURMUR_HASH_2
	case *clusterv3.Cluster_MaglevLbConfig_:
		lb.TableSize = c.MaglevLbConfig.TableSize.GetValue()
	case *clusterv3.Cluster_LeastRequestLbConfig_:
		r := c.LeastRequestLbConfig
		lb.Choices, lb.SlowStart = r.ChoiceCount.GetValue(), slowStart(r.SlowStartConfig)
		lb.Bias = bias(r.ActiveRequestBias)
	case *clusterv3.Cluster_RoundRobinLbConfig_:
		lb.SlowStart = slowStart(c.RoundRobinLbConfig.SlowStartConfig)
	}
	c := m.CommonLbConfig
	if z := c.GetZoneAwareLbConfig(); z != nil {
		lb.FailOnPanic = z.FailTrafficOnPanic
		lb.Zone = zone(z.RoutingEnabled, z.MinClusterSize)
	}
	lb.LocalityWeighted = c.GetLocalityWeightedLbConfig() != nil
	lb.HashHostname = c.GetConsistentHashingLbConfig().GetUseHostnameForHashing()
	lb.BalanceFactor = c.GetConsistentHashingLbConfig().GetHashBalanceFactor().GetValue()
	return nil
}

// zone is what both forms of zone-aware routing have alike, with Envoy's defaults.
func zone(enabled *typev3.Percent, least *wrapperspb.UInt64Value) *cluster.Zone {
	z := &cluster.Zone{Percent: 100, MinHosts: 6}
	if enabled != nil {
		z.Percent = uint32(math.Round(enabled.Value))
	}
	if least != nil {
		z.MinHosts = least.Value
	}
	return z
}

// bias uses the default value: there is no runtime to override it.
func bias(m *corev3.RuntimeDouble) *float64 {
	if m == nil {
		return nil
	}
	return &m.DefaultValue
}

// slowStartForm is either message of slow start.
type slowStartForm interface {
	comparable
	GetSlowStartWindow() *durationpb.Duration
	GetAggression() *corev3.RuntimeDouble
	GetMinWeightPercent() *typev3.Percent
}

func slowStart[M slowStartForm](m M) *cluster.SlowStart {
	var none M
	if m == none {
		return nil
	}
	return &cluster.SlowStart{
		Window: duration(m.GetSlowStartWindow()), Aggression: m.GetAggression().GetDefaultValue(), MinPercent: m.GetMinWeightPercent().GetValue(),
	}
}

// fallbacks of subset selectors, by the API's names; the first is none of its own.
var fallbacks = map[string]cluster.Fallback{
	"NO_FALLBACK": cluster.NoFallback, "ANY_ENDPOINT": cluster.AnyEndpoint, "DEFAULT_SUBSET": cluster.DefaultSubset, "KEYS_SUBSET": cluster.KeysSubset,
}

// subsetForm is either message of subsets, selectorForm either of their selectors.
type (
	subsetForm interface {
		GetDefaultSubset() *structpb.Struct
		GetLocalityWeightAware() bool
		GetScaleLocalityWeight() bool
		GetPanicModeAny() bool
		GetListAsAny() bool
	}
	selectorForm interface {
		GetKeys() []string
		GetSingleHostPerSubset() bool
		GetFallbackKeysSubset() []string
	}
)

// subsets reads subsets in either form; policy and policyOf are the names of fallbacks. It is nil
// where there are no selectors.
func subsets[S selectorForm](m subsetForm, policy string, selectors []S, policyOf func(S) string) (*cluster.Subsets, error) {
	if len(selectors) == 0 {
		return nil, nil
	}
	s := &cluster.Subsets{
		PanicAny: m.GetPanicModeAny(), ListAsAny: m.GetListAsAny(),
		LocalityAware: m.GetLocalityWeightAware(), ScaleLocality: m.GetScaleLocalityWeight(),
		Fallback: fallbacks[policy],
	}
	var err error
	if s.Default, err = labels(&corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"": m.GetDefaultSubset()}}, ""); err != nil {
		return nil, at(err, "default_subset")
	}
	for _, m := range selectors {
		sel := cluster.Selector{Names: m.GetKeys(), Single: m.GetSingleHostPerSubset(), Keep: m.GetFallbackKeysSubset()}
		if f, ok := fallbacks[policyOf(m)]; ok {
			sel.Fallback = &f
		}
		s.Selectors = append(s.Selectors, sel)
	}
	return s, nil
}
