package limit

import (
	"math"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/pb"
)

// statPrefix is Slime's.
const statPrefix = "http_local_rate_limiter"

// customFilter is for limits of descriptors that somebody else's actions make: those of routes, which a filter does not
// look at that has actions of its own.
const customFilter = LocalFilter + ".custom"

// localName is the filter that carries a local rule out.
func localName(r scope.LimitRef) string {
	if r.Rule().Key != "" {
		return customFilter
	}
	return LocalFilter
}

// emptyLocal does nothing where no route says more.
func emptyLocal() *localv3.LocalRateLimit { return &localv3.LocalRateLimit{StatPrefix: statPrefix} }

// localConfig is that of the routes for which some rules are in force.
func (s *Set) localConfig(list []scope.LimitRef) *localv3.LocalRateLimit {
	out := &localv3.LocalRateLimit{
		StatPrefix:    statPrefix,
		FilterEnabled: pb.RuntimeFraction(100), FilterEnforced: pb.RuntimeFraction(100),
		// Requests that no rule is for need a bucket, too: one that nothing empties.
		TokenBucket:                     &typev3.TokenBucket{MaxTokens: math.MaxUint32, TokensPerFill: pb.U32Set(math.MaxUint32), FillInterval: pb.Duration(time.Second)},
		AlwaysConsumeDefaultTokenBucket: pb.False(),
		EnableRetryAfterHeader:          true,
	}
	for _, r := range list {
		rule := r.Rule()
		m := rateLimit(r)
		if rule.Key != "" {
			m = nil // somebody else's action makes the descriptor
		}
		b, cost := bucket(r.Quota().Quota, rule.Interval)
		if m != nil {
			// Not of the filter as a whole: it would tell of the bucket that nothing empties.
			m.XRatelimitOption = routev3.RateLimit_DRAFT_VERSION_03
			if cost > 1 {
				m.HitsAddend = &routev3.RateLimit_HitsAddend{Number: wrapperspb.UInt64(cost)}
			}
			out.RateLimits = append(out.RateLimits, m)
		}
		d := &ratelimitv3.LocalRateLimitDescriptor{TokenBucket: b, ShadowMode: rule.Shadow}
		for _, e := range entries(r) {
			if e.value == "" {
				out.MaxDynamicDescriptors = pb.U32Set(mostApart)
			}
			d.Entries = append(d.Entries, &ratelimitv3.RateLimitDescriptor_Entry{Key: e.key, Value: e.value})
		}
		out.Descriptors = append(out.Descriptors, d)
		out.ResponseHeadersToAdd = append(out.ResponseHeadersToAdd, headers(rule.Headers)...)
	}
	return out
}

const (
	// mostApart is how many values requests are counted apart by, for each limit; the one that was not seen for longest
	// makes room. Envoy's default is 20.
	mostApart = 10_000
	// shortest is Envoy's shortest time between two fills.
	shortest = 50 * time.Millisecond
	// never is for a quota of nothing.
	never = 24 * time.Hour
	// longestFill bounds what a small quota of a long interval makes.
	longestFill = 365 * 24 * time.Hour
)

// bucket holds a quota's requests, of which it gets as many in an interval, parts of one included. cost is how many
// tokens each request takes: of a quota of nothing more than there can be.
func bucket(quota float64, interval time.Duration) (b *typev3.TokenBucket, cost uint64) {
	if quota <= 0 {
		return &typev3.TokenBucket{MaxTokens: 1, TokensPerFill: pb.U32Set(1), FillInterval: pb.Duration(never)}, 2
	}
	quota = min(quota, math.MaxUint32)
	if whole := math.Round(quota); math.Abs(quota-whole) < 1e-9 && whole >= 1 {
		n := uint32(whole)
		return &typev3.TokenBucket{MaxTokens: n, TokensPerFill: pb.U32Set(n), FillInterval: pb.Duration(interval)}, 1
	}
	// A part of a request cannot be filled in: the time of a whole number of them is.
	one := time.Duration(math.Round(min(float64(interval)/quota, float64(longestFill))))
	n := 1.0
	if one < shortest {
		n = math.Ceil(float64(shortest) / (float64(interval) / quota))
		one = time.Duration(math.Round(n * float64(interval) / quota))
	}
	return &typev3.TokenBucket{MaxTokens: uint32(math.Ceil(quota)), TokensPerFill: pb.U32Set(uint32(n)), FillInterval: pb.Duration(one)}, 1
}
