package route

import (
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
	// AvoidPriorities spreads retries over other priorities after that many attempts; 0: never.
	AvoidPriorities int
}

// ParseRetryOn reads Envoy's comma-separated list, of HTTP and gRPC conditions
// and, as Istio writes them, bare status codes.
func ParseRetryOn(list string) (on RetryOn, codes []int, err error) { panic("BUG: being built") }

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
}

// Applies tells whether a request with that head may be retried at all.
func (p *Retry) Applies(h *filter.Headers) bool { panic("BUG: being built") }

// AfterReset tells whether to try again; sent: the request head had been sent.
func (p *Retry) AfterReset(r Reset, sent bool) bool { panic("BUG: being built") }

// AfterResponse tells whether to try again after a response head (of a gRPC
// call with trailers only, its trailers).
func (p *Retry) AfterResponse(h *filter.Headers) bool { panic("BUG: being built") }

// Backoff is the delay before the n-th retry (from 1).
func (p *Retry) Backoff(n int, random uint64) time.Duration { panic("BUG: being built") }
