package grpcweb

import (
	webv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_web/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/match"
)

// Kind describes the filter.
func Kind() filter.HTTPKind {
	return filter.HTTPKind{
		Name:     Name,
		TypeURLs: []string{"type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb"},
		Parse: func(_ *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
			return factory{}, match.Open(a, &webv3.GrpcWeb{}, strict.Table{"envoy.extensions.filters.http.grpc_web.v3.GrpcWeb": ""})
		},
	}
}
