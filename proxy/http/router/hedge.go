package router

import (
	"time"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
	"github.com/weftmesh/weft/proxy/http/pool"
)

// Hedging: an attempt whose time is over goes on beside the next one, and the
// first good answer is the client's. Only requests that are whole get there, since
// the time of an attempt begins when it has all of the request.

// hedge is an attempt that goes on beside the present one. It has sent the whole
// request and waits for its answer; when that is taken it becomes the present one.
type hedge struct {
	r        *Router
	x        *pool.Exchange
	host     *cluster.Host
	upstream filter.Upstream // as the stream's info is to show it
	began    time.Time
	life     time.Time
	full     bool
}

var _ pool.User = (*hedge)(nil)

// hedge lets the present attempt, whose time is over, go on beside another one,
// or alone when there may not be another. It counts as failed for its host.
func (r *Router) hedge() {
	r.tryUntil, r.tryIdle = time.Time{}, time.Time{}
	r.host.Report(cluster.RequestTimedOut)
	r.softened = true
	if r.phase != sent || r.retry == nil || !r.mayRetry() {
		return
	}
	g := &hedge{r: r, x: r.x, host: r.host, upstream: r.ds.Info().Upstream, began: r.began, life: r.tryLife, full: r.full}
	g.x.User = g
	r.hedges = append(r.hedges, g)
	r.x = new(pool.Exchange)
	r.timedOutTry = true
	r.later(nil)
}

// leaveToHedges tells whether a response of the present attempt, which would be
// tried again if that were allowed, is dropped because another may bring a better.
func (r *Router) leaveToHedges(h *filter.Headers) bool {
	if len(r.hedges) == 0 || r.retry == nil || !r.retry.AfterResponse(h) {
		return false
	}
	r.x.Reset(codec.ResetCancel)
	r.phase = waiting
	r.endTry()
	pool.PutHeaders(h)
	return true
}

// dropHedges gives up what goes on beside the present attempt.
func (r *Router) dropHedges() {
	for _, g := range r.hedges {
		g.x.Reset(codec.ResetCancel)
	}
	r.hedges = nil
}

// hedgeLife is the end of the first hedge that may not last longer, zero: none.
func (r *Router) hedgeLife() (first time.Time) {
	for _, g := range r.hedges {
		if first.IsZero() || !g.life.IsZero() && g.life.Before(first) {
			first = g.life
		}
	}
	return first
}

// others tells whether something else than g may answer yet.
func (g *hedge) others() bool {
	r := g.r
	return len(r.hedges) > 1 || r.x.Active() || !r.retryAt.IsZero()
}

// leave takes g off the list.
func (g *hedge) leave() {
	for i, o := range g.r.hedges {
		if o == g {
			g.r.hedges = append(g.r.hedges[:i], g.r.hedges[i+1:]...)
			return
		}
	}
}

// promote makes g the present attempt, and the only one.
func (g *hedge) promote() *upstream {
	r := g.r
	g.leave()
	r.dropHedges()
	r.x.Reset(codec.ResetCancel)
	r.endTry()
	r.retryAt = time.Time{}
	u := (*upstream)(r)
	g.x.User = u
	r.x, r.host, r.began, r.tryLife, r.full = g.x, g.host, g.began, g.life, g.full
	r.ds.Info().Upstream = g.upstream
	r.phase, r.headSent, r.bodySent = sent, true, true
	r.retry, r.retries, r.resends = nil, 0, maxResends // it has been tried again already
	if r.respPaused {
		r.x.Reading(false)
	}
	return u
}

// OnHeaders implements pool.User.
func (g *hedge) OnHeaders(h *filter.Headers, end bool) {
	r := g.r
	if r.retry != nil && r.retry.AfterResponse(h) && g.others() {
		g.host.ReportStatus(h.Status)
		g.leave()
		g.x.Reset(codec.ResetCancel)
		pool.PutHeaders(h)
		return
	}
	g.promote().OnHeaders(h, end)
}

// OnReset implements pool.User.
func (g *hedge) OnReset(code codec.ResetCode) {
	if !g.others() {
		g.promote().OnReset(code)
		return
	}
	r := g.r
	g.leave()
	r.cluster.Stats().UpstreamRqRxReset.Add(1)
	g.host.Report(cluster.RemoteReset)
	r.countStatus(resetStatus(code))
}

// OnInterim implements pool.User.
func (g *hedge) OnInterim(h *filter.Headers) { g.promote().OnInterim(h) }

// OnBlocked implements pool.User.
func (g *hedge) OnBlocked(on bool) { g.full = on }

// The others come before the request is sent, or after OnHeaders has made the
// Router the user.

// OnReady implements pool.User.
func (g *hedge) OnReady() {}

// OnFail implements pool.User.
func (g *hedge) OnFail(pool.Failure) {}

// OnUpgraded implements pool.User.
func (g *hedge) OnUpgraded() {}

// OnData implements pool.User.
func (g *hedge) OnData([]byte, bool) {}

// OnTrailers implements pool.User.
func (g *hedge) OnTrailers(*filter.Headers) {}
