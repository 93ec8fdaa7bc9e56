package proxy

import (
	"log/slog"
	"sync"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/format"
	"github.com/weftmesh/weft/proxy/http/adaptive"
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
	"github.com/weftmesh/weft/proxy/http/grpcbridge"
	"github.com/weftmesh/weft/proxy/http/grpcstats"
	"github.com/weftmesh/weft/proxy/http/grpcweb"
	"github.com/weftmesh/weft/proxy/http/headermutation"
	"github.com/weftmesh/weft/proxy/http/healthcheck"
	"github.com/weftmesh/weft/proxy/http/jwt"
	"github.com/weftmesh/weft/proxy/http/localrate"
	"github.com/weftmesh/weft/proxy/http/lua"
	"github.com/weftmesh/weft/proxy/http/metadata"
	"github.com/weftmesh/weft/proxy/http/ondemand"
	"github.com/weftmesh/weft/proxy/http/originalsrc"
	"github.com/weftmesh/weft/proxy/http/peermetadata"
	"github.com/weftmesh/weft/proxy/http/quota"
	"github.com/weftmesh/weft/proxy/http/ratelimit"
	"github.com/weftmesh/weft/proxy/http/rbac"
	"github.com/weftmesh/weft/proxy/http/session"
	"github.com/weftmesh/weft/proxy/http/snicluster"
	"github.com/weftmesh/weft/proxy/http/transcode"
	"github.com/weftmesh/weft/proxy/http/wasm"
	"github.com/weftmesh/weft/proxy/peer"
	"github.com/weftmesh/weft/wire"
)

// httpKinds are the HTTP filters that a configuration may name. The router is
// the connection manager's own.
func (r *runtime) httpKinds() []filter.HTTPKind {
	return []filter.HTTPKind{
		adaptive.Kind(),
		admission.Kind(),
		alpn.Kind(r.spokenTo),
		buffer.Kind(),
		r.convertKind(),
		compress.CompressorKind(),
		compress.DecompressorKind(),
		cors.Kind(),
		csrf.Kind(),
		extauthz.HTTPKind(),
		fault.Kind(),
		filterstate.Kind(r.formats()),
		forward.HTTPKind(r.clusters.CheckDNSCache),
		grpcbridge.Kind(), transcode.Kind(),
		grpcstats.Kind(r.statName),
		grpcweb.Kind(),
		headermutation.Kind(r.formats()),
		healthcheck.Kind(r.boot.Node.GetCluster(), r.members, r.failing.Load),
		jwt.Kind(),
		localrate.HTTPKind(),
		lua.Kind(r.logOf("lua")),
		metadata.HeaderKind(),
		metadata.SetKind(),
		peermetadata.Kind(r.boot.Node.GetId(), r.boot.Node.GetMetadata(), r.untold),
		originalsrc.Kind(),
		ondemand.Kind(onDemand{r}, r.boot.ADS != nil && !r.boot.ADS.StateOfTheWorld),
		quota.Kind(r.quotas),
		ratelimit.HTTPKind(),
		rbac.HTTPKind(),
		session.Kind(),
		wasm.Kind(r.plugins()),
		r.observe.metrics.HTTPKind(),
	}
}

// formats are what filters compile formats with.
func (r *runtime) formats() format.Options {
	return format.Options{Hostname: hostname(), Env: environment}
}

// logOf is the log of plug-ins; nil where only the list of filters is made.
func (r *runtime) logOf(component string) *slog.Logger {
	if r.log == nil {
		return nil
	}
	return r.log.With("component", component)
}

// plugins are what WebAssembly modules see of the proxy.
func (r *runtime) plugins() wasm.Options {
	n := r.boot.Node
	return wasm.Options{
		Life:  r.life,
		Node:  map[string]any{"id": n.GetId(), "cluster": n.GetCluster(), "metadata": n.GetMetadata().AsMap()},
		Knows: func(name string) bool { return r.clusters.Get(name) != nil },
		Log:   r.logOf("wasm"),
	}
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
		peer.NetworkKind(r.boot.Node.GetId(), r.boot.Node.GetMetadata()),
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

// greeters reads clusters' filter istio.metadata_exchange, once per content: a
// mesh's clusters have the same.
func (r *runtime) greeters() func(*anypb.Any) (cluster.Greeter, error) {
	var mu sync.Mutex
	known := map[string]*peer.Exchanger{}
	return func(a *anypb.Any) (cluster.Greeter, error) {
		mu.Lock()
		defer mu.Unlock()
		x := known[string(a.GetValue())]
		if x == nil {
			var err error
			if x, err = peer.ParseExchanger(a, r.boot.Node.GetId(), r.boot.Node.GetMetadata()); err != nil {
				return nil, err
			}
			known[string(a.GetValue())] = x
		}
		return x, nil
	}
}

// untold tells whether a cluster is to learn nothing of this workload: by its
// metadata, or, when external counts, because it is outside of the mesh.
func (r *runtime) untold(name string, external bool) bool {
	if external && name == wire.PassthroughCluster {
		return true
	}
	c := r.clusters.Get(name)
	if c == nil {
		return false
	}
	istio, _ := c.Spec().Metadata["istio"].(map[string]any)
	return istio["disable_mx"] == true || external && istio["external"] == true
}

// statName is how statistics call a cluster.
func (r *runtime) statName(name string) string {
	if c := r.clusters.Get(name); c != nil {
		return c.StatName()
	}
	return name
}
