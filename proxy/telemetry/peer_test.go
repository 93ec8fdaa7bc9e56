package telemetry

import (
	"net/netip"
	"testing"

	"github.com/weftmesh/weft/proxy/filter"
)

// TestDirectoryOfMany: every new address is asked for once and learnt, however
// many there are, and none is forgotten by those that come after it.
func TestDirectoryOfMany(t *testing.T) {
	asked := map[string]int{}
	d := NewDirectory(func(a string) { asked[a]++ })
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }
	made := 0
	last := d.peers.Load()
	for i := range maxPeers {
		p := d.Lookup(addr(i))
		d.Learn(addr(i).String(), filter.WorkloadRef{Name: addr(i).String()})
		if d.Lookup(addr(i)) != p || p.Ref().Name != addr(i).String() {
			t.Fatalf("%v is %v after it was learnt", addr(i), p.Ref())
		}
		if now := d.peers.Load(); now != last {
			made, last = made+1, now
		}
	}
	if made > 200 {
		t.Errorf("%d addresses were copied %d times", maxPeers, made)
	}
	for i := range maxPeers {
		if asked[addr(i).String()] != 1 {
			t.Fatalf("%v was asked for %d times", addr(i), asked[addr(i).String()])
		}
	}
	if d.Lookup(addr(maxPeers)) != nobody {
		t.Error("more than the directory may hold")
	}
}
