package pool

import (
	"time"

	"github.com/weftmesh/weft/base/serial"
)

// Lane is the thread of execution of a connection. An event inside it is
// bracketed by Begin and End; brackets nest. The zero value is ready.
type Lane struct {
	Ex serial.Executor
	// AtEnd, when set, is called at the end of each event, before output is
	// flushed.
	AtEnd func()

	depth int
	now   time.Time
	held  []held
	dirty []Flusher
	after []func()
}

// Flusher has output to send at the end of an event.
type Flusher interface{ FlushLane() }

// held is another lane that this goroutine is inside of too.
type held struct {
	l *Lane
	// owned: we have entered it and must leave it.
	owned bool
}

// Begin starts an event. The caller is inside l.Ex.
func (l *Lane) Begin() { l.depth++ }

// Now is the time of the present event: the clock is read once.
func (l *Lane) Now() time.Time {
	if l.now.IsZero() {
		l.now = time.Now()
	}
	return l.now
}

// End ends it: the outermost one flushes, and leaves the lanes that were
// reached meanwhile. Their ends may reach back and leave output here, which
// goes out too.
func (l *Lane) End() {
	if l.depth > 1 {
		l.depth--
		return
	}
	for again := true; again; again = len(l.dirty)+len(l.after) > 0 {
		l.flush()
		l.leave()
	}
	l.now = time.Time{}
	l.depth = 0
}

// flush sends what the event has written.
func (l *Lane) flush() {
	if l.AtEnd != nil {
		l.AtEnd()
	}
	for i := 0; i < len(l.dirty); i++ {
		f := l.dirty[i]
		l.dirty[i] = nil
		if f != nil {
			f.FlushLane()
		}
	}
	l.dirty = l.dirty[:0]
	for i, f := range l.after {
		l.after[i] = nil
		f()
	}
	l.after = l.after[:0]
}

// leave goes out of the lanes that were reached. Leaving runs what others have
// posted to them; that may want to reach us, and finds us busy, so it is posted
// and comes in our own Leave.
func (l *Lane) leave() {
	for i := 0; i < len(l.held); i++ {
		h := l.held[i]
		l.held[i] = held{}
		if h.owned {
			h.l.End()
			h.l.Ex.Leave()
		}
	}
	l.held = l.held[:0]
}

// Dirty asks for f to be flushed at the end of the present event. The caller
// makes sure not to ask twice.
func (l *Lane) Dirty(f Flusher) { l.dirty = append(l.dirty, f) }

// AfterFlush calls f once the output of the present event has been sent, as far
// as the sockets took it. f must not write.
func (l *Lane) AfterFlush(f func()) { l.after = append(l.after, f) }

// clean takes f off again.
func (l *Lane) clean(f Flusher) {
	for i := range l.dirty {
		if l.dirty[i] == f {
			l.dirty[i] = nil
		}
	}
}

// Reach tries to get inside o without leaving l; true: o's state may be
// touched until the end of l's present event.
func (l *Lane) Reach(o *Lane) bool {
	if o == l {
		return true
	}
	for i := range l.held {
		if l.held[i].l == o {
			return true
		}
	}
	if !o.Ex.TryEnter() {
		return false
	}
	o.Begin()
	l.held = append(l.held, held{o, true})
	o.held = append(o.held, held{l, false})
	return true
}

// Do runs f as an event of l, now when nobody is inside. Any goroutine.
func (l *Lane) Do(f func()) { l.Ex.Post(&laneFunc{l, f}) }

type laneFunc struct {
	l *Lane
	f func()
}

// Run implements serial.Task.
func (t *laneFunc) Run() {
	t.l.Begin()
	t.f()
	t.l.End()
}
