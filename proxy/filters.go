package proxy

import (
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/format"
	"github.com/weftmesh/weft/proxy/http/buffer"
	"github.com/weftmesh/weft/proxy/http/cors"
	"github.com/weftmesh/weft/proxy/http/csrf"
	"github.com/weftmesh/weft/proxy/http/extauthz"
	"github.com/weftmesh/weft/proxy/http/fault"
	"github.com/weftmesh/weft/proxy/http/filterstate"
	"github.com/weftmesh/weft/proxy/http/forward"
	"github.com/weftmesh/weft/proxy/http/headermutation"
	"github.com/weftmesh/weft/proxy/http/healthcheck"
	"github.com/weftmesh/weft/proxy/http/jwt"
	"github.com/weftmesh/weft/proxy/http/localrate"
	"github.com/weftmesh/weft/proxy/http/metadata"
	"github.com/weftmesh/weft/proxy/http/ratelimit"
	"github.com/weftmesh/weft/proxy/http/rbac"
)

// httpKinds are the HTTP filters that a configuration may name. The router is
// the connection manager's own.
func (r *runtime) httpKinds() []filter.HTTPKind {
	return []filter.HTTPKind{
		buffer.Kind(),
		cors.Kind(),
		csrf.Kind(),
		extauthz.HTTPKind(),
		fault.Kind(),
		filterstate.Kind(),
		forward.HTTPKind(r.clusters.CheckDNSCache),
		headermutation.Kind(format.Options{Hostname: hostname(), Env: environment}),
		healthcheck.Kind(r.boot.Node.GetCluster(), r.members),
		jwt.Kind(),
		localrate.HTTPKind(),
		metadata.HeaderKind(),
		metadata.SetKind(),
		ratelimit.HTTPKind(),
		rbac.HTTPKind(),
		r.observe.metrics.HTTPKind(),
	}
}

// networkKinds are the network filters that may stand before
// http_connection_manager and tcp_proxy.
func (r *runtime) networkKinds() []filter.NetworkKind {
	return []filter.NetworkKind{
		extauthz.NetworkKind(),
		forward.NetworkKind(r.clusters.CheckDNSCache),
		localrate.NetworkKind(),
		ratelimit.NetworkKind(),
		rbac.NetworkKind(),
		r.observe.metrics.NetworkKind(),
	}
}

// members tells filters how a cluster is.
func (r *runtime) members(name string) (all, available int, ok bool) {
	c := r.clusters.Get(name)
	if c == nil {
		return 0, 0, false
	}
	st := c.Stats()
	return int(st.MembershipTotal.Load()), int(st.MembershipHealthy.Load() + st.MembershipDegraded.Load()), true
}
