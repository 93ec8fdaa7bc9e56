package wire

import (
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// What a proxy with Bootstrap.FewStats keeps: Istio's selection, and what tells
// of ejected hosts and open circuit breakers.
var (
	fewPrefixes = []string{"cluster_manager", "listener_manager", "server", "cluster." + XDSCluster, "http.admin"}
	fewSuffixes = []string{
		"rbac.allowed", "rbac.denied", "downstream_cx_active", "upstream_rq_pending_overflow",
		"upstream_rq_retry", "upstream_cx_overflow", "upstream_cx_connect_fail", "membership_healthy",
	}
	fewParts = []string{"outlier_detection", "circuit_breakers"}
)

// fewStats also switches off the default tags: with them Envoy runs some
// twenty regular expressions over the name of every statistic it makes.
func fewStats(more KeptStats) *metricsv3.StatsConfig {
	var keep []*matcherv3.StringMatcher
	for _, p := range fewPrefixes {
		keep = append(keep, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: p}})
	}
	for _, s := range fewSuffixes {
		keep = append(keep, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: s}})
	}
	for _, c := range fewParts {
		keep = append(keep, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Contains{Contains: c}})
	}
	for _, p := range more.Prefixes {
		keep = append(keep, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: p}})
	}
	for _, s := range more.Suffixes {
		keep = append(keep, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: s}})
	}
	for _, r := range more.Regexps {
		keep = append(keep, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: r}}})
	}
	return &metricsv3.StatsConfig{
		UseAllDefaultTags: wrapperspb.Bool(false),
		StatsMatcher: &metricsv3.StatsMatcher{StatsMatcher: &metricsv3.StatsMatcher_InclusionList{
			InclusionList: &matcherv3.ListStringMatcher{Patterns: keep},
		}},
	}
}

// KeptStats picks statistics by their names; Regexps are RE2 for the whole name.
type KeptStats struct {
	Prefixes, Suffixes, Regexps []string `json:",omitempty"`
}
