package route

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
)

// RetryOn is a set of conditions for a retry.
type RetryOn uint32

// Conditions, Envoy's names in ParseRetryOn.
const (
	Retry5xx RetryOn = 1 << iota
	RetryGatewayError
	RetryReset
	RetryResetBeforeRequest
	RetryConnectFailure
	RetryEnvoyRateLimited
	RetryRetriable4xx
	RetryRefusedStream
	RetryStatusCodes
	RetryHeaders
	RetryHTTP3PostConnect
	RetryGRPCCancelled
	RetryGRPCDeadline
	RetryGRPCExhausted
	RetryGRPCUnavailable
	RetryGRPCInternal
)

// RetryPolicy says what to try again, how often and when.
type RetryPolicy struct {
	On RetryOn
	// StatusCodes for RetryStatusCodes.
	StatusCodes []int
	// Headers of the response for RetryHeaders, any of them.
	Headers []HeaderMatch
	// RequestHeaders must match (any of them) for a request to be retried at all.
	RequestHeaders []HeaderMatch
	// Retries after the first attempt. (Envoy's default is 1.)
	Retries uint32
	// PerTryTimeout and PerTryIdleTimeout; 0: none.
	PerTryTimeout, PerTryIdleTimeout time.Duration
	// BackoffBase 0: 25 ms; BackoffMax 0: ten times the base.
	BackoffBase, BackoffMax time.Duration
	// AvoidPrevious chooses another host than the ones tried; HostAttempts
	// bounds how often the balancer is asked again (0: once).
	AvoidPrevious bool
	HostAttempts  int
	// OmitHosts are labels that hosts which a retry passes over have, all of a map.
	OmitHosts []map[string]string
	// ResetHeaders tell how long to wait before a retry, instead of the back-off;
	// more than ResetMax is not believed.
	ResetHeaders []ResetHeader
	ResetMax     time.Duration
	// AvoidPriorities spreads retries over other priorities after that many attempts; 0: never.
	AvoidPriorities int
}

// ResetHeader is a response header that says when to come again: in so many
// seconds, or at a Timestamp in seconds since 1970.
type ResetHeader struct {
	Name      string
	Timestamp bool
}

// retryNames are the conditions as they are written.
var retryNames = map[string]RetryOn{
	"5xx": Retry5xx, "gateway-error": RetryGatewayError, "reset": RetryReset,
	"reset-before-request": RetryResetBeforeRequest, "connect-failure": RetryConnectFailure,
	"envoy-ratelimited": RetryEnvoyRateLimited, "retriable-4xx": RetryRetriable4xx,
	"refused-stream": RetryRefusedStream, "retriable-status-codes": RetryStatusCodes,
	"retriable-headers": RetryHeaders, "http3-post-connect-failure": RetryHTTP3PostConnect,
	"cancelled": RetryGRPCCancelled, "deadline-exceeded": RetryGRPCDeadline,
	"resource-exhausted": RetryGRPCExhausted, "unavailable": RetryGRPCUnavailable, "internal": RetryGRPCInternal,
}

// ParseRetryOn reads Envoy's comma-separated list, of HTTP and gRPC conditions
// and, as Istio writes them, bare status codes.
func ParseRetryOn(list string) (on RetryOn, codes []int, err error) {
	for word := range strings.SplitSeq(list, ",") {
		word = strings.TrimSpace(word)
		if word == "" {
			continue
		}
		if c, ok := retryNames[word]; ok {
			on |= c
			continue
		}
		code, err := strconv.Atoi(word)
		if err != nil || code < 100 || code > 599 {
			return 0, nil, fmt.Errorf("retry on %q: no such condition; check its spelling", word)
		}
		codes = append(codes, code)
		on |= RetryStatusCodes
	}
	return on, codes, nil
}

// Reset says why an attempt ended without a response.
type Reset uint8

// Resets.
const (
	// ResetConnectFailure: no connection could be made.
	ResetConnectFailure Reset = iota
	// ResetRefused: the peer refused the stream (REFUSED_STREAM, GOAWAY before it).
	ResetRefused
	// ResetRemote: the peer reset the stream, or the connection ended.
	ResetRemote
	// ResetTimeout: the per-try timeout ended it.
	ResetTimeout
	// ResetOverflow: a circuit breaker refused it.
	ResetOverflow
)

