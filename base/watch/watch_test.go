package watch_test

import (
	"sync"
	"testing"

	"github.com/weftmesh/weft/base/watch"
)

func TestCell(t *testing.T) {
	var c watch.Cell[int]
	if v, n := c.Get(); v != 0 || n != 0 {
		t.Fatalf("empty cell: got %d, version %d", v, n)
	}
	ch := c.Changed()
	select {
	case <-ch:
		t.Fatal("changed before a Store")
	default:
	}
	c.Store(7)
	select {
	case <-ch:
	default:
		t.Fatal("Store did not wake")
	}
	if v, n := c.Get(); v != 7 || n != 1 {
		t.Fatalf("got %d, version %d; want 7, version 1", v, n)
	}
	if got := watch.NewCell("x").Load(); got != "x" {
		t.Fatalf("NewCell: got %q", got)
	}
}

// Every reader sees the last value, however Stores and Changed interleave.
func TestCellManyReaders(t *testing.T) {
	var c watch.Cell[int]
	const last = 1000
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for seen := 0; seen != last; {
				changed := c.Changed()
				v := c.Load()
				if v < seen {
					t.Errorf("went back from %d to %d", seen, v)
					return
				}
				if seen = v; seen == last {
					return
				}
				<-changed
			}
		})
	}
	for i := 1; i <= last; i++ {
		c.Store(i)
	}
	wg.Wait()
}
