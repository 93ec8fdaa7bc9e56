package proxy

import (
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/format"
	"github.com/weftmesh/weft/proxy/http/admission"
	"github.com/weftmesh/weft/proxy/http/alpn"
	"github.com/weftmesh/weft/proxy/http/buffer"
	"github.com/weftmesh/weft/proxy/http/compress"
	"github.com/weftmesh/weft/proxy/http/connlimit"
	"github.com/weftmesh/weft/proxy/http/cors"
	"github.com/weftmesh/weft/proxy/http/csrf"
	"github.com/weftmesh/weft/proxy/http/extauthz"
	"github.com/weftmesh/weft/proxy/http/fault"
	"github.com/weftmesh/weft/proxy/http/filterstate"
	"github.com/weftmesh/weft/proxy/http/forward"
	"github.com/weftmesh/weft/proxy/http/grpcstats"
	"github.com/weftmesh/weft/proxy/http/grpcweb"
	"github.com/weftmesh/weft/proxy/http/headermutation"
	"github.com/weftmesh/weft/proxy/http/healthcheck"
	"github.com/weftmesh/weft/proxy/http/jwt"
	"github.com/weftmesh/weft/proxy/http/localrate"
	"github.com/weftmesh/weft/proxy/http/metadata"
	"github.com/weftmesh/weft/proxy/http/ratelimit"
	"github.com/weftmesh/weft/proxy/http/rbac"
	"github.com/weftmesh/weft/proxy/http/session"
	"github.com/weftmesh/weft/proxy/http/snicluster"
)

// httpKinds are the HTTP filters that a configuration may name. The router is
// the connection manager's own.
func (r *runtime) httpKinds() []filter.HTTPKind {
	return []filter.HTTPKind{
		admission.Kind(),
		alpn.Kind(r.spokenTo),
		buffer.Kind(),
		compress.CompressorKind(),
		compress.DecompressorKind(),
		cors.Kind(),
		csrf.Kind(),
		extauthz.HTTPKind(),
		fault.Kind(),
		filterstate.Kind(r.formats()),
		forward.HTTPKind(r.clusters.CheckDNSCache),
		grpcstats.Kind(r.statName),
		grpcweb.Kind(),
		headermutation.Kind(r.formats()),
		healthcheck.Kind(r.boot.Node.GetCluster(), r.members),
		jwt.Kind(),
		localrate.HTTPKind(),
		metadata.HeaderKind(),
		metadata.SetKind(),
		ratelimit.HTTPKind(),
		rbac.HTTPKind(),
		session.Kind(),
		r.observe.metrics.HTTPKind(),
	}
}

// formats are what filters compile formats with.
func (r *runtime) formats() format.Options {
	return format.Options{Hostname: hostname(), Env: environment}
}

// networkKinds are the network filters that may stand before
// http_connection_manager and tcp_proxy.
func (r *runtime) networkKinds() []filter.NetworkKind {
	return []filter.NetworkKind{
		extauthz.NetworkKind(),
		filterstate.NetworkKind(r.formats()),
		forward.NetworkKind(r.clusters.CheckDNSCache),
		connlimit.Kind(),
		localrate.NetworkKind(),
		ratelimit.NetworkKind(),
		rbac.NetworkKind(),
		r.observe.metrics.NetworkKind(),
		snicluster.Kind(),
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

// spokenTo tells with what protocol a cluster is spoken to, for istio.alpn.
func (r *runtime) spokenTo(name, client string) (string, bool) {
	c := r.clusters.Get(name)
	if c == nil {
		return "", false
	}
	spec := c.Spec()
	if istio, ok := spec.Metadata["istio"].(map[string]any); ok && istio["alpn_override"] == "false" {
		return "", false
	}
	switch spec.Protocol {
	case cluster.UseDownstream:
		return client, true
	case cluster.HTTP2, cluster.AutoALPN:
		return "HTTP/2", true
	}
	return "HTTP/1.1", true
}

// statName is how statistics call a cluster.
func (r *runtime) statName(name string) string {
	if c := r.clusters.Get(name); c != nil {
		return c.StatName()
	}
	return name
}
