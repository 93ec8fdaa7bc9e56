package pool

import "testing"

// TestPeerRaisesItsLimit: more requests than the peer was thought to take wait
// for what it says, and go on the same connection when that is more.
func TestPeerRaisesItsLimit(t *testing.T) {
	p, fc, cc := pooled(t, WantHTTP2)
	p.beginDialLocked(cc.key)
	c := newH2Conn(cc)
	c.open()
	var all []*exchanger
	for range 300 {
		e := newExchanger(p)
		e.start(p)
		all = append(all, e)
	}
	// SETTINGS with MAX_CONCURRENT_STREAMS 1000.
	c.lane.Do(func() { fc.h.OnData([]byte("\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x03\xe8")) })
	for i, e := range all {
		if e.ready != 1 {
			t.Fatalf("request %d has no connection", i)
		}
	}
	if n := c.cd.Streams(); n != len(all) {
		t.Errorf("%d streams, want %d", n, len(all))
	}
}
