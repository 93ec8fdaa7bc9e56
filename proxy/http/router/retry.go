package router

import (
	"errors"
	"math/rand/v2"
	"strings"
	"syscall"
	"time"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
	"github.com/weftmesh/weft/proxy/route"
)

// failed ends an attempt that brought no response head, or cut the response
// off: retries or answers.
func (r *Router) failed(reset route.Reset, reason string, flags filter.ResponseFlags) {
	info := r.ds.Info()
	if r.phase == responding {
		details := "upstream_reset_after_response_started{" + underscored(reason) + "}"
		r.Abort()
		r.ds.CutResponse(details, flags)
		return
	}
	r.phase = waiting
	r.endTry()
	if r.retryReset(reset) {
		r.timedOutTry = false
		r.later(nil)
		return
	}
	status := 503
	if flags == filter.FlagUpstreamProtocolError {
		status = 502
	}
	r.countStatus(status)
	if len(r.hedges) > 0 {
		return // one of them may answer
	}
	var body strings.Builder
	body.WriteString("upstream connect error or disconnect/reset before headers. ")
	if info.Attempts > 1 {
		body.WriteString("retried and the latest ")
	}
	body.WriteString("reset reason: " + reason)
	why := underscored(reason)
	if info.Upstream.Failure != "" {
		why += "|" + underscored(info.Upstream.Failure)
	}
	l := filter.LocalReply{
		Status: status, Body: body.String(), Flags: flags,
		Details: "upstream_reset_before_response_started{" + why + "}",
	}
	if reset == route.ResetOverflow {
		l.Header = []filter.Field{{Name: "x-envoy-overloaded", Value: "true"}}
	}
	r.reply(l)
}

// resetStatus is what an attempt counts as that was cut off.
func resetStatus(code codec.ResetCode) int {
	if violated(code) {
		return 502
	}
	return 503
}

// violated tells whether a stream was cut off because one side says that the other has
// broken the protocol.
func violated(code codec.ResetCode) bool {
	return code == codec.ResetProtocol || code&codec.ResetLocal != 0
}

func underscored(s string) string { return strings.ReplaceAll(s, " ", "_") }

// failureText is the transport failure reason, as Envoy words it.
func failureText(err error) string {
	var no syscall.Errno
	if errors.As(err, &no) {
		s := no.Error()
		return "delayed connect error: " + strings.ToUpper(s[:1]) + s[1:]
	}
	var de *cluster.DialError
	if errors.As(err, &de) && de.Err != nil {
		return de.Err.Error()
	}
	return err.Error()
}

// retryResponse tells whether a response is to be thrown away and the request
// sent again.
func (r *Router) retryResponse(h *filter.Headers) bool {
	return r.retry != nil && r.phase == sent && r.retry.AfterResponse(h) && r.mayRetry()
}

func (r *Router) retryReset(reset route.Reset) bool {
	if reset == route.ResetOverflow {
		return false
	}
	return r.retry != nil && r.retry.AfterReset(reset, r.headSent) && r.mayRetry()
}

// mayRetry takes one retry off the policy's and the cluster's budget.
func (r *Router) mayRetry() bool {
	info, st := r.ds.Info(), r.cluster.Stats()
	if r.retries >= int(r.retry.Retries) {
		info.Flags |= filter.FlagUpstreamRetryLimitExceeded
		st.UpstreamRqRetryLimitExceeded.Add(1)
		r.note(route.RetryLimitExceeded)
		return false
	}
	if !r.held {
		if !r.limits.Acquire(cluster.Retries) {
			info.Flags |= filter.FlagUpstreamOverflow
			r.note(route.RetryOverflow)
			return false
		}
		r.held = true
	}
	r.retries++
	st.UpstreamRqRetry.Add(1)
	r.note(route.Retried)
	return true
}

func (r *Router) releaseRetry() {
	if r.held {
		r.held = false
		r.limits.Release(cluster.Retries)
	}
}

// priorities are those that the attempts of a request went to, for retries that
// are to go elsewhere (previous_priorities).
type priorities struct {
	attempts int
	seen     uint64 // bit set
	skip     uint64 // what the next attempt leaves out
}

// update decides, every few attempts, what is left out from now on; 0: nothing ever.
func (p *priorities) update(every int) {
	if every > 0 && p.attempts > 0 && p.attempts%every == 0 {
		p.skip = p.seen
	}
}

