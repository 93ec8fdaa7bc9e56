package pool

import "github.com/weftmesh/weft/proxy/cluster"

// waiter is an exchange in a pool's queue. An Exchange may be used again, on
// another lane, as soon as it is over: other goroutines know the waiter only.
type waiter struct {
	// Set at construction.
	lane   *Lane
	key    key
	dial   cluster.DialOptions
	limits *cluster.Limits

	// belongs to the lane; nil: given up, or served
	x *Exchange

	// guarded by the pool's mu
	next, prev *waiter
	queued     bool
}

func newWaiter(x *Exchange) *waiter {
	w := &waiter{lane: x.Lane, key: keyOf(&x.Dial), dial: x.Dial, limits: x.Limits, x: x}
	x.w = w
	return w
}

// take takes the exchange out, inside the lane; nil: it has been given up.
func (w *waiter) take() *Exchange {
	x := w.x
	if x != nil {
		w.x, x.w = nil, nil
	}
	return x
}

// tally is what there is of one key: who waits, connections being dialled, and
// those with the open ones.
type tally struct{ waiting, dialing, live int }

// queue holds who waits for a connection. Guarded by the pool's mu.
type queue struct {
	first, last *waiter
	tallies     map[key]*tally
}

// of returns the tally of a key, made when there is none.
func (q *queue) of(k key) *tally {
	t := q.tallies[k]
	if t == nil {
		if q.tallies == nil {
			q.tallies = map[key]*tally{}
		}
		t = &tally{}
		q.tallies[k] = t
	}
	return t
}

// forget drops the tally of a key that nobody is interested in any more.
func (q *queue) forget(k key) {
	if t := q.tallies[k]; t != nil && *t == (tally{}) {
		delete(q.tallies, k)
	}
}

// push puts w at the end.
func (q *queue) push(w *waiter) {
	w.queued = true
	w.prev = q.last
	if q.last != nil {
		q.last.next = w
	} else {
		q.first = w
	}
	q.last = w
	q.of(w.key).waiting++
}

// drop takes w out; false: it is not in.
func (q *queue) drop(w *waiter) bool {
	if !w.queued {
		return false
	}
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		q.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		q.last = w.prev
	}
	w.next, w.prev, w.queued = nil, nil, false
	q.of(w.key).waiting--
	q.forget(w.key)
	return true
}

// firstOf returns the first with that key.
func (q *queue) firstOf(k key) *waiter {
	for w := q.first; w != nil; w = w.next {
		if w.key == k {
			return w
		}
	}
	return nil
}
