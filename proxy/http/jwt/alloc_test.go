//go:build !race

package jwt

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
)

// TestCachedTokensAllocateNothing: neither headers nor metadata are made anew.
func TestCachedTokensAllocateNothing(t *testing.T) {
	i := newIssuer(t)
	local, err := json.Marshal(i.jwks)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Kind().Parse(&filter.ParseContext{}, message(t, `{"providers":{"p":{"issuer":"i","forward":true,"payloadInMetadata":"pay","forwardPayloadHeader":"x-payload",
		"claimToHeaders":[{"headerName":"x-sub","claimName":"sub"}],"jwtCacheConfig":{},"localJwks":{"inlineString":`+string(local)+`}}},
		"rules":[{"match":{"prefix":"/a"}},{"match":{"prefix":"/"},"requires":{"requiresAny":{"requirements":[{"providerName":"p"},{"allowMissing":{}}]}}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	s := filtertest.New("authorization", "Bearer "+i.token(t, `{"iss":"i","sub":"s","exp":4102444800}`))
	s.StreamInfo.Start = time.Now()
	if n := testing.AllocsPerRun(100, func() {
		clear(s.StreamInfo.Metadata)
		x := f.New(s)
		if x.RequestHeaders(s, s.Req, true) != filter.Continue || s.Req.Get("x-sub") != "s" {
			t.Fatal("denied")
		}
		x.Done(s)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
