package proxy

import (
	"time"

	"github.com/weftmesh/weft/proxy/filter"
)

// onDemand lets filters ask the control plane, through config, which is made
// after the kinds of filters.
type onDemand struct{ r *runtime }

// AskHost implements ondemand.Source.
func (d onDemand) AskHost(routes, authority string, wake func(filter.Outcome)) (filter.Outcome, func() bool) {
	return d.r.store.AskHost(routes, authority, wake)
}

// AskRoutes implements ondemand.Source.
func (d onDemand) AskRoutes(name string, wake func(filter.Outcome)) (filter.Outcome, func() bool) {
	return d.r.store.AskRoutes(name, wake)
}

// AskCluster implements ondemand.Source.
func (d onDemand) AskCluster(name string, timeout time.Duration, wake func(filter.Outcome)) (filter.Outcome, func() bool) {
	return d.r.store.AskCluster(name, timeout, wake)
}
