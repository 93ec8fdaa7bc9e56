// Package healthcheck is the HTTP filter envoy.filters.http.health_check: it
// answers health checks itself, from the state of clusters or from what the upstream has
// said not long ago, or passes them on and marks the answer.
//
// A proxy that was told to fail (the admin API's /healthcheck/fail) fails all
// checks, and says with every response that it is to be left alone.
package healthcheck

import (
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/route"
)

// Name of the filter, in Envoy's words.
const Name = "envoy.filters.http.health_check"

// Members tells how many hosts a cluster has, and how many of them requests may
// go to; false: there is no such cluster.
type Members func(cluster string) (all, available int, ok bool)

// minimum is the share of hosts, in percent, that a cluster needs.
type minimum struct {
	cluster string
	percent float64
}

type factory struct {
	self        string
	members     Members
	failing     func() bool
	passThrough bool
	cacheTime   time.Duration
	headers     route.HeaderTests
	clusters    []minimum
	// cached is what the upstream said last.
	cached atomic.Pointer[answer]

	total, ok, failed, fromCache, degraded *filter.Counter
	noCluster, emptyCluster, sickCluster   *filter.Counter
}

// answer of the upstream, and until when it holds.
type answer struct {
	status   int
	degraded bool
	until    time.Time
}

func (f *factory) count(ctx *filter.ParseContext) {
	for stat, c := range map[string]**filter.Counter{
		"request_total": &f.total, "ok": &f.ok, "failed": &f.failed, "cached_response": &f.fromCache, "degraded": &f.degraded,
		"failed_cluster_not_found": &f.noCluster, "failed_cluster_empty": &f.emptyCluster, "failed_cluster_unhealthy": &f.sickCluster,
	} {
		*c = ctx.Counter("health_check." + stat)
	}
}

// New implements filter.HTTPFactory.
func (f *factory) New(s filter.Stream) filter.HTTPFilter {
	if !f.headers.All(s.Request()) {
		if f.failing() {
			return marker{}
		}
		return nil
	}
	s.Info().HealthCheck = true
	return &instance{factory: f}
}

// marker marks the response to a request that is no check.
type marker struct{ filter.PassThrough }

const failingHeader = "x-envoy-immediate-health-check-fail"

// ResponseHeaders marks.
func (marker) ResponseHeaders(_ filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
	h.Set(failingHeader, "true")
	return filter.Continue
}

// instance is the filter of one health check; other requests have none.
type instance struct {
	filter.PassThrough
	*factory
	answers bool
}

// RequestHeaders answers, or passes the check on.
func (x *instance) RequestHeaders(s filter.Stream, _ *filter.Headers, end bool) filter.Verdict {
	cached := x.cached.Load()
	x.answers = !x.passThrough || x.failing() || x.cacheTime > 0 && cached != nil && time.Now().Before(cached.until)
	if !x.answers {
		return filter.Continue
	}
	if !end {
		return filter.Wait // for the end of what the client sends
	}
	x.answer(s)
	return filter.Reply
}

// RequestData throws the body of a check away.
func (x *instance) RequestData(s filter.Stream, _ []byte, end bool) filter.Verdict {
	switch {
	case !x.answers:
		return filter.Continue
	case end:
		x.answer(s)
		return filter.Reply
	}
	return filter.Stop
}

// RequestTrailers answers.
func (x *instance) RequestTrailers(s filter.Stream, _ *filter.Headers) filter.Verdict {
	if !x.answers {
		return filter.Continue
	}
	x.answer(s)
	return filter.Reply
}

func (x *instance) answer(s filter.Stream) {
	x.total.Add(1)
	r := filter.LocalReply{Status: 200, GRPCStatus: -1, Details: "health_check_ok"}
	if x.failing() {
		r.Status, r.Details = 503, "health_check_failed"
	} else if c := x.cached.Load(); x.cacheTime > 0 && c != nil {
		x.fromCache.Add(1)
		r.Status, r.Details = c.status, "health_check_cached"
		if c.degraded {
			x.degraded.Add(1)
			r.Header = []filter.Field{{Name: "x-envoy-degraded", Value: ""}}
		}
	} else {
		x.byClusters(&r)
	}
	if r.Status/100 == 2 {
		x.ok.Add(1)
	} else {
		x.failed.Add(1)
		r.Flags = filter.FlagFailedLocalHealthCheck
	}
	s.Reply(r)
}

// byClusters fails when one of the clusters has too few hosts.
func (x *instance) byClusters(r *filter.LocalReply) {
	for _, m := range x.clusters {
		r.Details = "health_check_cluster_healthy"
		all, available, ok := x.members(m.cluster)
		switch least := uint64(m.percent); {
		case !ok:
			r.Status, r.Details = 503, "health_check_no_cluster"
			x.noCluster.Add(1)
			return
		case all == 0 && least > 0:
			r.Status, r.Details = 503, "health_check_cluster_empty"
			x.emptyCluster.Add(1)
			return
		case 100*uint64(available) < uint64(all)*least:
			r.Status, r.Details = 503, "health_check_cluster_unhealthy"
			x.sickCluster.Add(1)
			return
		}
	}
}

// ResponseHeaders remembers what the upstream says and marks the answer.
func (x *instance) ResponseHeaders(_ filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
	if x.cacheTime > 0 && !x.answers {
		x.cached.Store(&answer{h.Status, h.Has("x-envoy-degraded"), time.Now().Add(x.cacheTime)})
	}
	if x.failing() {
		h.Set(failingHeader, "true")
	}
	h.Set("x-envoy-upstream-healthchecked-cluster", x.self)
	return filter.Continue
}
