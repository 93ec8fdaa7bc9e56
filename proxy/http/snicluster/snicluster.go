// Package snicluster is the network filter envoy.filters.network.sni_cluster:
// tcp_proxy sends the connection to the cluster that is named like the server
// that the client asked for. A connection without a server name goes where
// tcp_proxy's configuration says. The filter decides nothing itself.
package snicluster

import (
	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/filter"
)

// Name of the filter, in Envoy's words.
const Name = "envoy.filters.network.sni_cluster"

// instance has no state; it is its own factory.
type instance struct{}

// New implements filter.NetworkFactory.
func (x instance) New() filter.NetworkFilter { return x }

// Open names the cluster.
func (instance) Open(_ stream.Conn, info *filter.ConnInfo) filter.Verdict {
	if info.SNI != "" {
		info.TCPCluster = info.SNI
	}
	return filter.Continue
}

// Closed does nothing.
func (instance) Closed(*filter.ConnInfo) {}
