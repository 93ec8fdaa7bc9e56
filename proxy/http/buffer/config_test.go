package buffer

import (
	"testing"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
)

const typ = `{"@type":"type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer"`

func TestRefused(t *testing.T) {
	parse := func(c *filter.ParseContext, a *anypb.Any) error {
		_, err := Kind().Parse(c, a)
		return err
	}
	filtertest.Refused(t, parse, map[string]string{
		typ + `}`: "MaxRequestBytes",
	})
}
