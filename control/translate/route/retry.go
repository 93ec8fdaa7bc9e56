package route

import (
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	previousprioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/translate/pb"
)

// Istio's default since 1.24: what the server has not begun to carry out. A 503
// is not in it, for it may be the answer to a POST that was carried out.
const (
	defaultRetryOn  = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
	defaultAttempts = 2
	statusCodes     = "retriable-status-codes"
	// hostAttempts is how often another host is looked for that was not tried yet.
	hostAttempts = 5
)

// retryPolicy translates a route's retries; nil means the mesh's default. It
// returns nil when nothing is to be tried again. Where requests are hashed to
// hosts, a retry goes to the same one unless the route says otherwise.
func retryPolicy(r, meshDefault *model.Retry, hashed bool) *routev3.RetryPolicy {
	if r == nil {
		r = meshDefault
	}
	if r == nil {
		r = &model.Retry{Attempts: defaultAttempts}
	}
	if r.Attempts <= 0 {
		return nil
	}
	out := &routev3.RetryPolicy{NumRetries: pb.U32(uint32(r.Attempts))}
	on := r.On
	if on == "" {
		on = defaultRetryOn
	}
	out.RetryOn, out.RetriableStatusCodes = splitRetryOn(on)
	if r.PerTryTimeout > 0 {
		out.PerTryTimeout = pb.Duration(r.PerTryTimeout)
	}
	if r.IgnorePreviousHosts == nil && !hashed || r.IgnorePreviousHosts != nil && *r.IgnorePreviousHosts {
		out.RetryHostPredicate = []*routev3.RetryPolicy_RetryHostPredicate{{
			Name: "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{
				TypedConfig: pb.Any(&previoushostsv3.PreviousHostsPredicate{}),
			},
		}}
		out.HostSelectionRetryMaxAttempts = hostAttempts
	}
	if r.RemoteLocalities != nil && *r.RemoteLocalities {
		out.RetryPriority = &routev3.RetryPolicy_RetryPriority{
			Name: "envoy.retry_priorities.previous_priorities",
			ConfigType: &routev3.RetryPolicy_RetryPriority_TypedConfig{
				TypedConfig: pb.Any(&previousprioritiesv3.PreviousPrioritiesConfig{UpdateFrequency: 2}),
			},
		}
	}
	if r.Backoff > 0 {
		out.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{BaseInterval: pb.Duration(r.Backoff)}
	}
	return out
}

// splitRetryOn takes the status codes out of a retryOn list.
func splitRetryOn(on string) (string, []uint32) {
	var words []string
	var codes []uint32
	for w := range strings.SplitSeq(on, ",") {
		w = strings.TrimSpace(w)
		if w == "" {
			continue
		}
		if n, err := strconv.ParseUint(w, 10, 32); err == nil && n >= 100 && n < 600 {
			codes = append(codes, uint32(n))
			continue
		}
		words = append(words, w)
	}
	joined := strings.Join(words, ",")
	if len(codes) > 0 && !strings.Contains(joined, statusCodes) {
		words = append(words, statusCodes)
		joined = strings.Join(words, ",")
	}
	return joined, codes
}
