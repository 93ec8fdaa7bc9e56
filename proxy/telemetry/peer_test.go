package telemetry

import (
	"net/netip"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

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

// istioWorkload is a message as istiod sends it.
func istioWorkload(name string, addresses ...netip.Addr) []byte {
	text := func(b []byte, n protowire.Number, v string) []byte {
		return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), v)
	}
	b := text(nil, fieldName, name)
	b = text(b, fieldNamespace, "shop")
	b = text(b, fieldService, "svc")
	b = text(b, fieldCluster, "k1")
	b = protowire.AppendVarint(protowire.AppendTag(b, 12, protowire.VarintType), 2) // its kind
	for _, a := range addresses {
		b = protowire.AppendBytes(protowire.AppendTag(b, fieldAddresses, protowire.BytesType), a.AsSlice())
	}
	return b
}

func TestWorkloadsOfIstiod(t *testing.T) {
	one, two := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	d := NewDirectory(func(string) {})
	w := NewWorkloads(d)
	met := d.Lookup(one) // before it was told of
	if err := w.Set("uid", istioWorkload("web", one, two)); err != nil {
		t.Fatal(err)
	}
	want := filter.WorkloadRef{Name: "web", Namespace: "shop", Service: "svc", Cluster: "k1"}
	if met.Ref() != want || d.Lookup(two).Ref() != want {
		t.Errorf("%v, %v", met.Ref(), d.Lookup(two).Ref())
	}
	if err := w.Set("uid", istioWorkload("web", two)); err != nil {
		t.Fatal(err)
	}
	if met.Ref() != (filter.WorkloadRef{}) || d.Lookup(two).Ref() != want {
		t.Errorf("after it moved: %v, %v", met.Ref(), d.Lookup(two).Ref())
	}
	w.Remove("uid")
	if d.Lookup(two).Ref() != (filter.WorkloadRef{}) {
		t.Errorf("after it has gone: %v", d.Lookup(two).Ref())
	}
	if err := w.Set("bad", []byte{0xff}); err == nil {
		t.Error("garbage was taken")
	}
}

func FuzzWorkload(f *testing.F) {
	f.Add(istioWorkload("web", netip.MustParseAddr("10.0.0.1")))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _, _ = readWorkload(b) })
}
