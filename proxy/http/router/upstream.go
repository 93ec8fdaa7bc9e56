package router

import (
	"strconv"
	"time"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
	"github.com/weftmesh/weft/proxy/http/pool"
	"github.com/weftmesh/weft/proxy/route"
)

// upstream is a Router as the user of its exchange.
type upstream Router

var _ pool.User = (*upstream)(nil)

// OnReady implements pool.User: sends what there is of the request.
func (u *upstream) OnReady() {
	r := (*Router)(u)
	info := r.ds.Info()
	info.Upstream.Local = r.x.Local
	info.Upstream.TLS, info.Upstream.State = r.x.TLS != nil, r.x.TLS
	info.Upstream.PeerURI = r.x.PeerURI
	r.phase = sent
	r.note(route.Sent)
	if r.respPaused { // before there was anything to pause
		r.x.Reading(false)
	}
	if r.ended {
		r.armTry(r.ds.Now())
	}
	if r.Terminate != nil {
		r.headSent = true
		if r.Upgrade == "" && len(r.body) > 0 { // a POST's, which does not wait
			r.x.Data(r.body, false)
			r.body = r.body[:0]
		}
		h := pool.GetHeaders()
		h.Status = 200
		u.OnHeaders(h, false)
		u.OnUpgraded()
		return
	}
	r.sendHead()
	if r.Upgrade != "" {
		return
	}
	if len(r.body) > 0 {
		r.bodySent = true
		r.x.Data(r.body, r.ended && r.trailer == nil)
	}
	if r.trailer != nil {
		r.x.Trailers(r.trailer)
	}
	if !r.keep {
		r.body = r.body[:0]
	}
	r.resume()
}

// OnUpgraded implements pool.User: sends what the client has said meanwhile.
func (u *upstream) OnUpgraded() {
	r := (*Router)(u)
	r.open = true
	if len(r.body) > 0 || r.ended {
		r.x.Data(r.body, r.ended)
	}
	r.body = r.body[:0]
	r.resume()
}

// sendHead sends the request's head with what is this attempt's.
func (r *Router) sendHead() {
	h := r.h
	r.Entry.AutoHost(h, r.ds.Info().Upstream.HostName)
	if !r.cfg.SuppressHeaders && r.Entry.VirtualHost().AttemptCount {
		r.setInt(h, "x-envoy-attempt-count", int64(r.ds.Info().Attempts))
	}
	if r.retries > 0 && r.Entry.VirtualHost().TimeoutRetryHeader {
		h.Set("x-envoy-is-timeout-retry", strconv.FormatBool(r.timedOutTry))
	}
	if r.retries > 0 && !r.deadline.IsZero() {
		r.sayTimeout(r.ds.Now().Sub(r.deadline.Add(-r.plan.timeout)))
	}
	if f := r.cfg.Attempt; f != nil {
		f(r.ds.Info(), h, r.ds.Now())
	}
	end := r.ended && len(r.body) == 0 && r.trailer == nil && r.Upgrade == ""
	r.headSent = true
	if h.Protocol != "" {
		r.completeUpgrade(h)
	}
	r.x.Headers(h, end)
}

// OnFail implements pool.User.
func (u *upstream) OnFail(f pool.Failure) {
	r := (*Router)(u)
	info := r.ds.Info()
	info.Upstream.Failure = ""
	reset, reason := route.ResetConnectFailure, "remote connection failure"
	flags := filter.FlagUpstreamConnectionFailure
	switch f.Kind {
	case pool.FailOverflow:
		reset, reason, flags = route.ResetOverflow, "overflow", filter.FlagUpstreamOverflow
	case pool.FailTimeout:
		reason = "connection timeout"
		r.host.Report(cluster.ConnectTimedOut)
	case pool.FailLocal:
		reason = "local connection failure"
	default:
		r.host.Report(cluster.ConnectFailed)
	}
	if f.Err != nil && f.Kind != pool.FailOverflow {
		info.Upstream.Failure = failureText(f.Err)
	}
	r.failed(reset, reason, flags)
}

// OnReset implements pool.User.
func (u *upstream) OnReset(code codec.ResetCode) {
	r := (*Router)(u)
	r.cluster.Stats().UpstreamRqRxReset.Add(1)
	if r.resend(code) {
		return
	}
	reset, reason := route.ResetRemote, "remote reset"
	flags := filter.FlagUpstreamRemoteReset
	switch {
	case code == codec.ResetConnection:
		reason, flags = "connection termination", filter.FlagUpstreamConnectionTermination
	case code == codec.ResetRefused:
		reset, reason = route.ResetRefused, "remote refused stream reset"
	case code == codec.ResetConnect:
		reason = "remote error with CONNECT request"
	case violated(code):
		reason, flags = "protocol error", filter.FlagUpstreamProtocolError
	}
	if code == codec.ResetCancel && r.overdue() {
		return
	}
	r.host.Report(cluster.RemoteReset)
	r.failed(reset, reason, flags)
}

// resend begins again, without counting it as a retry, when a pooled connection
// turned out to be dead, or the peer did nothing with the stream.
func (r *Router) resend(code codec.ResetCode) bool {
	stale := code == codec.ResetConnection && r.x.Reused && (!r.bodySent || r.keep) && replayable(r.h.Method)
	refused := code == codec.ResetRefused && (!r.bodySent || r.keep)
	if !stale && !refused || r.phase != sent || r.resends >= maxResends {
		return false
	}
	if refused && r.resends > 0 {
		return false // once for the race with GOAWAY; then it is the peer's will
	}
	r.resends++
	r.nTried-- // not the host's fault
	r.avoided.attempts--
	r.ds.Info().Attempts--
	r.try()
	return true
}

