package router

import (
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/route"
)

// plan holds the timeouts of one request. 0: none.
type plan struct {
	timeout, perTry, perTryIdle, stream time.Duration
	// hedge: an attempt whose time is over goes on beside the next one.
	hedge bool
	// grpc: the timeout is told in grpc-timeout too.
	grpc bool
}

// planRequest settles timeouts and retry policy from the route and, for trusted
// requests, from the head.
func (r *Router) planRequest(f *route.Forward) {
	h, p := r.h, &r.plan
	p.timeout = f.Timeout
	grpcBound := f.GRPCTimeoutMax != nil && r.ds.Info().GRPC
	if grpcBound {
		p.timeout = grpcTimeout(h, f)
	}
	r.retry = r.Entry.Retry()
	if r.retry != nil {
		p.perTry, p.perTryIdle = r.retry.PerTryTimeout, r.retry.PerTryIdleTimeout
	}
	p.stream = r.cluster.Spec().HTTP.MaxStreamDuration
	p.hedge = r.Entry.Hedges()
	if r.Trusted {
		r.ownWishes()
	}
	if r.cfg.RespectExpectedTimeout {
		if d, ok := parseMillis(h.Get("x-envoy-expected-rq-timeout-ms")); ok {
			p.timeout = d
		}
	}
	if p.timeout > 0 && p.perTry >= p.timeout {
		p.perTry = 0
	}
	if r.Upgrade != "" {
		r.retry = nil // bytes of a tunnel are not kept
	}
	if r.retry != nil && !r.retry.Applies(h) {
		r.retry = nil
	}
	p.grpc = grpcBound
	r.sayTimeout(0)
}

// sayTimeout tells the upstream how long it has, after that much of the whole time.
func (r *Router) sayTimeout(elapsed time.Duration) {
	p := &r.plan
	expected := p.perTry
	if expected == 0 || p.hedge { // a hedged request's attempts have all of the time
		expected = p.timeout
	}
	if expected <= 0 {
		return
	}
	if p.timeout > 0 {
		expected = max(min(expected, p.timeout-elapsed), time.Millisecond) // 0 would be without end
	}
	if !r.cfg.SuppressHeaders {
		r.setInt(r.h, "x-envoy-expected-rq-timeout-ms", expected.Milliseconds())
	}
	if p.grpc {
		SetGRPCTimeout(r.h, expected)
	}
}

// grpcTimeout is the timeout of a gRPC request whose route takes it from the
// header, 0: none.
func grpcTimeout(h *filter.Headers, f *route.Forward) time.Duration {
	d, _ := GRPCTimeout(h)
	if f.GRPCTimeoutOffset < d { // else nothing would be left, which means forever
		d -= f.GRPCTimeoutOffset
	}
	if m := *f.GRPCTimeoutMax; m > 0 && (d == 0 || d > m) {
		d = m
	}
	return d
}

// ownWishes takes the x-envoy- headers by which a trusted caller chooses
// timeouts and retries, and removes them.
func (r *Router) ownWishes() {
	h := r.h
	if d, ok := parseMillis(take(h, "x-envoy-upstream-rq-timeout-ms")); ok {
		r.plan.timeout = d
	}
	if d, ok := parseMillis(take(h, "x-envoy-upstream-rq-per-try-timeout-ms")); ok {
		r.plan.perTry = d
	}
	switch take(h, "x-envoy-hedge-on-per-try-timeout") {
	case "true":
		r.plan.hedge = true
	case "false":
		r.plan.hedge = false
	}
	on, grpcOn := take(h, "x-envoy-retry-on"), take(h, "x-envoy-retry-grpc-on")
	most := take(h, "x-envoy-max-retries")
	codes := take(h, "x-envoy-retriable-status-codes")
	if on == "" && grpcOn == "" && (most == "" || r.retry == nil) {
		return
	}
	own := route.RetryPolicy{Retries: 1}
	if r.retry != nil {
		own = *r.retry.RetryPolicy
	}
	for _, list := range [...]string{on, grpcOn} {
		if list == "" {
			continue
		}
		if set, more, err := route.ParseRetryOn(list); err == nil {
			own.On |= set
			own.StatusCodes = append(own.StatusCodes[:len(own.StatusCodes):len(own.StatusCodes)], more...)
		}
	}
	for c := range strings.SplitSeq(codes, ",") {
		if n, err := strconv.Atoi(strings.TrimSpace(c)); err == nil {
			own.StatusCodes = append(own.StatusCodes[:len(own.StatusCodes):len(own.StatusCodes)], n)
		}
	}
	if n, err := strconv.ParseUint(most, 10, 32); err == nil {
		own.Retries = uint32(n)
	}
	r.retry = &route.Retry{RetryPolicy: &own}
}

