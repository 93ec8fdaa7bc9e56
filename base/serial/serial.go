// Package serial provides the thread of execution of a connection: an Executor
// runs tasks one at a time, in order, on whichever goroutine brings them.
//
// It never starts a goroutine and Post never blocks: when the executor is busy
// the task is queued and run by the goroutine that is inside, before it leaves.
// So two executors may post to each other without a deadlock. Code that runs
// inside must not block.
package serial

import "sync"

// Task is something to run inside an Executor. A pointer to a long-lived
// struct costs no allocation per Post; Func adapts a closure.
type Task interface{ Run() }

// Func makes a Task of a function.
type Func func()

// Run calls f.
func (f Func) Run() { f() }

// keepTasks is for how many tasks room is kept after they have run: a storm on
// one of very many connections must not hold memory for the rest of its life.
const keepTasks = 256

// Executor serialises tasks. The zero value is ready and idle.
type Executor struct {
	mu    sync.Mutex
	idle  sync.Cond // bound to mu at the first wait; waiters of Enter
	busy  bool
	wait  int // goroutines blocked in Enter
	queue []Task
	spare []Task // the other half of the double buffer
}

// TryEnter makes the caller the one inside, if nobody is. It must call Leave.
func (e *Executor) TryEnter() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.busy {
		return false
	}
	e.busy = true
	return true
}

// Enter waits until nobody is inside and goes in. It must be called from
// outside any executor, and be followed by Leave.
func (e *Executor) Enter() {
	e.mu.Lock()
	if e.idle.L == nil {
		e.idle.L = &e.mu
	}
	// A wake-up may find that another goroutine was faster; it waits again, and
	// who is inside then wakes one on leaving.
	for e.busy {
		e.wait++
		e.idle.Wait()
		e.wait--
	}
	e.busy = true
	e.mu.Unlock()
}

// Leave runs what was posted meanwhile and goes out.
func (e *Executor) Leave() {
	e.mu.Lock()
	for len(e.queue) > 0 {
		batch := e.queue
		e.queue = e.spare[:0]
		e.spare = nil
		e.mu.Unlock()
		for i, t := range batch {
			batch[i] = nil
			t.Run()
		}
		e.mu.Lock()
		if cap(batch) <= keepTasks {
			e.spare = batch[:0]
		}
	}
	e.busy = false
	if e.wait > 0 {
		e.idle.Signal()
	}
	e.mu.Unlock()
}

// Post runs t now when nobody is inside, else queues it for whoever is. It
// keeps the order of posts.
func (e *Executor) Post(t Task) {
	e.mu.Lock()
	if e.busy {
		e.queue = append(e.queue, t)
		e.mu.Unlock()
		return
	}
	e.busy = true
	e.mu.Unlock()
	t.Run()
	e.Leave()
}
