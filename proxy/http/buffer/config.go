package buffer

import (
	bufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/match"
)

// Kind describes the filter.
func Kind() filter.HTTPKind {
	const prefix = "type.googleapis.com/envoy.extensions.filters.http.buffer.v3."
	return filter.HTTPKind{
		Name:     Name,
		TypeURLs: []string{prefix + "Buffer", prefix + "BufferPerRoute"},
		Parse: func(ctx *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
			m := &bufferv3.Buffer{}
			if err := match.Open(a, m, supported); err != nil {
				return nil, err
			}
			return &factory{name: ctx.FilterName, max: int(m.MaxRequestBytes.GetValue())}, nil
		},
		ParseRoute: func(_ *filter.ParseContext, a *anypb.Any) (any, error) {
			m := &bufferv3.BufferPerRoute{}
			if err := match.Open(a, m, supported); err != nil {
				return nil, err
			}
			return int(m.GetBuffer().GetMaxRequestBytes().GetValue()), nil // 0: disabled
		},
	}
}

var supported = strict.Table{
	"envoy.extensions.filters.http.buffer.v3.Buffer":         "max_request_bytes",
	"envoy.extensions.filters.http.buffer.v3.BufferPerRoute": "disabled buffer",
}
