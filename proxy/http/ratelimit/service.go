package ratelimit

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/client"
	"github.com/weftmesh/weft/proxy/http/descriptor"
	"github.com/weftmesh/weft/proxy/http/match"
)

const method = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"

// over asks a service by Envoy's protocol.
func over(s *client.Service) asker {
	return func(domain string, ds []descriptor.Descriptor, done func(*verdict)) (cancel func()) {
		in := &rlsv3.RateLimitRequest{Domain: domain}
		for i := range ds {
			in.Descriptors = append(in.Descriptors, written(&ds[i]))
		}
		out := &rlsv3.RateLimitResponse{}
		return s.Unary(method, in, out, func(err error) {
			if err != nil {
				done(nil)
				return
			}
			done(read(out))
		})
	}
}

func written(d *descriptor.Descriptor) *ratelimitv3.RateLimitDescriptor {
	m := &ratelimitv3.RateLimitDescriptor{IsNegativeHits: d.Negative}
	for _, e := range d.Entries {
		m.Entries = append(m.Entries, &ratelimitv3.RateLimitDescriptor_Entry{Key: e.Key, Value: e.Value})
	}
	if d.HitsSet {
		m.HitsAddend = wrapperspb.UInt64(d.Hits)
	}
	if l := d.Limit; l != nil {
		m.Limit = &ratelimitv3.RateLimitDescriptor_RateLimitOverride{RequestsPerUnit: l.Requests, Unit: typev3.RateLimitUnit(l.Unit)}
	}
	return m
}

// read makes a verdict of an answer.
func read(m *rlsv3.RateLimitResponse) *verdict {
	v := &verdict{
		body: string(m.RawBody), request: fields(m.RequestHeadersToAdd), response: fields(m.ResponseHeadersToAdd), metadata: m.GetDynamicMetadata().AsMap(),
	}
	v.over = m.OverallCode == rlsv3.RateLimitResponse_OVER_LIMIT
	for _, s := range m.Statuses {
		if l := s.CurrentLimit; l != nil {
			v.limits = append(v.limits, limit{
				name: l.Name, requests: l.RequestsPerUnit, window: seconds(l.Unit), remaining: s.LimitRemaining,
				reset: s.GetDurationUntilReset().GetSeconds(),
			})
		}
	}
	return v
}

func seconds(u rlsv3.RateLimitResponse_RateLimit_Unit) uint32 {
	const day = 24 * 3600
	switch u {
	case rlsv3.RateLimitResponse_RateLimit_SECOND:
		return 1
	case rlsv3.RateLimitResponse_RateLimit_MINUTE:
		return 60
	case rlsv3.RateLimitResponse_RateLimit_HOUR:
		return 3600
	case rlsv3.RateLimitResponse_RateLimit_DAY:
		return day
	case rlsv3.RateLimitResponse_RateLimit_WEEK:
		return 7 * day
	case rlsv3.RateLimitResponse_RateLimit_MONTH:
		return 30 * day
	case rlsv3.RateLimitResponse_RateLimit_YEAR:
		return 365 * day
	}
	return 0
}

func fields(list []*corev3.HeaderValue) []filter.Field {
	out := make([]filter.Field, 0, len(list))
	for _, h := range list {
		out = append(out, filter.Field{Name: strings.ToLower(h.Key), Value: match.Value(h)})
	}
	return out
}
