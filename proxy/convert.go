package proxy

import (
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/convert"
	"github.com/weftmesh/weft/proxy/http/match"
	"github.com/weftmesh/weft/wire"
	"github.com/weftmesh/weft/wire/weftpb"
)

const conversion = "weft.wire.v1.MessageConversion"

var conversionFields = strict.Table{conversion: "protocol"}

// convertKind is the filter that makes messages of HTTP and JSON.
func (r *runtime) convertKind() filter.HTTPKind {
	read := func(a *anypb.Any) (string, error) {
		m := &weftpb.MessageConversion{}
		err := match.Open(a, m, conversionFields)
		return m.Protocol, err
	}
	return convert.Kind(wire.MessageConversion, "type.googleapis.com/"+conversion, read, protocols(r.opt.Protocols))
}
