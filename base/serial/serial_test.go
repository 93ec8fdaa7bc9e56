package serial

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPostRunsAtOnceWhenIdle(t *testing.T) {
	var e Executor
	ran := false
	e.Post(Func(func() { ran = true }))
	if !ran {
		t.Error("the task was not run by the poster")
	}
	if !e.TryEnter() {
		t.Fatal("the executor is busy after Post")
	}
	e.Leave()
}

func TestPostsFromInsideKeepTheirOrder(t *testing.T) {
	var e Executor
	var got []int
	add := func(n int) Task { return Func(func() { got = append(got, n) }) }
	e.Enter()
	for i := range 3 {
		e.Post(add(i))
	}
	e.Post(Func(func() { // a task that posts: its posts come after those before
		e.Post(add(10))
		got = append(got, 3)
	}))
	e.Post(add(4))
	if len(got) != 0 {
		t.Errorf("%v ran before Leave", got)
	}
	e.Leave()
	if want := []int{0, 1, 2, 3, 4, 10}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}

func TestTryEnterOfABusyOne(t *testing.T) {
	var e Executor
	e.Enter()
	if e.TryEnter() {
		t.Error("two are inside")
	}
	e.Leave()
	if !e.TryEnter() {
		t.Error("nobody is inside, but TryEnter fails")
	}
	e.Leave()
}

func TestEnterWaits(t *testing.T) {
	var e Executor
	e.Enter()
	var inside atomic.Int32
	var wg sync.WaitGroup
	const n = 8
	for range n {
		wg.Go(func() {
			e.Enter()
			inside.Add(1)
			e.Leave()
		})
	}
	// All of them wait: they cannot be inside before Leave, whenever they come.
	for waiting := 0; waiting < n; {
		e.mu.Lock()
		waiting = e.wait
		e.mu.Unlock()
		if got := inside.Load(); got != 0 {
			t.Fatalf("%d came in", got)
		}
	}
	e.Leave()
	wg.Wait()
	if got := inside.Load(); got != n {
		t.Errorf("%d came in, want %d", got, n)
	}
}

// TestTwoPostToEachOther is what an HTTP/1 connection and an HTTP/2 one do: it
// must not deadlock.
func TestTwoPostToEachOther(t *testing.T) {
	var a, b Executor
	const rounds = 5000
	var done sync.WaitGroup
	done.Add(2 * rounds)
	bounce := func(from, to *Executor) {
		for range rounds {
			from.Enter()
			to.Post(Func(func() { from.Post(Func(done.Done)) }))
			from.Leave()
		}
	}
	go bounce(&a, &b)
	go bounce(&b, &a)
	ch := make(chan struct{})
	go func() { done.Wait(); close(ch) }()
	select {
	case <-ch:
	case <-time.After(60 * time.Second):
		t.Fatal("deadlock, or a task was lost")
	}
}

// TestHammer has many goroutines go in by all three ways. A plain counter shows
// (to the race detector, too) that only one is inside; the numbers that each
// poster posts show the order, and that nothing is lost.
func TestHammer(t *testing.T) {
	var e Executor
	const posters, each = 6, 3000
	inside, count := 0, 0
	enter := func() {
		if inside++; inside != 1 {
			t.Error("two are inside")
		}
		count++
		inside--
	}
	last := make([]int, posters)
	var wg sync.WaitGroup
	var tried atomic.Int64
	for p := range posters {
		wg.Go(func() {
			for i := 1; i <= each; i++ {
				e.Post(Func(func() {
					enter()
					if last[p] != i-1 {
						t.Errorf("poster %d: task %d came after %d", p, i, last[p])
					}
					last[p] = i
				}))
			}
		})
		wg.Go(func() {
			for range each {
				e.Enter()
				enter()
				e.Leave()
			}
		})
		wg.Go(func() {
			for range each {
				if e.TryEnter() {
					tried.Add(1)
					enter()
					e.Leave()
				}
			}
		})
	}
	wg.Wait()
	e.Enter()
	defer e.Leave()
	if want := 2*posters*each + int(tried.Load()); count != want {
		t.Errorf("%d were inside, want %d", count, want)
	}
	for p, n := range last {
		if n != each {
			t.Errorf("poster %d: the last task was %d, want %d", p, n, each)
		}
	}
}

func TestAStormLeavesNoMemory(t *testing.T) {
	var e Executor
	e.Enter()
	for range 100_000 {
		e.Post(Func(func() {}))
	}
	e.Leave()
	if c := max(cap(e.queue), cap(e.spare)); c > keepTasks {
		t.Errorf("room for %d tasks is kept", c)
	}
}
