package pool

import (
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/weftmesh/weft/proxy/cluster"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// flushed counts its flushes.
type flushed struct{ n int }

func (f *flushed) FlushLane() { f.n++ }

// TestLaneFlushesOnce: brackets nest, output goes out at the end of the outermost.
func TestLaneFlushesOnce(t *testing.T) {
	var l Lane
	var f flushed
	l.Do(func() {
		l.Begin()
		l.Dirty(&f)
		l.End()
		if f.n != 0 {
			t.Error("flushed inside of the event")
		}
	})
	if f.n != 1 {
		t.Errorf("flushed %d times, want once", f.n)
	}
	l.Do(func() {
		l.Dirty(&f)
		l.clean(&f)
	})
	if f.n != 1 {
		t.Error("flushed although it had been taken off")
	}
}

// TestReach: a free lane is entered and left with the event; a busy one is not;
// what is posted to it meanwhile runs before it is left, in order.
func TestReach(t *testing.T) {
	var a, b Lane
	var got []string
	var f flushed
	a.Do(func() {
		if !a.Reach(&b) || !a.Reach(&b) {
			t.Fatal("cannot reach a free lane twice")
		}
		if b.Ex.TryEnter() {
			t.Fatal("the reached lane is not held")
		}
		b.Dirty(&f)
		b.Do(func() {
			got = append(got, "posted")
			if b.Reach(&a) {
				t.Error("reached a lane that is busy below")
			}
			a.Do(func() { got = append(got, "back") })
		})
		got = append(got, "direct")
	})
	if d := cmp.Diff([]string{"direct", "posted", "back"}, got); d != "" {
		t.Error(d)
	}
	if f.n != 1 {
		t.Errorf("the reached lane was flushed %d times, want once", f.n)
	}
	if !b.Ex.TryEnter() || !a.Ex.TryEnter() {
		t.Error("a lane was not left")
	}
}

// TestLanesHammer: lanes that call each other at random never deadlock and
// never run two at a time.
func TestLanesHammer(t *testing.T) {
	var lanes [5]Lane
	var counts [5]int // each touched inside of its lane only
	var wg sync.WaitGroup
	const rounds = 2000
	for g := range 4 {
		wg.Go(func() {
			for i := range rounds {
				from, to := (g+i)%5, (g*3+i*7)%5
				lanes[from].Do(func() {
					counts[from]++
					if lanes[from].Reach(&lanes[to]) {
						counts[to]++
					} else {
						lanes[to].Do(func() { counts[to]++ })
					}
				})
			}
		})
	}
	wg.Wait()
	sum := 0
	for i := range counts {
		lanes[i].Ex.Enter()
		sum += counts[i]
		lanes[i].Ex.Leave()
	}
	if want := 4 * rounds * 2; sum != want {
		t.Errorf("%d calls, want %d", sum, want)
	}
}

// TestQueue: order by key, removal from anywhere, and tallies that go when nobody is left.
func TestQueue(t *testing.T) {
	var q queue
	mk := func(name string) *waiter {
		o := cluster.DialOptions{}
		o.ServerName = name
		return newWaiter(&Exchange{Dial: o})
	}
	a1, b1, a2, b2 := mk("a"), mk("b"), mk("a"), mk("b")
	for _, w := range []*waiter{a1, b1, a2, b2} {
		q.push(w)
	}
	if q.firstOf(b1.key) != b1 || q.firstOf(key{}) != nil {
		t.Error("wrong first")
	}
	if !q.drop(b1) || q.drop(b1) {
		t.Error("drop must say whether it was in")
	}
	if q.firstOf(b1.key) != b2 || q.first != a1 || q.last != b2 {
		t.Error("wrong order after drop")
	}
	q.drop(a1)
	q.drop(b2)
	q.drop(a2)
	if q.first != nil || q.last != nil || len(q.tallies) != 0 {
		t.Errorf("left: %v %v %v", q.first, q.last, q.tallies)
	}
}

// TestLaneFlushesWhatComesBack: the end of a reached lane writes to the lane
// that reached it, after that one has flushed.
func TestLaneFlushesWhatComesBack(t *testing.T) {
	var a, b Lane
	var f flushed
	b.AtEnd = func() {
		if f.n == 0 && b.Reach(&a) {
			a.Dirty(&f)
		}
	}
	a.Do(func() { a.Reach(&b) })
	if f.n != 1 {
		t.Errorf("flushed %d times, want once", f.n)
	}
	if !a.Ex.TryEnter() || !b.Ex.TryEnter() {
		t.Error("a lane was not left")
	}
}