// replayable tells whether a request may be sent twice.
func replayable(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// OnInterim implements pool.User.
func (u *upstream) OnInterim(h *filter.Headers) {
	if r := (*Router)(u); len(r.hedges) > 0 {
		r.dropHedges()
		r.retry = nil // as in Envoy: the client has been told to go on by this one
	}
	u.ds.RespondInterim(h)
	pool.PutHeaders(h)
}

// OnHeaders implements pool.User.
func (u *upstream) OnHeaders(h *filter.Headers, end bool) {
	r := (*Router)(u)
	now := r.ds.Now()
	info := r.ds.Info()
	info.UpstreamFirstByte = max(now.Sub(info.Start), 1)
	r.tryUntil = time.Time{}
	r.touchIdle(now)
	r.report(h)
	r.takeLoad(h)
	if r.retryResponse(h) {
		r.x.Reset(codec.ResetCancel)
		r.timedOutTry = false
		r.later(h)
		pool.PutHeaders(h)
		return
	}
	if r.followed(h) || r.leaveToHedges(h) {
		return
	}
	r.dropHedges()
	r.phase = responding
	if r.retries > 0 && h.Status < 500 {
		r.cluster.Stats().UpstreamRqRetrySuccess.Add(1)
		r.note(route.RetrySuccess)
	}
	granted := h.Status == 101 || r.Upgrade == "CONNECT" && h.Status/100 == 2
	if !r.mirrors {
		r.keep, r.retry = false, nil
		if !granted { // else it is what the client has sent ahead
			r.body = r.body[:0]
		}
	}
	r.countStatus(h.Status)
	r.trackHead(h)
	if r.h.Protocol != "" {
		r.completeUpgraded(h)
	}
	if granted {
		r.tunnel = true
		r.deadline = time.Time{}
		r.endTry()
		r.plan.timeout, r.plan.perTryIdle = 0, 0
	}
	r.finishHead(h, now)
	if end {
		r.finish()
	}
	u.ds.RespondHeaders(h, end)
}

// followed follows a redirect, where the route wants it.
func (r *Router) followed(h *filter.Headers) bool {
	p := r.Entry.Forward().Internal
	if p == nil || !p.Follows(h.Status) {
		return false
	}
	st := r.cluster.Stats()
	if r.follow && r.ended && h.Has("location") && r.ds.Redirect(h, r.body, r.trailer) {
		st.UpstreamInternalRedirectSucceeded.Add(1)
		return true
	}
	st.UpstreamInternalRedirectFailed.Add(1)
	return false
}

// finishHead makes the response's head the client's.
func (r *Router) finishHead(h *filter.Headers, now time.Time) {
	info := r.ds.Info()
	info.Details = "via_upstream"
	if r.cookie != "" {
		h.Add("set-cookie", r.cookie)
	}
	if !r.cfg.SuppressHeaders {
		if r.ended && r.Upgrade == "" { // else it says nothing about the upstream
			r.setInt(h, "x-envoy-upstream-service-time", max(now.Sub(r.began).Milliseconds(), 0))
		}
		if r.Entry.VirtualHost().ResponseAttemptCount {
			r.setInt(h, "x-envoy-attempt-count", int64(info.Attempts))
		}
	}
	info.Response = h
	info.Status = h.Status
	r.Entry.RewriteResponse(r.Target, h, info)
}

// report tells outlier detection about a response.
func (r *Router) report(h *filter.Headers) {
	if r.host.ReportResponse(h) {
		return
	}
	if r.ds.Info().GRPC {
		if s, ok := grpcStatus(h); ok {
			r.host.ReportStatus(filter.HTTPOfGRPC(s))
			return
		}
		if h.Status == 200 {
			return // the trailers will say
		}
	}
	r.host.ReportStatus(h.Status)
}

// takeLoad passes the load that the host reports on, once per attempt.
func (r *Router) takeLoad(h *filter.Headers) {
	if !r.loadTaken && r.host.WantsLoad() {
		r.loadTaken = r.host.TakeLoad(h)
	}
}

// OnData implements pool.User.
func (u *upstream) OnData(b []byte, end bool) {
	r := (*Router)(u)
	r.touchIdle(r.ds.Now())
	r.gotBytes += uint64(len(b))
	if end {
		r.finish()
	}
	if r.respPaused {
		r.owed += len(b)
	} else {
		r.x.Consumed(len(b))
	}
	u.ds.RespondData(b, end)
}

func (r *Router) touchIdle(now time.Time) {
	if !r.tryIdle.IsZero() {
		r.tryIdle = now.Add(r.plan.perTryIdle)
	}
}

// OnTrailers implements pool.User.
func (u *upstream) OnTrailers(h *filter.Headers) {
	r := (*Router)(u)
	if r.ds.Info().GRPC {
		if s, ok := grpcStatus(h); ok {
			r.host.ReportStatus(filter.HTTPOfGRPC(s))
		}
	}
	r.takeLoad(h)
	r.finish()
	u.ds.RespondTrailers(h)
}

// OnBlocked implements pool.User.
func (u *upstream) OnBlocked(on bool) {
	r := (*Router)(u)
	r.full = on
	if on {
		r.pause()
	} else {
		r.resume()
	}
}

// finish is called when the response is whole. An upstream that answered
// before it had the whole request gets no more of it.
func (r *Router) finish() {
	d := r.ds.Now().Sub(r.began)
	r.cluster.Stats().RequestTime(d)
	r.trackEnd(r.ds.Now())
	r.phase = idle
	if r.tunnel && !r.ended {
		r.phase = responding // the client's direction is still open
	} else {
		r.x.Reset(codec.ResetNone)
	}
	r.deadline = time.Time{}
	r.endTry()
	r.releaseRetry()
}
