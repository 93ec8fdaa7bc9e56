package router

import (
	"time"

	"github.com/weftmesh/weft/proxy/filter"
)

// What clusters count only where they are told to (cluster.Track).

// trackHead counts the heads of an exchange, when the response's has come.
func (r *Router) trackHead(response *filter.Headers) {
	if z := r.cluster.Stats().Sizes(); z != nil {
		z.Head(r.h, false)
		z.Head(response, true)
	}
}

// trackEnd counts what is known when a response is whole.
func (r *Router) trackEnd(now time.Time) {
	if z := r.cluster.Stats().Sizes(); z != nil {
		z.RqBody.Record(float64(r.sentBytes))
		z.RsBody.Record(float64(r.gotBytes))
	}
	if b := r.cluster.Stats().Budgets(); b != nil {
		whole := time.Duration(0)
		if !r.deadline.IsZero() {
			whole = now.Sub(r.deadline.Add(-r.plan.timeout))
		}
		b.Request.Record(percentOf(whole, r.plan.timeout))
		b.Attempt.Record(percentOf(now.Sub(r.began), r.plan.perTry))
	}
}

// percentOf is how much of a timeout has been used, in whole percents; 0 of none.
func percentOf(used, timeout time.Duration) float64 {
	if timeout <= 0 {
		return 0
	}
	return float64(used.Milliseconds() * 100 / max(timeout.Milliseconds(), 1))
}
