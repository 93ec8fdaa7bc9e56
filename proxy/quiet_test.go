package proxy

import (
	"runtime/debug"
	"testing"
)

// sink keeps what tests allocate from being left out.
var sink [][]byte

// allocate makes n MiB in pieces of a KiB.
func allocate(n int) (all [][]byte) {
	for range n << 10 {
		all = append(all, make([]byte, 1<<10))
	}
	return all
}

// TestQuietAfterABusyTime: what a sweep found in use while clients were there is given back when
// they have gone, though nothing is allocated any more.
func TestQuietAfterABusyTime(t *testing.T) {
	debug.SetGCPercent(-1) // the collector does not come by itself
	defer debug.SetGCPercent(100)
	debug.FreeOSMemory()
	q := newQuiet()
	before := q.value(heapObjects)
	sink = allocate(32)
	if q.leftover(holds{}) {
		t.Error("swept while much is allocated")
	}
	debug.FreeOSMemory()
	q.swept(holds{}) // in the middle of it
	sink = append(sink, allocate(3)...)
	sink = nil
	sweeps := 0
	for range 10 {
		if q.leftover(holds{}) {
			sweeps++
			debug.FreeOSMemory()
			q.swept(holds{})
		}
	}
	if objects := q.value(heapObjects); sweeps != 1 || objects > before+16<<20 {
		t.Errorf("%d sweeps, want 1; %d MiB are in use, %d before", sweeps, objects>>20, before>>20)
	}
}

// TestQuietTraffic: a proxy that has a little to do all the time is swept now and then, more
// and more rarely.
func TestQuietTraffic(t *testing.T) {
	q := newQuiet()
	sink = allocate(64)
	defer func() { sink = nil }()
	debug.FreeOSMemory()
	q.swept(holds{})
	var at []int
	for i := range 100 {
		keep := sink
		sink = allocate(2) // garbage at once
		sink = keep
		if q.leftover(holds{}) {
			at = append(at, i)
			debug.FreeOSMemory()
			q.swept(holds{})
		}
	}
	if len(at) > 20 {
		t.Errorf("swept at %d of 100 looks: %v", len(at), at)
	}
}

// TestQuietAtRest: nothing is swept when nothing goes on.
func TestQuietAtRest(t *testing.T) {
	q := newQuiet()
	debug.FreeOSMemory()
	q.swept(holds{})
	for range 100 {
		if q.leftover(holds{}) {
			t.Fatal("swept though nothing was allocated")
		}
	}
}