// Retry is a compiled RetryPolicy.
type Retry struct {
	*RetryPolicy
	headers, requestHeaders []headerMatcher
}

func compileRetry(p *RetryPolicy) (r *Retry, err error) {
	r = &Retry{RetryPolicy: p}
	if r.headers, err = compileHeaders(p.Headers); err != nil {
		return nil, err
	}
	if r.requestHeaders, err = compileHeaders(p.RequestHeaders); err != nil {
		return nil, err
	}
	if p.BackoffMax != 0 && p.BackoffMax < p.base() {
		return nil, fmt.Errorf("the greatest backoff, %v, is below the base, %v", p.BackoffMax, p.base())
	}
	return r, nil
}

// Applies tells whether a request with that head may be retried at all.
func (p *Retry) Applies(h *filter.Headers) bool {
	return p.On != 0 && p.Retries > 0 && (len(p.requestHeaders) == 0 || anyHeader(p.requestHeaders, h))
}

// AfterReset tells whether to try again; sent: the request head had been sent.
func (p *Retry) AfterReset(r Reset, sent bool) bool {
	if r == ResetOverflow {
		return false
	}
	if p.On&(Retry5xx|RetryGatewayError|RetryReset) != 0 {
		return true
	}
	switch {
	case r == ResetConnectFailure && p.On&RetryConnectFailure != 0:
		return true
	case r == ResetRefused && p.On&RetryRefusedStream != 0:
		return true
	}
	return !sent && p.On&RetryResetBeforeRequest != 0
}

// AfterResponse tells whether to try again after a response head (of a gRPC
// call with trailers only, its trailers).
func (p *Retry) AfterResponse(h *filter.Headers) bool {
	if h.Has("x-envoy-ratelimited") {
		return p.On&RetryEnvoyRateLimited != 0
	}
	s := h.Status
	switch {
	case p.On&Retry5xx != 0 && s >= 500 && s <= 599,
		p.On&RetryGatewayError != 0 && s >= 502 && s <= 504,
		p.On&RetryRetriable4xx != 0 && s == 409,
		p.On&RetryStatusCodes != 0 && slices.Contains(p.StatusCodes, s),
		p.On&RetryHeaders != 0 && anyHeader(p.headers, h):
		return true
	}
	const grpc = RetryGRPCCancelled | RetryGRPCDeadline | RetryGRPCExhausted | RetryGRPCUnavailable | RetryGRPCInternal
	if p.On&grpc == 0 {
		return false
	}
	switch h.Get("grpc-status") {
	case "1":
		return p.On&RetryGRPCCancelled != 0
	case "4":
		return p.On&RetryGRPCDeadline != 0
	case "8":
		return p.On&RetryGRPCExhausted != 0
	case "13":
		return p.On&RetryGRPCInternal != 0
	case "14":
		return p.On&RetryGRPCUnavailable != 0
	}
	return false
}

// Asked is how long the response asks to wait before a retry: up to half of it
// more, so that not all come at once.
func (p *Retry) Asked(h *filter.Headers, now time.Time, random uint64) (time.Duration, bool) {
	for i := range p.ResetHeaders {
		r := &p.ResetHeaders[i]
		n, err := strconv.ParseInt(strings.TrimSpace(h.Get(r.Name)), 10, 64)
		if err != nil {
			continue
		}
		if r.Timestamp {
			n -= now.Unix()
		}
		if n <= 0 || n > int64(p.ResetMax/time.Second) {
			continue
		}
		d := time.Duration(n) * time.Second
		return d + time.Duration(mix(random)%uint64(d/2)), true
	}
	return 0, false
}

func (p *RetryPolicy) base() time.Duration {
	if p.BackoffBase > 0 {
		return p.BackoffBase
	}
	return 25 * time.Millisecond
}

// Backoff is the delay before the n-th retry (from 1): a random part of an
// interval that doubles.
func (p *Retry) Backoff(n int, random uint64) time.Duration {
	base := p.base()
	most := p.BackoffMax
	if most == 0 {
		most = 10 * base
	}
	d := base
	for range n - 1 {
		if d >= most {
			break
		}
		d *= 2
	}
	return time.Duration(mix(random) % uint64(min(d, most)))
}
