package snicluster

import (
	sniv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_cluster/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/match"
)

const typeName = "envoy.extensions.filters.network.sni_cluster.v3.SniCluster"

var supported = strict.Table{typeName: ""}

// Kind describes the filter.
func Kind() filter.NetworkKind {
	return filter.NetworkKind{
		Name:     Name,
		TypeURLs: []string{"type.googleapis.com/" + typeName},
		Parse: func(_ *filter.ParseContext, a *anypb.Any) (filter.NetworkFactory, error) {
			if err := match.Open(a, &sniv3.SniCluster{}, supported); err != nil {
				return nil, err
			}
			return instance{}, nil
		},
	}
}
