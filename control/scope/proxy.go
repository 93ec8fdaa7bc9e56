package scope

import (
	"net/netip"
	"strings"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/wire"
)

// Engines of a proxy.
const (
	EngineGo    = "go"
	EngineEnvoy = "envoy"
)

// Proxy is who asks for configuration.
type Proxy struct {
	ID   wire.NodeID
	Meta wire.NodeMetadata
	// Workload is the instance that the proxy serves, or the gateway itself. When
	// nil, Build looks it up by namespace and name; a proxy that no source knows
	// (yet) is served by its metadata alone.
	Workload *model.Workload
}

// Gateway tells whether the proxy is a gateway.
func (p *Proxy) Gateway() bool { return p.ID.Type == wire.Router }

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

// HTTPProxy tells whether the proxy serves an explicit HTTP proxy instead of
// captured traffic (capture mode "proxy"), and on which port.
func (p *Proxy) HTTPProxy() (port string, ok bool) {
	return p.Meta.HTTPProxyPort, p.Meta.HTTPProxyPort != ""
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
