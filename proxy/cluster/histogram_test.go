package cluster

import (
	"slices"
	"testing"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
)

func TestHistogram(t *testing.T) {
	var h Histogram
	h.Observe(time.Second) // dropped
	h.init([]float64{1, 10})
	for _, v := range []float64{0, 1, 1.5, 10, 11} {
		h.Record(v)
	}
	h.Observe(2 * time.Millisecond)
	bounds, buckets, sum := h.Load()
	if !slices.Equal(bounds, []float64{1, 10}) || !slices.Equal(buckets, []uint64{2, 3, 1}) || sum != 25.5 {
		t.Errorf("%v %v %v", bounds, buckets, sum)
	}
}

// TestTrack: what is tracked, by whom, and with which buckets.
func TestTrack(t *testing.T) {
	m := NewManager(t.Context(), Options{Dialer: refuse{}, Buckets: func(stat string) []float64 {
		if stat == "cluster.other.upstream_rq_headers_size" {
			return []float64{7}
		}
		return nil
	}})
	update(t, m, []*Spec{
		{Name: "plain", Endpoints: endpoints(1)},
		{Name: "all", AltStatName: "other", Endpoints: endpoints(1), Track: Track{Budgets: true, Sizes: true, Endpoints: true}},
	})
	names := func(c *Cluster) (out []string) {
		c.Histograms(func(name string, _ *Histogram) bool {
			out = append(out, name)
			return true
		})
		return out
	}
	if got := names(m.Get("plain")); len(got) != 2 {
		t.Errorf("without tracking: %v", got)
	}
	c := m.Get("all")
	if got := names(c); len(got) != 10 {
		t.Errorf("with tracking: %v", got)
	}
	h := &filter.Headers{Method: "GET", Path: "/"}
	h.Add("a", "bc")
	c.Stats().Sizes().Head(h, false)
	bounds, buckets, sum := c.Stats().Sizes().RqHead.Load()
	if len(bounds) != 1 || !slices.Equal(buckets, []uint64{0, 1}) || sum != float64(len(":methodGET:path/abc")) {
		t.Errorf("the request's head: %v %v %v", bounds, buckets, sum)
	}
	if _, _, sum := c.Stats().Sizes().RqFields.Load(); sum != 3 {
		t.Errorf("%v fields, want 3", sum)
	}
	seen := map[string]uint64{}
	see := func(addr, stat string, _ StatKind, v uint64) { seen[addr+" "+stat] = v }
	m.Get("plain").Endpoints(see)
	host(t, c, 1).Begin()
	c.Endpoints(see)
	if len(seen) != 10 || seen["10.0.0.1:80 rq_active"] != 1 || seen["10.0.0.1:80 healthy"] != 1 {
		t.Errorf("endpoints: %v", seen)
	}
	before := c.Stats().Sizes()
	update(t, m, []*Spec{{Name: "all", Endpoints: endpoints(2), Track: Track{Sizes: true}}})
	if m.Get("all").Stats().Sizes() != before {
		t.Error("a new version counts anew")
	}
}
