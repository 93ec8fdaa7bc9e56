// Package quota is the filter weft.filters.http.quota: limits that all proxies of a mesh share, for which each leases
// tokens from the control plane ahead of time (wire/quota.proto). No request waits for a token: there is one, or it is
// refused with 429.
//
// While the control plane is not there each proxy goes on at the rate that it was granted of late. What is taken too
// much by credit, or in that time, is the control plane's to bound and to pay back (control/limiter/quota).
//
// Limits that are this process's alone are proxy/http/localrate's.
package quota

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/descriptor"
	"github.com/weftmesh/weft/wire"
)

// Name of the filter.
const Name = wire.QuotaFilter

// rule is one quota of a route.
type rule struct {
	id       string
	requests descriptor.Rules
	limit    float64
	interval time.Duration
	shadow   bool
	refusal  []filter.Field
	// one is the lease where all requests count together; nil: there is one for each of their values.
	one                *lease
	ok, over, shadowed *filter.Counter
}

// config is that of a route.
type config struct {
	agent   *Agent
	rules   []rule
	headers bool
	source  string
}

type factory struct{ name string }

var instances = sync.Pool{New: func() any { return new(instance) }}

// New implements filter.HTTPFactory.
func (f *factory) New(filter.Stream) filter.HTTPFilter {
	x := instances.Get().(*instance)
	x.name = f.name
	return x
}

// instance is the filter of one stream.
type instance struct {
	filter.PassThrough
	name  string
	cfg   *config
	found []descriptor.Descriptor
	told  *lease // the one that headers tell of
	by    *rule  // that has refused the request
	now   time.Time
}

// RequestHeaders takes a token of each quota that the request is of.
func (x *instance) RequestHeaders(s filter.Stream, _ *filter.Headers, _ bool) filter.Verdict {
	c, _ := s.RouteConfig(x.name).(*config)
	if c == nil {
		return filter.Continue
	}
	x.cfg, x.now = c, s.Info().Start
	for i := range c.rules {
		r := &c.rules[i]
		x.found = r.requests.Append(x.found[:0], descriptor.Facts{Stream: s, Source: c.source, Local: true}, descriptor.AnyStage)
		if len(x.found) == 0 {
			continue
		}
		l := r.lease(c.agent, x.found[0].Entries)
		if l == nil {
			continue // more values than are counted
		}
		ok := l.take(c.agent, x.now)
		if x.told == nil || !ok {
			x.told = l
		}
		switch {
		case ok:
			r.ok.Add(1)
		case r.shadow:
			r.shadowed.Add(1)
		default:
			r.over.Add(1)
			x.by = r
			s.Reply(filter.LocalReply{Status: 429, GRPCStatus: 14, Body: "quota_exceeded", Details: "quota_exceeded", Flags: filter.FlagRateLimited})
			return filter.Reply
		}
	}
	return filter.Continue
}

// lease is that of a request's values.
func (r *rule) lease(a *Agent, entries []descriptor.Entry) *lease {
	if r.one != nil {
		return r.one
	}
	return a.lease(r.id, key(entries), r.limit, r.interval)
}

// key joins the values by which a quota counts apart, as the control plane does.
func key(entries []descriptor.Entry) string {
	var b strings.Builder
	for _, e := range entries[1:] {
		if e.Value == wire.QuotaTest {
			continue
		}
		b.WriteString(e.Value)
		b.WriteByte(0)
	}
	return b.String()
}

// ResponseHeaders tells the client of its quota.
func (x *instance) ResponseHeaders(_ filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
	if x.told == nil {
		return filter.Continue
	}
	if x.cfg.headers {
		number(h, "x-ratelimit-limit", uint64(float(&x.told.limit)))
		number(h, "x-ratelimit-remaining", x.told.left())
		number(h, "x-ratelimit-reset", x.told.reset(x.now))
	}
	if x.by != nil {
		number(h, "retry-after", max(1, x.told.reset(x.now)))
		for _, f := range x.by.refusal {
			h.Set(f.Name, f.Value)
		}
	}
	return filter.Continue
}

// number adds a header whose value lies in h's memory.
func number(h *filter.Headers, name string, v uint64) {
	h.Add(name, h.Kept(strconv.AppendUint(h.Buffer(), v, 10)))
}

// Done gives the instance back.
func (x *instance) Done(filter.Stream) {
	clear(x.found)
	*x = instance{found: x.found[:0]}
	instances.Put(x)
}
