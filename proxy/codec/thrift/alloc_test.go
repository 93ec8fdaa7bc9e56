//go:build !race

package thrift

import (
	"testing"

	apache "github.com/apache/thrift/lib/go/thrift"

	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/filter"
)

func TestAllocatesNothing(t *testing.T) {
	for form := range forms {
		c, raw := Protocol.New(), message(t, form, "a:b", apache.CALL, 5, 1)
		h, out, m := &filter.Headers{}, []byte(nil), &codec.Message{}
		if n := testing.AllocsPerRun(100, func() {
			h.Reset()
			*m = codec.Message{Head: h}
			_ = c.Decode(raw, codec.Client, m)
			out, _ = c.Encode(out[:0], raw, codec.Client, 7, nil)
		}); n != 0 {
			t.Errorf("%s: %v allocations", form, n)
		}
	}
}
