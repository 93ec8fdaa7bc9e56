package scope

import (
	"cmp"
	"net/netip"
	"strings"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/wire"
)

// Engines of a proxy.
const (
	EngineGo    = "go"
	EngineEnvoy = "envoy"
	EngineNone  = "none" // of a workload: it has no proxy
)

// Proxy is who asks for configuration.
type Proxy struct {
	ID   wire.NodeID
	Meta wire.NodeMetadata
	// Raw is what of the node's metadata is text, by Istio's keys.
	Raw map[string]string
	// Workload is the instance that the proxy serves, or the gateway itself. When
	// nil, Build looks it up by namespace and name; a proxy that no source knows
	// (yet) is served by its metadata alone.
	Workload *model.Workload
	// Place is where the proxy says that it is; see Locality.
	Place model.Locality
	// OnDemand: the proxy asks for what it uses instead of getting all that it may
	// see. Gateways and explicit proxies never do; gRPC without a proxy always does.
	OnDemand bool
	// Moved are Findings that say why the proxy is not on demand although it was meant to be.
	Moved []model.Finding
}

// Gateway tells whether the proxy is a gateway.
func (p *Proxy) Gateway() bool { return p.ID.Type == wire.Router }

// Proxyless tells whether it is no proxy that asks, but gRPC itself: one program's
// clients, or its server.
func (p *Proxy) Proxyless() bool { return p.Meta.Generator == wire.GeneratorGRPC }

// SelfDiscovery tells whether the proxy has a cluster of its own kind, and asks for
// its endpoints.
func (p *Proxy) SelfDiscovery() bool { return p.Raw[wire.SelfDiscoveryKey] == "true" && !p.Proxyless() }

// Namespace is the namespace of the proxy.
func (p *Proxy) Namespace() string {
	if p.Workload != nil {
		return p.Workload.Namespace
	}
	return p.ID.Namespace
}

// Labels are the labels that selectors look at. What the control plane knows
// of a workload beats what its proxy says of itself.
func (p *Proxy) Labels() map[string]string {
	if p.Workload != nil {
		return p.Workload.Labels
	}
	return p.Meta.Labels
}

// Locality is where the proxy is. What the control plane knows beats what it says.
func (p *Proxy) Locality() model.Locality {
	if p.Workload != nil && p.Workload.Locality != (model.Locality{}) {
		return p.Workload.Locality
	}
	return p.Place
}

// Node is the machine on which the proxy runs; "": nothing says.
func (p *Proxy) Node() string {
	if p.Workload != nil && p.Workload.Node != "" {
		return p.Workload.Node
	}
	return p.Meta.NodeName
}

// Network is the network that the proxy is in; "": the only one.
func (p *Proxy) Network() string {
	if p.Workload != nil && p.Workload.Network != "" {
		return p.Workload.Network
	}
	return p.Meta.Network
}

// Engine is "go" or "envoy".
func (p *Proxy) Engine() string {
	if p.Meta.Engine == EngineEnvoy {
		return EngineEnvoy
	}
	if p.Meta.Engine == "" && p.Workload != nil && p.Workload.Engine == EngineEnvoy {
		return EngineEnvoy
	}
	return EngineGo
}

// Settings are how a proxy is run, by all that says so.
func (x *Index) Settings(p *Proxy) model.ProxySettings {
	var own *model.ProxySettings
	if w := p.Workload; w != nil {
		own = w.Proxy
		if own == nil {
			if o, ok := x.Snapshot.Objects.Get(model.Key{Kind: model.KindProcess, Namespace: w.Namespace, Name: w.App}).(*model.Process); ok {
				own = o.Proxy
			}
		}
	}
	if name := p.Labels()[gatewayName]; own == nil && name != "" {
		// Whoever runs the proxies of a Gateway gives them its annotations.
		if g, ok := x.Snapshot.Objects.Get(model.Key{Kind: model.KindAPIGateway, Namespace: p.Namespace(), Name: name}).(*model.APIGateway); ok {
			own = g.Proxy
		}
	}
	return model.ProxySettingsOf(x.Mesh, x.Snapshot.ProxyConfigs, p.Namespace(), p.Labels(), own)
}

// SpanName is how the proxy's spans are named: "reviews.default", or as
// tracingServiceName says.
func (p *Proxy) SpanName(as string) string {
	labels := p.Labels()
	canonical := cmp.Or(labels["service.istio.io/canonical-name"], labels["app.kubernetes.io/name"], labels["app"], p.ID.Name)
	switch as {
	case "CANONICAL_NAME_ONLY":
		return canonical
	case "CANONICAL_NAME_AND_NAMESPACE":
		return canonical + "." + p.Namespace()
	}
	return cmp.Or(labels["service.istio.io/canonical-name"], labels["app"], p.ID.Name) + "." + p.Namespace()
}

// SpanTags are Istio's tags of spans that say what the proxy serves: name and value.
func (p *Proxy) SpanTags() [][2]string {
	labels, cluster := p.Labels(), p.Meta.ClusterID
	if p.Workload != nil {
		cluster = p.Workload.Cluster
	}
	return [][2]string{
		{"istio.canonical_revision", cmp.Or(labels["service.istio.io/canonical-revision"], labels["app.kubernetes.io/version"], labels["version"], "latest")},
		{"istio.canonical_service", cmp.Or(labels["service.istio.io/canonical-name"], labels["app.kubernetes.io/name"], labels["app"], "unknown")},
		{"istio.cluster_id", cmp.Or(cluster, "unknown")},
	}
}

// HTTPProxy tells whether the proxy serves an explicit HTTP proxy instead of
// captured traffic (capture mode "proxy"), and on which port.
func (p *Proxy) HTTPProxy() (port string, ok bool) {
	return p.Meta.HTTPProxyPort, p.Meta.HTTPProxyPort != ""
}

// Asks tells whether the proxy asks for what it uses: its workload's annotation says
// so, or else the mode of the whole. Gateways and explicit proxies never do.
func (p *Proxy) Asks(byDefault bool) bool {
	if _, explicit := p.HTTPProxy(); explicit || p.Gateway() {
		return false
	}
	if p.Workload != nil {
		switch p.Workload.Annotations[wire.ModeKey] {
		case wire.ModeOnDemand:
			return true
		case wire.ModeEager:
			return false
		}
	}
	return byDefault
}

// Domain is the DNS domain whose names the program may shorten,
// "default.svc.cluster.local".
func (p *Proxy) Domain(clusterDomain string) string {
	if p.ID.Domain != "" {
		return p.ID.Domain
	}
	return p.Namespace() + ".svc." + clusterDomain
}

// Addresses are the proxy's own, preferred one first.
func (p *Proxy) Addresses() []netip.Addr {
	if p.Workload != nil && len(p.Workload.Addresses) > 0 {
		return p.Workload.Addresses
	}
	var out []netip.Addr
	for _, s := range append(strings.Split(p.Meta.InstanceIPs, ","), p.ID.IP) {
		a, err := netip.ParseAddr(strings.TrimSpace(s))
		if err == nil && !contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// Families tells which address families the proxy has. One that has no known
// address is taken for IPv4 only.
func (p *Proxy) Families() (v4, v6 bool) {
	for _, a := range p.Addresses() {
		if a.Unmap().Is4() {
			v4 = true
		} else {
			v6 = true
		}
	}
	if !v4 && !v6 {
		v4 = true
	}
	return v4, v6
}

func contains(list []netip.Addr, a netip.Addr) bool {
	for _, x := range list {
		if x == a {
			return true
		}
	}
	return false
}
