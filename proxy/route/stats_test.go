package route

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/proxy/filter"
)

func TestStats(t *testing.T) {
	all := &filter.Stats{}
	s := NewStats(all, "a.example", "one")
	for _, code := range []int{200, 200, 503, 0, 700} {
		s.Count(code)
	}
	s.Add(Sent)
	s.Add(RetryBackoffRatelimited)
	(*Stats)(nil).Count(200)
	(*Stats)(nil).Add(Sent)
	got := map[string]uint64{}
	all.Each(func(scope, name, stat string, v uint64, _ bool) {
		if v > 0 {
			got[scope+"."+name+"."+stat] = v
		}
	})
	want := map[string]uint64{
		"vhost.a.example.route.one.upstream_rq_200": 2, "vhost.a.example.route.one.upstream_rq_2xx": 2, "vhost.a.example.route.one.upstream_rq_503": 1,
		"vhost.a.example.route.one.upstream_rq_total": 1, "vhost.a.example.route.one.upstream_rq_retry_backoff_ratelimited": 1,
		"vhost.a.example.route.one.upstream_rq_5xx": 1, "vhost.a.example.route.one.upstream_rq_completed": 3,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if n := testing.AllocsPerRun(100, func() { s.Count(200) }); n != 0 {
		t.Errorf("a response costs %v allocations", n)
	}
}
