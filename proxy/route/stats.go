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
	classes   [6]*filter.Counter
	codes     [600]atomic.Pointer[filter.Counter] // made when needed
}

// NewStats makes those of a route.
func NewStats(s *filter.Stats, virtualHost, prefix string) *Stats {
	out := &Stats{make_: func(stat string) *filter.Counter {
		return s.Counter("vhost", virtualHost, "route."+prefix+"."+stat)
	}}
	out.completed = out.make_("upstream_rq_completed")
	for i := 1; i < len(out.classes); i++ {
		out.classes[i] = out.make_("upstream_rq_" + strconv.Itoa(i) + "xx")
	}
	return out
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
