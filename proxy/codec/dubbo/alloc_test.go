//go:build !race

package dubbo

import (
	"testing"

	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/filter"
)

func TestAllocatesNothing(t *testing.T) {
	c, raw := Protocol.New(), request(flagRequest|flagTwoWay|hessian2, 1)
	h, out := &filter.Headers{}, []byte(nil)
	changes := []codec.Change{{Name: "traceparent", Value: "00-1"}}
	m := &codec.Message{}
	if n := testing.AllocsPerRun(100, func() {
		h.Reset()
		*m = codec.Message{Head: h}
		_ = c.Decode(raw, codec.Client, m)
		out, _ = c.Encode(out[:0], raw, codec.Client, 7, changes)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
