package route

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/proxy/filter"
)

func retry(t *testing.T, on string, p RetryPolicy) *Retry {
	t.Helper()
	var err error
	if p.On, p.StatusCodes, err = ParseRetryOn(on); err != nil {
		t.Fatal(err)
	}
	r, err := compileRetry(&p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestParseRetryOn(t *testing.T) {
	on, codes, err := ParseRetryOn(" connect-failure,refused-stream, 503,unavailable,")
	if err != nil {
		t.Fatal(err)
	}
	if want := RetryConnectFailure | RetryRefusedStream | RetryStatusCodes | RetryGRPCUnavailable; on != want {
		t.Errorf("conditions %b, want %b", on, want)
	}
	if diff := cmp.Diff([]int{503}, codes); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"5XX", "99", "600", "a b"} {
		if _, _, err := ParseRetryOn(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestAfterResponse(t *testing.T) {
	for _, c := range []struct {
		on     string
		status int
		fields []string
		want   bool
	}{
		{"5xx", 500, nil, true},
		{"5xx", 499, nil, false},
		{"gateway-error", 503, nil, true},
		{"gateway-error", 500, nil, false},
		{"retriable-4xx", 409, nil, true},
		{"429", 429, nil, true},
		{"429", 503, nil, false},
		{"retriable-headers", 200, []string{"x-again", "1"}, true},
		{"retriable-headers", 200, nil, false},
		{"unavailable", 200, []string{"grpc-status", "14"}, true},
		{"unavailable", 200, []string{"grpc-status", "4"}, false},
		{"deadline-exceeded,cancelled,resource-exhausted,internal", 200, []string{"grpc-status", "13"}, true},
		{"5xx", 503, []string{"x-envoy-ratelimited", "true"}, false},
		{"envoy-ratelimited", 429, []string{"x-envoy-ratelimited", "true"}, true},
		{"connect-failure", 503, nil, false},
	} {
		h := &filter.Headers{Status: c.status}
		for i := 0; i < len(c.fields); i += 2 {
			h.Add(c.fields[i], c.fields[i+1])
		}
		r := retry(t, c.on, RetryPolicy{Headers: []HeaderMatch{{Name: "x-again"}}})
		if got := r.AfterResponse(h); got != c.want {
			t.Errorf("%s after %d %v: %v, want %v", c.on, c.status, c.fields, got, c.want)
		}
	}
}

func TestAfterReset(t *testing.T) {
	for _, c := range []struct {
		on    string
		reset Reset
		sent  bool
		want  bool
	}{
		{"5xx", ResetRemote, true, true},
		{"gateway-error", ResetTimeout, true, true},
		{"reset", ResetRemote, true, true},
		{"reset", ResetOverflow, false, false},
		{"connect-failure", ResetConnectFailure, false, true},
		{"connect-failure", ResetRemote, true, false},
		{"refused-stream", ResetRefused, true, true},
		{"reset-before-request", ResetRemote, false, true},
		{"reset-before-request", ResetRemote, true, false},
		{"503", ResetRemote, true, false},
	} {
		if got := retry(t, c.on, RetryPolicy{}).AfterReset(c.reset, c.sent); got != c.want {
			t.Errorf("%s after reset %d, sent %v: %v, want %v", c.on, c.reset, c.sent, got, c.want)
		}
	}
}

func TestRetryApplies(t *testing.T) {
	p := RetryPolicy{Retries: 2, RequestHeaders: []HeaderMatch{{Name: ":method", Value: &StringMatch{Value: "GET"}}}}
	r := retry(t, "5xx", p)
	if !r.Applies(request("GET", "h", "/")) || r.Applies(request("POST", "h", "/")) {
		t.Error("the request's head decides wrongly")
	}
	p.Retries = 0
	if retry(t, "5xx", p).Applies(request("GET", "h", "/")) {
		t.Error("no retries apply")
	}
}

func TestBackoff(t *testing.T) {
	r := retry(t, "5xx", RetryPolicy{BackoffBase: 10 * time.Millisecond, BackoffMax: 30 * time.Millisecond})
	for n, most := range map[int]time.Duration{1: 10 * time.Millisecond, 2: 20 * time.Millisecond, 3: 30 * time.Millisecond, 60: 30 * time.Millisecond} {
		var longest time.Duration
		for i := range uint64(2000) {
			longest = max(longest, r.Backoff(n, i))
		}
		if longest >= most || longest < most*9/10 {
			t.Errorf("retry %d: longest wait %v, want just below %v", n, longest, most)
		}
	}
}
