package grpcbridge

import (
	bridgev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_http1_bridge/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/match"
)

const message = "envoy.extensions.filters.http.grpc_http1_bridge.v3.Config"

var supported = strict.Table{message: "upgrade_protobuf_to_grpc ignore_query_parameters"}

// Kind describes the filter.
func Kind() filter.HTTPKind {
	return filter.HTTPKind{
		Name:     Name,
		TypeURLs: []string{"type.googleapis.com/" + message},
		Parse: func(_ *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
			m := &bridgev3.Config{}
			if err := match.Open(a, m, supported); err != nil {
				return nil, err
			}
			return &factory{upgrade: m.UpgradeProtobufToGrpc, ignoreQuery: m.IgnoreQueryParameters}, nil
		},
	}
}
