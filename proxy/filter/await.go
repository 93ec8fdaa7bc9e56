package filter

import "time"

// goneEvery is how often a network filter that waits looks whether its client is
// still there. It is one system call on a goroutine that waits anyway.
const goneEvery = 50 * time.Millisecond

// Await is for a NetworkFilter that waits in Open: it returns what comes from the
// channel; ok is false when the client has gone before.
func Await[T any](c *ConnInfo, from <-chan T) (v T, ok bool) {
	if c.Gone == nil {
		return <-from, true
	}
	t := time.NewTicker(goneEvery)
	defer t.Stop()
	for {
		select {
		case v = <-from:
			return v, true
		case <-t.C:
			if c.Gone() {
				return v, false
			}
		}
	}
}

// Pause waits for d, or until the client has gone.
func (c *ConnInfo) Pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	Await(c, t.C)
}
