//go:build !race

package telemetry

import (
	"testing"

	"github.com/weftmesh/weft/proxy/filter"
)

func TestCountingDoesNotAllocate(t *testing.T) {
	m := New(local, NewDirectory(func(string) {}))
	i := inboundInfo()
	m.Request(i, false)
	if n := testing.AllocsPerRun(100, func() { m.Request(i, false) }); n != 0 {
		t.Errorf("a request costs %v allocations, want 0", n)
	}
	c := &filter.ConnInfo{Counted: true, Remote: i.Conn.Remote}
	m.ConnOpened(c)
	if n := testing.AllocsPerRun(100, func() { m.ConnClosed(c) }); n != 0 {
		t.Errorf("a connection costs %v allocations, want 0", n)
	}
}

func BenchmarkRequest(b *testing.B) {
	m := New(local, NewDirectory(func(string) {}))
	i := inboundInfo()
	for b.Loop() {
		m.Request(i, false)
	}
}
