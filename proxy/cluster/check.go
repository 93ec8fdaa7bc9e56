package cluster

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// check refuses a Spec that cannot work.
func (m *Manager) check(s *Spec) error {
	if s.Name == "" {
		return errors.New("it has no name")
	}
	if s.Type.Provides() != (s.LB.Policy == Provided) {
		return errors.New("lb_policy: CLUSTER_PROVIDED goes with clusters that choose hosts themselves, and with nothing else")
	}
	switch s.Type {
	case Static:
		if s.Endpoints != nil {
			if err := s.Endpoints.check(false); err != nil {
				return fmt.Errorf("load_assignment: %w", err)
			}
		}
	case StrictDNS, LogicalDNS:
		if err := checkDNS(s, m); err != nil {
			return err
		}
		if err := s.Endpoints.check(true); err != nil {
			return fmt.Errorf("load_assignment: %w", err)
		}
	case Aggregate:
		if len(s.Clusters) == 0 || slices.Contains(s.Clusters, s.Name) {
			return errors.New("clusters: an aggregate cluster needs some, and not itself")
		}
		if s.LB.Subsets != nil {
			return errors.New("lb_subset_config: belongs into the clusters of the aggregate")
		}
	case DynamicForward:
		if s.Cache == nil || s.Cache.Name == "" {
			return errors.New("dns_cache_config: a dynamic forward proxy cluster needs one with a name")
		}
		if err := m.CheckDNSCache(s.Cache); err != nil {
			return err
		}
	case Discovered:
		if s.Discovery == nil || s.Endpoints == nil {
			return errors.New("load_assignment: a cluster that discovers its hosts needs some to begin with")
		}
	case EDS, OriginalDst:
		if s.Endpoints != nil {
			return errors.New("load_assignment: only STATIC and DNS clusters have one")
		}
	default:
		return fmt.Errorf("type %d is not known", s.Type)
	}
	if s.ProxyProtocol < 0 || s.ProxyProtocol > 2 {
		return fmt.Errorf("PROXY protocol version %d is not 1 or 2", s.ProxyProtocol)
	}
	return s.LB.check()
}

// biggestTable is Envoy's bound of Maglev tables.
const biggestTable = 5_000_011

func (lb *LB) check() error {
	if lb.Policy > Provided {
		return fmt.Errorf("lb_policy %d is not known", lb.Policy)
	}
	minRing, maxRing := orDefault(lb.MinRing, 1024), orDefault(lb.MaxRing, 8<<20)
	if minRing > maxRing || maxRing > 8<<20 {
		return fmt.Errorf("ring_hash_lb_config: ring sizes %d to %d; the least must not be above the greatest, nor that above 8388608", minRing, maxRing)
	}
	if n := orDefault(lb.TableSize, 65537); n > biggestTable || n < 3 || !new(big.Int).SetUint64(n).ProbablyPrime(10) {
		return fmt.Errorf("maglev_lb_config.table_size: %d is not a prime from 3 to %d", n, biggestTable)
	}
	if lb.PanicPercent < 0 || lb.PanicPercent > 100 {
		return fmt.Errorf("healthy_panic_threshold: %v is not a percentage", lb.PanicPercent)
	}
	if lb.BalanceFactor > 0 && lb.BalanceFactor < 100 {
		return fmt.Errorf("hash_balance_factor: %d is below 100", lb.BalanceFactor)
	}
	if lb.Bias != nil && *lb.Bias < 0 {
		return fmt.Errorf("active_request_bias: %v is below 0", *lb.Bias)
	}
	if l := lb.Load; l != nil && (lb.Policy != RoundRobin || l.Update <= 0 || l.Expiration <= 0 || !(l.Penalty >= 0)) {
		return errors.New("client_side_weighted_round_robin: the penalty must not be negative, and the periods must be positive")
	}
	if lb.SlowStart != nil && lb.Policy != RoundRobin && lb.Policy != LeastRequest {
		return errors.New("slow_start_config: only round robin and least request have one")
	}
	if lb.Subsets != nil {
		for i, s := range lb.Subsets.Selectors {
			if len(s.Names) == 0 {
				return fmt.Errorf("lb_subset_config.subset_selectors[%d]: no keys", i)
			}
			if s.Single && len(s.Names) != 1 {
				return fmt.Errorf("lb_subset_config.subset_selectors[%d]: single_host_per_subset wants one key", i)
			}
			if s.Fallback == nil || *s.Fallback != KeysSubset {
				continue
			}
			if len(s.Keep) == 0 || len(s.Keep) >= len(s.Names) ||
				slices.ContainsFunc(s.Keep, func(n string) bool { return !slices.Contains(s.Names, n) }) {
				return fmt.Errorf("lb_subset_config.subset_selectors[%d].fallback_keys_subset: want some of the keys, but not all", i)
			}
		}
	}
	return nil
}

// check refuses endpoints that cannot be reached; names: they may be names.
func (e *Endpoints) check(names bool) error {
	for i := range e.Localities {
		l := &e.Localities[i]
		if l.Priority > 128 {
			return fmt.Errorf("locality %s: priority %d is above 128", l.LocalityString(), l.Priority)
		}
		for k := range l.Endpoints {
			ep := &l.Endpoints[k]
			switch {
			case ep.Name != "":
				if !names {
					return fmt.Errorf("endpoint %s is a name; only DNS clusters resolve names", ep.target())
				}
				if ep.Port == 0 {
					return fmt.Errorf("endpoint %s has no port", ep.Name)
				}
			case ep.Path != "", ep.Internal != "":
			case !ep.Addr.IsValid() || ep.Addr.Port() == 0:
				return fmt.Errorf("endpoint %d of locality %s has no address or no port", k, l.LocalityString())
			}
		}
	}
	return nil
}
