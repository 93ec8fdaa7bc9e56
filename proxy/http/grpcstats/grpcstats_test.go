package grpcstats

import (
	"testing"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
)

const typ = `{"@type":"type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"`

func same(s string) string { return s }

func TestRefused(t *testing.T) {
	parse := func(c *filter.ParseContext, a *anypb.Any) error {
		_, err := Kind(same).Parse(c, a)
		return err
	}
	filtertest.Refused(t, parse, map[string]string{
		typ + `,"enableUpstreamStats":true}`:                                            "enable_upstream_stats",
		typ + `,"individualMethodStatsAllowlist":{"services":[{"methodNames":["A"]}]}}`: "GrpcMethodList_Service.Name",
	})
}

// The number of messages does not depend on how they are cut.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x02hi\x00\x00\x00\x00\x00"), uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		var whole, parts frames
		want := whole.count(b)
		var got uint64
		for rest := b; len(rest) > 0; {
			n := min(int(cut)+1, len(rest))
			got += parts.count(rest[:n])
			rest = rest[n:]
		}
		if got != want {
			t.Errorf("%d messages whole, %d in parts", want, got)
		}
	})
}

func TestNoAllocationsPerMessage(t *testing.T) {
	s := filtertest.New(":path", "/a.S/M")
	s.StreamInfo.GRPC = true
	s.StreamInfo.Upstream.Cluster = "c"
	x := filtertest.Filter(t, Kind(same), typ+`,"statsForAllMethods":true}`, s)
	x.RequestHeaders(s, s.Req, false)
	msg := []byte("\x00\x00\x00\x00\x02hi")
	if n := testing.AllocsPerRun(100, func() {
		x.RequestHeaders(s, s.Req, false)
		x.RequestData(s, msg, false)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
