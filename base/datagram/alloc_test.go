//go:build !race

package datagram

import (
	"net/netip"
	"testing"
)

func TestAllocations(t *testing.T) {
	s := listen(t, "udp4", "0.0.0.0:0")
	out := listen(t, "udp4", "127.0.0.1:0")
	to := out.Dest(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), s.Local().Port()), netip.Addr{})
	pool := NewPool(1500, 16)
	r, w := NewReader(s, pool), NewWriter(16)
	payload := make([]byte, 100)
	n := 0
	least := 1000.0
	for range 10 { // the garbage collector may empty the pool
		least = min(least, testing.AllocsPerRun(100, func() {
			for range 4 {
				w.Add(to, payload)
			}
			w.Send(out)
			b, err := r.Read()
			if err != nil {
				t.Fatal(err)
			}
			for i := range b.Len() {
				if b.Peer(i).IsValid() && b.Local(i).IsValid() {
					n += len(b.Payload(i))
				}
			}
			b.Lost()
			pool.Put(b)
		}))
	}
	if least != 0 {
		t.Errorf("%v allocations for four datagrams, want none", least)
	}
}