// picked notes where an attempt goes to. When no other priority could serve, all
// begins anew.
func (p *priorities) picked(k *cluster.Pick) {
	if p.skip != 0 && k.SkipPriorities == 0 {
		*p = priorities{}
	}
	p.attempts++
	p.seen |= 1 << (k.Priority & 63)
}

// later begins the next attempt after the backoff, or when the response h, nil
// after a reset, asks for it.
func (r *Router) later(h *filter.Headers) {
	r.phase = waiting
	r.headSent, r.resends = false, 0
	r.endTry()
	d, asked := time.Duration(0), false
	if h != nil && len(r.retry.ResetHeaders) > 0 {
		d, asked = r.retry.Asked(h, r.ds.Now(), rand.Uint64())
	}
	if asked {
		r.cluster.Stats().UpstreamRqRetryBackoffRatelimited.Add(1)
		r.note(route.RetryBackoffRatelimited)
	} else {
		d = r.retry.Backoff(r.retries, rand.Uint64())
		r.cluster.Stats().UpstreamRqRetryBackoffExponential.Add(1)
		r.note(route.RetryBackoffExponential)
	}
	r.retryAt = r.ds.Now().Add(d)
	r.ds.Arm(r.retryAt)
}

// timedOut: the route's timeout.
func (r *Router) timedOut() {
	if r.x.Active() {
		r.cluster.Stats().UpstreamRqTimeout.Add(1)
		r.note(route.Timeout)
		if !r.softened {
			r.host.Report(cluster.RequestTimedOut)
		}
		r.host.Stats().RqTimeout.Add(1)
		r.cluster.Stats().UpstreamRqTxReset.Add(1)
	}
	for _, g := range r.hedges {
		r.cluster.Stats().UpstreamRqTimeout.Add(1)
		g.host.Stats().RqTimeout.Add(1)
		r.countStatus(504)
	}
	r.giveUp(timeoutText, "response_timeout", filter.FlagUpstreamRequestTimeout)
}

// overdue answers a gRPC request whose server cancelled it when the time was over
// that grpc-timeout leaves it: servers do, at the moment at which the proxy's own
// timeout ends, and the client is to see one outcome, not the winner of a race.
func (r *Router) overdue() bool {
	const slack = time.Millisecond // of clocks that are read once per event
	info, now := r.ds.Info(), r.ds.Now().Add(slack)
	d, ok := parseGRPCTimeout(r.h.Get("grpc-timeout"))
	if !ok || !info.GRPC || r.phase == responding || now.Sub(info.Start) < d {
		return false
	}
	if !r.deadline.IsZero() && !now.Before(r.deadline) {
		r.timedOut()
		return true
	}
	r.Abort()
	r.countStatus(504)
	r.reply(filter.LocalReply{
		Status: 504, Body: timeoutText, Details: "response_timeout", Flags: filter.FlagUpstreamRequestTimeout,
		GRPCStatus: grpcDeadlineExceeded,
	})
	return true
}

// grpcDeadlineExceeded is the gRPC status of that name.
const grpcDeadlineExceeded = 4

const timeoutText = "upstream request timeout"

// giveUp answers a timeout.
func (r *Router) giveUp(text, details string, flags filter.ResponseFlags) {
	if r.phase != responding {
		r.countStatus(504)
	}
	// A response that has begun is cut off, unless filters hold its head.
	r.reply(filter.LocalReply{Status: 504, Body: text, Details: details, Flags: flags})
}

// tryTimedOut: the timeout of one attempt.
func (r *Router) tryTimedOut(details string, c *cluster.Counter) {
	if r.plan.hedge {
		r.hedge()
		return
	}
	c.Add(1)
	r.endTry()
	r.host.Report(cluster.RequestTimedOut)
	r.host.Stats().RqTimeout.Add(1)
	r.cluster.Stats().UpstreamRqTxReset.Add(1)
	r.x.Reset(codec.ResetCancel)
	if r.phase != responding && r.retryReset(route.ResetTimeout) {
		r.timedOutTry = true
		r.later(nil)
		return
	}
	r.giveUp(timeoutText, details, filter.FlagUpstreamRequestTimeout)
}
