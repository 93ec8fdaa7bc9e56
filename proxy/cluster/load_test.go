package cluster

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/proxy/filter"
)

// tell has a host report a weight.
func tell(t *testing.T, h *Host, weight int) {
	t.Helper()
	head := &filter.Headers{}
	head.Add("endpoint-load-metrics", fmt.Sprintf("TEXT rps_fractional=%d,cpu_utilization=1", weight))
	if !h.WantsLoad() || !h.TakeLoad(head) {
		t.Fatal("the report was not taken")
	}
}

func hostWeights(c *Cluster) (out []uint32) {
	for h := range c.Hosts {
		out = append(out, h.Weight())
	}
	return out
}

func TestReportedWeights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		load := &LoadWeights{Blackout: 10 * time.Second, Expiration: 30 * time.Second, Update: time.Second}
		c := static(t, Spec{Endpoints: endpoints(3), LB: LB{Load: load}})
		defer run(t, c.m)()
		check := func(when string, want ...uint32) {
			t.Helper()
			synctest.Wait()
			if diff := cmp.Diff(want, hostWeights(c)); diff != "" {
				t.Errorf("%s: %s", when, diff)
			}
		}
		check("at first", 1, 1, 1)
		tell(t, host(t, c, 1), 300)
		time.Sleep(5 * time.Second)
		check("while blacked out", 1, 1, 1)
		tell(t, host(t, c, 2), 100)
		time.Sleep(7 * time.Second)
		check("the first counts, the others get the median", 300, 300, 300)
		tell(t, host(t, c, 1), 400)
		time.Sleep(5 * time.Second)
		check("two count", 400, 100, 250)
		within(t, "by weight", picks(c, 7500, Pick{}), map[int]int{1: 4000, 2: 1000, 3: 2500}, 60)
		tell(t, host(t, c, 1), 400)
		time.Sleep(25 * time.Second)
		check("the second is too old", 400, 400, 400)
		tell(t, host(t, c, 2), 100)
		time.Sleep(4 * time.Second)
		check("and is blacked out again", 400, 400, 400)
		time.Sleep(40 * time.Second)
		check("all are too old", 1, 1, 1)
	})
}

// TestBadReports lets a bad report change nothing.
func TestBadReports(t *testing.T) {
	c := static(t, Spec{Endpoints: endpoints(1), LB: LB{Load: &LoadWeights{Update: time.Second, Expiration: time.Minute}}})
	h := host(t, c, 1)
	bad := &filter.Headers{}
	bad.Add("endpoint-load-metrics", "TEXT cpu_utilization=x")
	if h.TakeLoad(bad) || h.TakeLoad(&filter.Headers{}) {
		t.Error("taken")
	}
	useless := &filter.Headers{}
	useless.Add("endpoint-load-metrics", "TEXT cpu_utilization=1")
	h.TakeLoad(useless)
	if h.load.since.Load() != 0 {
		t.Error("a report without requests per second counts")
	}
	if c := static(t, Spec{Endpoints: endpoints(1)}); host(t, c, 1).WantsLoad() {
		t.Error("round robin by configured weights wants reports")
	}
}

func TestHugeWeights(t *testing.T) {
	ws := []uint64{1 << 32, 1 << 31, 1}
	lessen(ws)
	if diff := cmp.Diff([]uint64{1 << 20, 1 << 19, 1}, ws); diff != "" {
		t.Error(diff)
	}
}
