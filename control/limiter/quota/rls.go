package quota

import (
	"context"
	"math"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/wire"
)

// RLS answers by Envoy's rate limit protocol.
type RLS struct {
	rlsv3.UnimplementedRateLimitServiceServer
	book *Book
}

// NewRLS returns a server of a book.
func NewRLS(b *Book) *RLS { return &RLS{book: b} }

// generic is the key of the entry by which limits of ours are told.
const generic = "generic_key"

// mostDescriptors bounds a request.
const mostDescriptors = 100

// ShouldRateLimit implements rlsv3.RateLimitServiceServer.
func (r *RLS) ShouldRateLimit(_ context.Context, in *rlsv3.RateLimitRequest) (*rlsv3.RateLimitResponse, error) {
	if len(in.GetDescriptors()) == 0 || len(in.GetDescriptors()) > mostDescriptors {
		return nil, status.Errorf(codes.InvalidArgument, "%d descriptors; want 1 to %d", len(in.GetDescriptors()), mostDescriptors)
	}
	out := &rlsv3.RateLimitResponse{OverallCode: rlsv3.RateLimitResponse_OK}
	for _, d := range in.GetDescriptors() {
		hits := float64(in.GetHitsAddend())
		if d.GetHitsAddend() != nil {
			hits = float64(d.GetHitsAddend().GetValue())
		}
		r.one(out, in.GetDomain(), d, max(1, hits))
	}
	return out, nil
}

func (r *RLS) one(out *rlsv3.RateLimitResponse, domain string, d *ratelimitv3.RateLimitDescriptor, hits float64) {
	st := &rlsv3.RateLimitResponse_DescriptorStatus{Code: rlsv3.RateLimitResponse_OK}
	out.Statuses = append(out.Statuses, st)
	p, known := r.book.place(domain, d)
	if !known {
		return
	}
	s, ok, remaining, reset := r.book.take(p, hits)
	if s == nil {
		return
	}
	st.LimitRemaining = uint32(min(remaining, math.MaxUint32))
	st.DurationUntilReset = durationpb.New(reset)
	st.CurrentLimit = &rlsv3.RateLimitResponse_RateLimit{RequestsPerUnit: uint32(min(math.Ceil(s.limit), math.MaxUint32)), Unit: unit(s.interval)}
	if ok || s.shadow {
		return
	}
	if st.Code = rlsv3.RateLimitResponse_OVER_LIMIT; out.OverallCode == rlsv3.RateLimitResponse_OK {
		out.OverallCode = rlsv3.RateLimitResponse_OVER_LIMIT
		after := strconv.FormatInt(int64(max(1, math.Ceil(reset.Seconds()))), 10)
		out.ResponseHeadersToAdd = append(out.ResponseHeadersToAdd, &corev3.HeaderValue{Key: "retry-after", Value: after})
	}
	for _, h := range s.headers {
		out.ResponseHeadersToAdd = append(out.ResponseHeadersToAdd, &corev3.HeaderValue{Key: h.Name, Value: h.Value})
	}
}

// place is the bucket of a descriptor: by the limit's name in its first entry, or by an entry that a limit has as its
// custom_key. Tests, whose entries all say the same, tell nothing apart.
func (b *Book) place(domain string, d *ratelimitv3.RateLimitDescriptor) (place, bool) {
	list := d.GetEntries()
	if len(list) == 0 {
		return place{}, false
	}
	id := list[0].GetValue()
	if list[0].GetKey() != generic || !strings.Contains(id, "/") {
		b.mu.Lock()
		x, ok := b.custom[custom{domain, list[0].GetKey(), id}]
		b.mu.Unlock()
		if !ok {
			return place{}, false
		}
		id = x
	}
	var key []byte
	for _, e := range list[1:] {
		if e.GetValue() != wire.QuotaTest {
			key = append(append(key, e.GetValue()...), 0)
		}
	}
	return place{id, string(key)}, true
}

func unit(d time.Duration) rlsv3.RateLimitResponse_RateLimit_Unit {
	switch d {
	case time.Second:
		return rlsv3.RateLimitResponse_RateLimit_SECOND
	case time.Minute:
		return rlsv3.RateLimitResponse_RateLimit_MINUTE
	case time.Hour:
		return rlsv3.RateLimitResponse_RateLimit_HOUR
	case 24 * time.Hour:
		return rlsv3.RateLimitResponse_RateLimit_DAY
	}
	return rlsv3.RateLimitResponse_RateLimit_UNKNOWN
}
