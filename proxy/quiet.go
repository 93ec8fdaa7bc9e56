package proxy

import "runtime/metrics"

// Bounds of quiet, in bytes.
const (
	// busyAllocs between two looks: the collector will come by itself.
	busyAllocs = 4 << 20
	// worthIt is how much there has to be to give back, beside a quarter of what is
	// in use.
	worthIt = 4 << 20
	// ofConn is what a connection that has ended leaves, about: 4 KiB without TLS, 12 with.
	ofConn = 8 << 10
	// fewAllocs since a sweep, or a sixteenth of what was in use then: nothing has gone on.
	fewAllocs = 1 << 20
)

// longestPause is for how many looks sweeps rest that go by what was allocated: after that the
// runtime collects by itself.
const longestPause = 16

// quiet finds out when the process holds memory that a busy time has left and
// nobody will ask for soon. Without allocations the collector does not run (for
// two minutes at least), so a proxy that has had its ten thousand connections would
// keep what they needed.
//
// How much of it is garbage can only be estimated. What was in use after a sweep that came in
// the middle of something (a machine may be so busy that the proxy allocates little while it
// has a thousand clients) may have ended since: so there is another sweep when it is quiet
// and something has gone on since the last one, at longer and longer intervals.
type quiet struct {
	samples [3]metrics.Sample
	allocs  uint64 // at the last look
	least   uint64 // in use after the last sweep
	held    holds  // what connections held then
	since   uint64 // allocated since then
	looks   int    // since then
	pause   int    // looks that have to pass before what was allocated is a reason
}

// holds is what the process has for connections: what of it goes is garbage that the
// heap's figures do not show yet.
type holds struct{ conns, buffers int64 }

// Positions in quiet.samples.
const (
	allAllocs = iota
	heapObjects
	heapFree
)

func newQuiet() *quiet {
	q := &quiet{pause: 1}
	q.samples[allAllocs].Name = "/gc/heap/allocs:bytes"
	q.samples[heapObjects].Name = "/memory/classes/heap/objects:bytes"
	q.samples[heapFree].Name = "/memory/classes/heap/free:bytes" // and not given back
	q.look()
	q.least = q.value(heapObjects)
	return q
}

func (q *quiet) value(i int) uint64 { return q.samples[i].Value.Uint64() }

// look reads the figures, and returns how much was allocated since the last time.
func (q *quiet) look() uint64 {
	metrics.Read(q.samples[:])
	before := q.allocs
	q.allocs = q.value(allAllocs)
	return q.allocs - before
}

// leftover tells whether there is something to be given back, and the time is good.
func (q *quiet) leftover(now holds) bool {
	allocs := q.look()
	q.since += allocs
	q.looks++
	if allocs > busyAllocs {
		q.pause = 1
		return false
	}
	objects := q.value(heapObjects)
	garbage := objects - min(objects, q.least) // at most
	garbage += uint64(max(q.held.conns-now.conns, 0)*ofConn + max(q.held.buffers-now.buffers, 0))
	if garbage+q.value(heapFree) > worthIt+q.least/4 {
		return true
	}
	if q.since < max(fewAllocs, q.least/16) || q.looks < q.pause {
		return false
	}
	q.pause = min(2*q.pause, longestPause)
	return true
}

// swept notes what is in use after a sweep.
func (q *quiet) swept(now holds) {
	q.look()
	q.held, q.since, q.looks = now, 0, 0
	q.least = q.value(heapObjects)
}
