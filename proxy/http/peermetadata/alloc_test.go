//go:build !race

package peermetadata

import (
	"testing"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
	"github.com/weftmesh/weft/proxy/peer"
)

func TestKnownPeersCostNoAllocation(t *testing.T) {
	id, value := other().Get(peer.HeaderID), other().Get(peer.HeaderValue)
	s := &filtertest.Stream{Req: &filter.Headers{}, Resp: &filter.Headers{}}
	f := filtertest.Filter(t, Kind("me", metadata("me"), nil), typed(inbound), s)
	run := func() {
		s.Req.Reset()
		s.Resp.Reset()
		s.Req.Add(peer.HeaderID, id)
		s.Req.Add(peer.HeaderValue, value)
		f.RequestHeaders(s, s.Req, true)
		f.ResponseHeaders(s, s.Resp, true)
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("a request costs %v allocations, want 0", n)
	}
}
