package cluster

import (
	"sync/atomic"
	"time"
)

// window counts what happened in the last interval, in slices: what is counted leaves
// at most a slice too early. It is safe for concurrent use and takes no lock; a count may
// be lost where a slice begins anew.
type window struct {
	length, slice time.Duration
	from          time.Time
	slots         [windowSlices]counted
}

const windowSlices = 16

type counted struct{ number, n atomic.Int64 }

func newWindow(length time.Duration) *window {
	w := &window{length: length, slice: max(length/windowSlices, 1), from: time.Now()}
	for i := range w.slots {
		w.slots[i].number.Store(-1)
	}
	return w
}

// number of the slice that a time is in.
func (w *window) number(now time.Time) int64 { return int64(now.Sub(w.from) / w.slice) }

func (w *window) add(now time.Time) {
	k := w.number(now)
	s := &w.slots[k%windowSlices]
	if old := s.number.Load(); old != k && s.number.CompareAndSwap(old, k) {
		s.n.Store(0)
	}
	s.n.Add(1)
}

func (w *window) count(now time.Time) (sum int64) {
	k := w.number(now)
	for i := range w.slots {
		if n := w.slots[i].number.Load(); n >= 0 && k-n < windowSlices {
			sum += w.slots[i].n.Load()
		}
	}
	return sum
}
