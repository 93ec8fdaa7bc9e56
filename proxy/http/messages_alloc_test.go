//go:build !race

package http

import (
	"testing"

	l7 "github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/codec/codectest"
)

// TestMessagesAllocateNothing counts what a request and its answer allocate in the proxy once it is warm. Client
// and server allocate themselves, the same each time, so that a second measurement without the proxy is taken off.
func TestMessagesAllocateNothing(t *testing.T) {
	up := newToyServer(t, "a")
	k := start(t, routes(to("up")), func(c *ManagerConfig) { speakToy(l7.ByID)(c); c.AccessLogs = nil }, upstreamSpec("up", up.addr()))
	through, direct := dialToy(t, k.addr), dialToy(t, up.addr())
	msg := codectest.ToyMessage(l7.Request, 1, ":method=x\nk=v\n\n")
	once := func(c *toyClient) func() {
		return func() {
			_, _ = c.nc.Write(msg)
			c.next()
		}
	}
	for range 100 {
		once(through)()
		once(direct)()
	}
	with, without := testing.AllocsPerRun(2000, once(through)), testing.AllocsPerRun(2000, once(direct))
	if with-without > 1 {
		t.Errorf("%v allocations per request through the proxy, %v without it", with, without)
	}
}
