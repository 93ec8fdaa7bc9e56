package config

import (
	"errors"
	"fmt"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	canaryv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/omit_canary_hosts/v3"
	omitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/omit_host_metadata/v3"
	previousv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	prioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"

	"github.com/weftmesh/weft/proxy/route"
)

// defaultResetMax is Envoy's bound of a back-off that the upstream asks for.
const defaultResetMax = 300 * time.Second

func retryPolicy(m *routev3.RetryPolicy) (*route.RetryPolicy, error) {
	if m == nil {
		return nil, nil
	}
	p := &route.RetryPolicy{
		Retries:       1,
		PerTryTimeout: duration(m.PerTryTimeout), PerTryIdleTimeout: duration(m.PerTryIdleTimeout),
		HostAttempts: int(m.HostSelectionRetryMaxAttempts),
		BackoffBase:  duration(m.RetryBackOff.GetBaseInterval()), BackoffMax: duration(m.RetryBackOff.GetMaxInterval()),
	}
	if m.NumRetries != nil {
		p.Retries = m.NumRetries.Value
	}
	var err error
	if p.On, p.StatusCodes, err = route.ParseRetryOn(m.RetryOn); err != nil {
		return nil, at(err, "retry_on")
	}
	for _, c := range m.RetriableStatusCodes {
		p.StatusCodes = append(p.StatusCodes, int(c))
	}
	if p.Headers, err = headerMatches(m.RetriableHeaders, "retriable_headers"); err != nil {
		return nil, err
	}
	if p.RequestHeaders, err = headerMatches(m.RetriableRequestHeaders, "retriable_request_headers"); err != nil {
		return nil, err
	}
	for i, h := range m.RetryHostPredicate {
		if err := hostPredicate(h, p); err != nil {
			return nil, at(err, "retry_host_predicate[%d]", i)
		}
	}
	resetHeaders(m.RateLimitedRetryBackOff, p)
	if r := m.RetryPriority; r != nil {
		c := &prioritiesv3.PreviousPrioritiesConfig{}
		if err := unpack(r.GetTypedConfig(), c); err != nil {
			return nil, at(err, "retry_priority.typed_config")
		}
		p.AvoidPriorities = int(c.UpdateFrequency)
	}
	return p, nil
}

// hedgePolicy reads what becomes of attempts whose time is over. Envoy takes the numbers of
// requests to begin with (initial_requests, additional_request_chance), and does nothing with them.
func hedgePolicy(m *routev3.HedgePolicy) *route.Hedge {
	if m == nil {
		return nil
	}
	return &route.Hedge{OnTryTimeout: m.HedgeOnPerTryTimeout}
}

// hostPredicate reads which hosts a retry passes over.
func hostPredicate(m *routev3.RetryPolicy_RetryHostPredicate, p *route.RetryPolicy) error {
	a := m.GetTypedConfig()
	switch {
	case a.MessageIs(&previousv3.PreviousHostsPredicate{}), a == nil && m.Name == "envoy.retry_host_predicates.previous_hosts":
		p.AvoidPrevious = true
	case a.MessageIs(&canaryv3.OmitCanaryHostsPredicate{}), a == nil && m.Name == "envoy.retry_host_predicates.omit_canary_hosts":
		p.OmitHosts = append(p.OmitHosts, map[string]string{"canary": "true"})
	case a.MessageIs(&omitv3.OmitHostMetadataConfig{}):
		c := &omitv3.OmitHostMetadataConfig{}
		if err := unpack(a, c); err != nil {
			return at(err, "typed_config")
		}
		omit, err := labels(c.MetadataMatch, subsetMetadata)
		if err != nil || len(omit) == 0 {
			return at(errors.Join(err, fmt.Errorf("want strings in metadata_match.filter_metadata[%q]", subsetMetadata)), "typed_config")
		}
		p.OmitHosts = append(p.OmitHosts, omit)
	default:
		return fmt.Errorf("%q is not supported", m.Name)
	}
	return nil
}

// resetHeaders reads how an upstream says when to come again.
func resetHeaders(m *routev3.RetryPolicy_RateLimitedRetryBackOff, p *route.RetryPolicy) {
	if m == nil {
		return
	}
	p.ResetMax = defaultResetMax
	if m.MaxInterval != nil {
		p.ResetMax = m.MaxInterval.AsDuration()
	}
	for _, h := range m.ResetHeaders {
		p.ResetHeaders = append(p.ResetHeaders, route.ResetHeader{
			Name: lower(h.Name), Timestamp: h.Format == routev3.RetryPolicy_UNIX_TIMESTAMP,
		})
	}
}

func (d *Decoder) mirrors(list []*routev3.RouteAction_RequestMirrorPolicy) ([]route.Mirror, error) {
	var out []route.Mirror
	for i, m := range list {
		if (m.Cluster == "") == (m.ClusterHeader == "") {
			return nil, at(errors.New("want one of cluster and cluster_header"), "request_mirror_policies[%d]", i)
		}
		out = append(out, route.Mirror{
			Cluster: m.Cluster, ClusterHeader: lower(m.ClusterHeader),
			Fraction: d.runtimeFraction(m.RuntimeFraction), KeepHost: m.DisableShadowHostSuffixAppend, Host: m.HostRewriteLiteral,
			Sampled: m.GetTraceSampled().GetValue(), NotSampled: m.TraceSampled != nil && !m.TraceSampled.Value,
		})
	}
	return out, nil
}
