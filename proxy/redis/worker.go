package redis

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/base/serial"
	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/transport"
)

// Engine has the workers and, by them, the connections to servers. They outlive configurations.
type Engine struct {
	mu sync.Mutex
	// Guarded by mu.
	byLoop map[int]*worker
	all    atomic.Pointer[[]*worker]
	next   int
	most   int // workers that there may be
}

// NewEngine returns an Engine without connections.
func NewEngine() *Engine {
	e := &Engine{byLoop: map[int]*worker{}, most: runtime.GOMAXPROCS(0) + noLoops}
	e.all.Store(&[]*worker{})
	return e
}

// noLoops is how many workers there are where there are no event loops.
const noLoops = 4

// worker returns the one of c's event loop.
func (e *Engine) worker(c stream.Conn) *worker {
	loop := transport.Loop(c)
	e.mu.Lock()
	defer e.mu.Unlock()
	if loop < 0 {
		e.next++
		loop = -1 - e.next%noLoops
	}
	w := e.byLoop[loop]
	if w == nil {
		all := *e.all.Load()
		if len(all) == e.most { // more loops than processors: some share
			return all[(loop+noLoops)%e.most]
		}
		w = &worker{engine: e, loop: loop, index: len(all)}
		e.byLoop[loop] = w
		all = append(all[:len(all):len(all)], w)
		e.all.Store(&all)
	}
	return w
}

// worker is the thread of execution of one event loop's connections. An event inside it is bracketed by enter and
// leave.
type worker struct {
	engine *Engine
	loop   int // of transport; negative: none
	index  int
	ex     serial.Executor

	// Inside ex.
	depth    int
	dirty    []*down   // have output
	resumes  []*down   // may go on
	ups      []*upConn // all that are open or being made
	free     *request
	nFree    int
	scratch  []byte // of keys and short answers; encoding of commands
	encoding []byte
	keys     []target
	// elapsed is the time during which something was waited for, in steps of step.
	elapsed time.Duration
	step    time.Duration
	timer   *time.Timer
	armed   bool
	random  uint64
}

// do runs f as an event. Any goroutine.
func (w *worker) do(f func()) {
	w.ex.Post(serial.Func(func() {
		w.enter()
		f()
		w.leave()
	}))
}

func (w *worker) enter() { w.depth++ }

// leave ends an event: the outermost one lets clients go on, and sends.
func (w *worker) leave() {
	if w.depth > 1 {
		w.depth--
		return
	}
	for i := 0; i < len(w.resumes); i++ {
		d := w.resumes[i]
		w.resumes[i] = nil
		d.resumes = false
		d.goOn()
	}
	w.resumes = w.resumes[:0]
	for i, d := range w.dirty {
		w.dirty[i] = nil
		d.dirty = false
		if !d.closed {
			d.conn.Flush()
		}
	}
	w.dirty = w.dirty[:0]
	w.depth = 0
}

// resume lets a client go on at the end of the event.
func (w *worker) resume(d *down) {
	if !d.resumes && !d.closed {
		d.resumes = true
		w.resumes = append(w.resumes, d)
	}
}

// draw is a random number.
func (w *worker) draw() uint64 {
	w.random += 0x9e3779b97f4a7c15 // splitmix64
	z := w.random
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Bounds of the steps in which the time of answers is measured: an eighth of the timeout.
const (
	leastStep = time.Millisecond
	mostStep  = 200 * time.Millisecond
)

// watch sees to it that answers which take longer than timeout are noticed.
func (w *worker) watch(timeout time.Duration) {
	if timeout <= 0 {
		return
	}
	step := min(max(timeout/8, leastStep), mostStep)
	if w.armed && w.step <= step {
		return
	}
	w.step = step
	switch {
	case w.timer == nil:
		w.timer = time.AfterFunc(step, func() { w.do(w.tick) })
	default:
		w.timer.Reset(step)
	}
	w.armed = true
}

func (w *worker) tick() {
	w.armed = false
	w.elapsed += w.step
	least := time.Duration(0)
	for i := len(w.ups) - 1; i >= 0; i-- { // one that fails leaves
		u := w.ups[i]
		if u.timeout <= 0 || u.pending() == 0 || u.conn == nil {
			continue
		}
		if w.elapsed-u.since >= u.timeout {
			u.timedOut()
			continue
		}
		if least == 0 || u.timeout < least {
			least = u.timeout
		}
	}
	w.watch(least)
}

// keepRequests bounds the requests that are kept for the next ones, keepBuffer the memory of each.
const (
	keepRequests = 1 << 10
	keepBuffer   = 4 << 10
)

func (w *worker) newRequest() *request {
	r := w.free
	if r == nil {
		return &request{}
	}
	w.free = r.next
	w.nFree--
	r.next = nil
	return r
}

// release takes a request back, to which no connection holds on any more.
func (w *worker) release(r *request) {
	if w.nFree >= keepRequests {
		return
	}
	r.clear()
	r.next = w.free
	w.free = r
	w.nFree++
}
