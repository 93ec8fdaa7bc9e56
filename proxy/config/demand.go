package config

import (
	"sync"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
)

// demand is what requests have asked the control plane for. Whatever the number
// of requests that wait for a name, it is asked for once. It has a lock of its
// own, held for moments only: connections call it on their threads of execution.
// The Store calls it with its own lock held, never the other way round.
type demand struct {
	mu   sync.Mutex
	ads  Subscriber
	asks map[waitKey]*ask
	// unknown counts asks that nothing has been found for.
	unknown int
	wg      sync.WaitGroup // of deliveries
}

// ask is a name that was asked for, and is subscribed to.
type ask struct {
	state   filter.Outcome
	waiters map[*waiter]struct{}
	// denials counts the answers in a row that there is no such thing; again is when
	// it is worth to ask once more.
	denials int
	again   time.Time
	used    bool // since the last sweep
}

// waiter is one request.
type waiter struct {
	wake  func(filter.Outcome)
	timer *time.Timer
}

const (
	// A name that does not exist is asked for again after a while; the control
	// plane may tell of it earlier by itself.
	absentFor, absentMost = time.Second, 30 * time.Second
	// maxUnknown bounds the names that are asked for and not known: clients
	// choose them.
	maxUnknown = 8192
)

// demandIdle is how long what came on demand is kept without use.
const demandIdle = 30 * time.Minute

// connect says where to subscribe.
func (d *demand) connect(ads Subscriber) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ads = ads
}

func newDemand() *demand { return &demand{asks: map[waitKey]*ask{}} }

// ask asks for a resource. Unless the outcome is known, wake is called once, on
// some goroutine, with it, or not at all when cancel was called before and
// returned true.
func (d *demand) ask(k waitKey, timeout time.Duration, wake func(filter.Outcome)) (o filter.Outcome, cancel func() bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.asks[k]
	switch {
	case a == nil:
		if !d.roomLocked() {
			return filter.Unanswered, nil
		}
		a = &ask{waiters: map[*waiter]struct{}{}}
		d.asks[k] = a
		d.unknown++
		d.subscribeLocked(k)
	case a.state == filter.Found:
		return filter.Found, nil
	case a.state == filter.Absent:
		a.used = true
		if time.Now().Before(a.again) {
			return filter.Absent, nil
		}
		a.state = filter.Waiting
		d.unsubscribeLocked(k) // and again: the server has to answer
		d.subscribeLocked(k)
	}
	a.used = true
	w := &waiter{wake: wake}
	a.waiters[w] = struct{}{}
	w.timer = time.AfterFunc(timeout, func() {
		if d.forget(a, w) {
			wake(filter.Unanswered)
		}
	})
	return filter.Waiting, func() bool {
		w.timer.Stop()
		return d.forget(a, w)
	}
}

// forget takes a waiter out; false: it has been told.
func (d *demand) forget(a *ask, w *waiter) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := a.waiters[w]
	delete(a.waiters, w)
	return ok
}

// roomLocked tells whether one more unknown name may be asked for. When there are
// too many, those go that are known not to exist.
func (d *demand) roomLocked() bool {
	if d.unknown < maxUnknown {
		return true
	}
	for k, a := range d.asks {
		if a.state == filter.Absent {
			d.dropLocked(k, a)
		}
	}
	return d.unknown < maxUnknown
}

func (d *demand) dropLocked(k waitKey, a *ask) {
	if a.state != filter.Found {
		d.unknown--
	}
	delete(d.asks, k)
	d.unsubscribeLocked(k)
}

func (d *demand) subscribeLocked(k waitKey) {
	if d.ads != nil {
		d.ads.Subscribe(k.typeURL, k.name)
	}
}

func (d *demand) unsubscribeLocked(k waitKey) {
	if d.ads != nil {
		d.ads.Unsubscribe(k.typeURL, k.name)
	}
}

// asked tells whether a name has been asked for.
func (d *demand) asked(k waitKey) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asks[k] != nil
}

// found tells that resources are in effect.
func (d *demand) found(keys ...waitKey) { d.settle(filter.Found, keys) }

// absent tells that there are none.
func (d *demand) absent(keys ...waitKey) { d.settle(filter.Absent, keys) }

func (d *demand) settle(o filter.Outcome, keys []waitKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var told []*waiter
	for _, k := range keys {
		a := d.asks[k]
		if a == nil {
			continue
		}
		if (a.state == filter.Found) != (o == filter.Found) {
			if o == filter.Found {
				d.unknown--
			} else {
				d.unknown++
			}
		}
		a.state = o
		if o == filter.Absent {
			a.again = time.Now().Add(min(absentFor<<min(a.denials, 8), absentMost))
			a.denials++
		} else {
			a.denials = 0
		}
		for w := range a.waiters {
			w.timer.Stop()
			told = append(told, w)
		}
		clear(a.waiters)
	}
	if len(told) == 0 {
		return
	}
	// Elsewhere: what wakes may go on with its request at once.
	d.wg.Go(func() {
		for _, w := range told {
			w.wake(o)
		}
	})
}

// gone tells that what had been found is no longer held: it is asked for anew
// when it is needed.
func (d *demand) gone(keys ...waitKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range keys {
		if a := d.asks[k]; a != nil && a.state == filter.Found {
			d.dropLocked(k, a)
		}
	}
}

// sweep forgets names that do not exist, or that nobody tells of, and that
// nobody wants any more.
func (d *demand) sweep() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for k, a := range d.asks {
		if a.state == filter.Found {
			continue
		}
		if !a.used && len(a.waiters) == 0 {
			d.dropLocked(k, a)
		}
		a.used = false
	}
}

// foundOf lists the names of a type that were found.
func (d *demand) foundOf(typeURL string) (names []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for k, a := range d.asks {
		if k.typeURL == typeURL && a.state == filter.Found {
			names = append(names, k.name)
		}
	}
	return names
}

// stop ends all waits.
func (d *demand) stop() {
	d.mu.Lock()
	for _, a := range d.asks {
		for w := range a.waiters {
			w.timer.Stop()
		}
		clear(a.waiters)
	}
	d.mu.Unlock()
	d.wg.Wait()
}
