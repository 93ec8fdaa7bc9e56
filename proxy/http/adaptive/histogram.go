package adaptive

import (
	"sync/atomic"
	"time"
)

// Bins are as wide as two decimal digits tell apart, so a quantile is right to a tenth:
// single microseconds below 100, then 90 for each power of ten, up to 10^10 µs.
const (
	single  = 100
	perStep = 90
	steps   = 8
)

// histogram counts durations. All methods may be called from any goroutine.
type histogram struct {
	n    atomic.Int64
	bins [single + perStep*steps]atomic.Int64
}

// add counts a duration and returns how many there are.
func (h *histogram) add(d time.Duration) int64 {
	h.bins[binOf(d.Microseconds())].Add(1)
	return h.n.Add(1)
}

func binOf(us int64) int {
	if us < single {
		return int(max(us, 0))
	}
	base := single
	for range steps {
		if us < 1000 {
			return base + int(us/10) - 10
		}
		us, base = us/10, base+perStep
	}
	return base - 1
}

// startOf is where a bin begins, and its width, in microseconds.
func startOf(bin int) (start, width float64) {
	if bin < single {
		return float64(bin), 1
	}
	width = 10
	for bin -= single; bin >= perStep; bin -= perStep {
		width *= 10
	}
	return float64(bin+10) * width, width
}

// drain forgets all and returns the quantile q (0 to 1) of what there was; false: nothing.
func (h *histogram) drain(q float64) (time.Duration, bool) {
	var counts [len(h.bins)]int64
	var total int64
	for i := range h.bins {
		counts[i] = h.bins[i].Swap(0)
		total += counts[i]
	}
	h.n.Add(-total)
	if total == 0 {
		return 0, false
	}
	rank, below := q*float64(total), 0.0
	last := 0.0
	for i, n := range counts {
		if n == 0 {
			continue
		}
		start, width := startOf(i)
		if below+float64(n) >= rank {
			return micros(start + width*(rank-below)/float64(n)), true
		}
		below += float64(n)
		last = start + width
	}
	return micros(last), true
}

func micros(us float64) time.Duration { return time.Duration(us) * time.Microsecond }
