package route

import (
	"strconv"
	"sync/atomic"

	"github.com/weftmesh/weft/proxy/filter"
)

// Stats count the responses of a route that has a prefix for statistics, by
// Envoy's names: "vhost.NAME.route.PREFIX.upstream_rq_2xx".
type Stats struct {
	make_     func(stat string) *filter.Counter
	completed *filter.Counter
	events    [events]*filter.Counter
	classes   [6]*filter.Counter
	codes     [600]atomic.Pointer[filter.Counter] // made when needed
}

// Event is something that a route's statistics count beside responses.
type Event uint8

// Events.
const (
	Sent    Event = iota // an attempt had a connection
	Timeout              // the request's
	Retried
	RetryOverflow
	RetryLimitExceeded
	RetrySuccess
	RetryBackoffExponential
	RetryBackoffRatelimited
	events
)

var eventNames = [events]string{
	"total", "timeout", "retry", "retry_overflow", "retry_limit_exceeded", "retry_success", "retry_backoff_exponential", "retry_backoff_ratelimited",
}

// NewStats makes those of a route.
func NewStats(s *filter.Stats, virtualHost, prefix string) *Stats {
	return newStats(s, virtualHost, "route."+prefix)
}

// VirtualCluster is a share of a virtual host's requests that has statistics of its own:
// "vhost.NAME.vcluster.CLUSTER.upstream_rq_2xx".
type VirtualCluster struct {
	tests HeaderTests
	stats *Stats
}

// NewVirtualCluster makes one of requests with such headers.
func NewVirtualCluster(s *filter.Stats, virtualHost, name string, headers []HeaderMatch) (VirtualCluster, error) {
	t, err := NewHeaderTests(headers...)
	return VirtualCluster{t, newStats(s, virtualHost, "vcluster."+name)}, err
}

// ClusterStats are those of the first virtual cluster that a request is in; the last one is
// for all that are in none (Envoy's "other"). Nil: there are no virtual clusters.
func (v *VirtualHost) ClusterStats(h *filter.Headers) *Stats {
	for i := range v.VirtualClusters {
		if c := &v.VirtualClusters[i]; c.tests.All(h) {
			return c.stats
		}
	}
	return nil
}

func newStats(s *filter.Stats, virtualHost, under string) *Stats {
	out := &Stats{make_: func(stat string) *filter.Counter {
		return s.Counter("vhost", virtualHost, under+"."+stat)
	}}
	out.completed = out.make_("upstream_rq_completed")
	for e, name := range eventNames {
		out.events[e] = out.make_("upstream_rq_" + name)
	}
	for i := 1; i < len(out.classes); i++ {
		out.classes[i] = out.make_("upstream_rq_" + strconv.Itoa(i) + "xx")
	}
	return out
}

// Add counts an event. s may be nil.
func (s *Stats) Add(e Event) {
	if s != nil {
		s.events[e].Add(1)
	}
}

// Count counts a response by its status; 0: there was none. It allocates at the
// first of a status only. s may be nil.
func (s *Stats) Count(status int) {
	if s == nil || status < 100 || status >= len(s.codes) {
		return
	}
	s.completed.Add(1)
	s.classes[status/100].Add(1)
	c := s.codes[status].Load()
	if c == nil {
		c = s.make_("upstream_rq_" + strconv.Itoa(status))
		s.codes[status].Store(c)
	}
	c.Add(1)
}
