//go:build !race

package localrate

import (
	"testing"

	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
)

func TestLimitingAllocatesNothing(t *testing.T) {
	f, err := HTTPKind().Parse(&filter.ParseContext{Local: two{}}, message(t,
		`{"statPrefix":"p",`+always+`,"localClusterRateLimit":{},"enableXRatelimitHeaders":"DRAFT_VERSION_03","tokenBucket":{"maxTokens":1000000,"fillInterval":"1s"}}`, &localv3.LocalRateLimit{}))
	if err != nil {
		t.Fatal(err)
	}
	s := filtertest.New()
	s.StreamInfo.Start = epoch
	h := &filter.Headers{}
	if n := testing.AllocsPerRun(100, func() {
		h.Reset()
		x := f.New(s)
		if x.RequestHeaders(s, s.Req, true) != filter.Continue || x.ResponseHeaders(s, h, true) != filter.Continue || h.Len() != 3 {
			t.Fatal("denied, or without headers")
		}
		x.Done(s)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

type two struct{}

func (two) LocalMembers() int { return 2 }
