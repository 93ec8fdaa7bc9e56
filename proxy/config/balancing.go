package config

import (
	"errors"
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

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
	return at(subsets(m.LbSubsetConfig, &s.LB), "lb_subset_config")
}

// providedFits checks that clusters that choose their hosts themselves, and only they, say so.
func providedFits(s *cluster.Spec) error {
	if (s.LB.Policy == cluster.Provided) != s.Type.Provides() {
		return errors.New("CLUSTER_PROVIDED goes with ORIGINAL_DST, aggregate and dynamic forward proxy clusters, and with nothing else")
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
	}
	lb.LocalityWeighted = c.GetLocalityWeightedLbConfig() != nil
	lb.HashHostname = c.GetConsistentHashingLbConfig().GetUseHostnameForHashing()
	lb.BalanceFactor = c.GetConsistentHashingLbConfig().GetHashBalanceFactor().GetValue()
	return nil
}

// bias uses the default value: there is no runtime to override it.
func bias(m *corev3.RuntimeDouble) *float64 {
	if m == nil {
		return nil
	}
	return &m.DefaultValue
}

func slowStart(m *clusterv3.Cluster_SlowStartConfig) *cluster.SlowStart {
	if m == nil {
		return nil
	}
	return &cluster.SlowStart{
		Window: duration(m.SlowStartWindow), Aggression: m.Aggression.GetDefaultValue(), MinPercent: m.MinWeightPercent.GetValue(),
	}
}

// fallbacks of subset selectors, in the API's order; the first is none of its own.
var fallbacks = map[int32]cluster.Fallback{1: cluster.NoFallback, 2: cluster.AnyEndpoint, 3: cluster.DefaultSubset, 4: cluster.KeysSubset}

func subsets(m *clusterv3.Cluster_LbSubsetConfig, lb *cluster.LB) error {
	if m == nil || len(m.SubsetSelectors) == 0 {
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

// subsetFallback reads what both forms of subsets have alike.
func subsetFallback(policy int32, byDefault *structpb.Struct, s *cluster.Subsets) error {
	switch policy {
	case int32(clusterv3.Cluster_LbSubsetConfig_ANY_ENDPOINT):
		s.Fallback = cluster.AnyEndpoint
	case int32(clusterv3.Cluster_LbSubsetConfig_DEFAULT_SUBSET):
		s.Fallback = cluster.DefaultSubset
	}
	var err error
	s.Default, err = labels(&corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"": byDefault}}, "")
	return at(err, "default_subset")
}

func selector(keys []string, single bool, policy int32, keep []string) cluster.Selector {
	sel := cluster.Selector{Names: keys, Single: single, Keep: keep}
	if f, ok := fallbacks[policy]; ok {
		sel.Fallback = &f
	}
	return sel
}
