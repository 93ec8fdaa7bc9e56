package originalsrc

import (
	originalsrcv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/original_src/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/match"
)

// Kind describes the filter.
func Kind() filter.HTTPKind {
	return filter.HTTPKind{
		Name:     Name,
		TypeURLs: []string{"type.googleapis.com/envoy.extensions.filters.http.original_src.v3.OriginalSrc"},
		Parse: func(_ *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
			m := &originalsrcv3.OriginalSrc{}
			if err := match.Open(a, m, supported); err != nil {
				return nil, err
			}
			return &factory{mark: int(m.Mark)}, nil
		},
	}
}

var supported = strict.Table{"envoy.extensions.filters.http.original_src.v3.OriginalSrc": "mark"}