// take returns a field's value and removes it.
func take(h *filter.Headers, name string) string {
	v, ok := h.Lookup(name)
	if ok {
		h.Del(name)
	}
	return v
}

func parseMillis(s string) (time.Duration, bool) {
	if s == "" {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 40)
	return time.Duration(n) * time.Millisecond, err == nil
}

// maxGRPCTimeout is the greatest number in a grpc-timeout header: 8 digits.
const maxGRPCTimeout = 99_999_999

// GRPCTimeout reads the grpc-timeout header, rounded up to milliseconds; false:
// there is none that can be read.
func GRPCTimeout(h *filter.Headers) (time.Duration, bool) {
	d, ok := parseGRPCTimeout(h.Get("grpc-timeout"))
	if d%time.Millisecond != 0 {
		d = d.Truncate(time.Millisecond) + time.Millisecond
	}
	return d, ok
}

// parseGRPCTimeout reads up to 8 digits and a unit.
func parseGRPCTimeout(s string) (time.Duration, bool) {
	if len(s) < 2 || len(s) > 9 {
		return 0, false
	}
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 32)
	if err != nil {
		return 0, false
	}
	var u time.Duration
	switch s[len(s)-1] {
	case 'H':
		u = time.Hour
	case 'M':
		u = time.Minute
	case 'S':
		u = time.Second
	case 'm':
		u = time.Millisecond
	case 'u':
		u = time.Microsecond
	case 'n':
		u = time.Nanosecond
	default:
		return 0, false
	}
	if n > uint64(math.MaxInt64/u) {
		return math.MaxInt64 / time.Hour * time.Hour, true // hours of 8 digits are more than a Duration holds
	}
	return time.Duration(n) * u, true
}

// SetGRPCTimeout writes the grpc-timeout header, in the smallest unit from
// milliseconds that has room for it.
func SetGRPCTimeout(h *filter.Headers, d time.Duration) {
	n, unit := d.Milliseconds(), byte('m')
	for _, larger := range [...]struct {
		unit byte
		of   int64
	}{{'S', 1000}, {'M', 60}, {'H', 60}} {
		if n <= maxGRPCTimeout {
			break
		}
		n, unit = n/larger.of, larger.unit
	}
	b := strconv.AppendInt(h.Buffer(), min(n, maxGRPCTimeout), 10)
	h.Set("grpc-timeout", h.Kept(append(b, unit)))
}

func parseAddrPort(s string) (netip.AddrPort, bool) {
	a, err := netip.ParseAddrPort(s)
	return a, err == nil
}

// hostOnly cuts the port from an authority.
func hostOnly(authority string) string {
	if i := strings.LastIndexByte(authority, ':'); i >= 0 && strings.IndexByte(authority[i:], ']') < 0 {
		authority = authority[:i]
	}
	return strings.Trim(authority, "[]")
}

func (r *Router) countStatus(code int) {
	r.cluster.Stats().Status(code)
	r.Entry.Route().Stats.Count(code)
	r.share.Count(code)
}

// note counts an event for the route and the virtual cluster.
func (r *Router) note(e route.Event) {
	r.Entry.Route().Stats.Add(e)
	r.share.Add(e)
}

// grpcStatus reads the grpc-status field.
func grpcStatus(h *filter.Headers) (int, bool) {
	v, ok := h.Lookup("grpc-status")
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(v)
	return n, err == nil
}
