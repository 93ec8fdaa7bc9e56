package config

import (
	"errors"
	"fmt"

	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/cluster"
)

// supportedTypes lists the supported fields of clusters that are extensions.
var supportedTypes = strict.Table{
	"envoy.extensions.clusters.aggregate.v3.ClusterConfig": "clusters",
}

// clusterType reads a cluster whose type is an extension.
func (d *Decoder) clusterType(a *anypb.Any, c *clusterConfig) error {
	switch {
	case a == nil:
		return errors.New("is missing")
	case a.MessageIs(&aggregatev3.ClusterConfig{}):
		m := &aggregatev3.ClusterConfig{}
		if err := unpack(a, m); err != nil {
			return err
		}
		c.spec.Type, c.spec.Clusters = cluster.Aggregate, m.Clusters
		return nil
	default:
		return fmt.Errorf("%s is not supported", a.TypeUrl)
	}
}
