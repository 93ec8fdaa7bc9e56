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

var conversionFields = strict.Table{conversion: "protocol declared"}

// convertKind is the filter that makes messages of HTTP and JSON.
func (r *runtime) convertKind() filter.HTTPKind {
	read := func(a *anypb.Any) (protocol string, declared []byte, err error) {
		m := &weftpb.MessageConversion{}
		if err = match.Open(a, m, conversionFields); err == nil && m.Declared != nil {
			declared, err = m.Declared.MarshalJSON()
		}
		return m.Protocol, declared, err
	}
	return convert.Kind(wire.MessageConversion, "type.googleapis.com/"+conversion, read, protocols(r.opt.Protocols))
}
