package patch

import (
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/weftmesh/weft/control/model"
)

// Istio's names of the listeners whose chains are for ports, instead of themselves.
const (
	virtualInbound  = "virtualInbound"
	virtualOutbound = "virtualOutbound"
)

func virtual(l *listenerv3.Listener) bool {
	return l.GetName() == virtualInbound || l.GetName() == virtualOutbound
}

func (p *patch) matchesListener(l *listenerv3.Listener) bool {
	m := p.Listener
	switch {
	case m == nil:
		return true
	case m.Name != "" && m.Name != l.GetName():
		return false
	case m.Port == 0, p.ApplyTo != model.ToListener && virtual(l):
		return true // of virtual listeners the chain has the port
	}
	return l.GetAddress().GetSocketAddress().GetPortValue() == m.Port
}

func (p *patch) matchesChain(l *listenerv3.Listener, fc *listenerv3.FilterChain) bool {
	m := p.Listener
	if m == nil {
		return true
	}
	of := fc.GetFilterChainMatch()
	if virtual(l) && m.Port != 0 && of.GetDestinationPort().GetValue() != m.Port {
		return false
	}
	c := m.Chain
	if c == nil {
		return true
	}
	for _, proto := range c.ApplicationProtocols {
		if !slices.Contains(of.GetApplicationProtocols(), proto) {
			return false
		}
	}
	return (c.Name == "" || c.Name == fc.GetName()) &&
		(c.SNI == "" || slices.Contains(of.GetServerNames(), c.SNI)) &&
		(c.TransportProtocol == "" || c.TransportProtocol == of.GetTransportProtocol()) &&
		(c.Port == 0 || of.GetDestinationPort().GetValue() == c.Port)
}

// picksFilter tells whether the patch names a network filter.
func (p *patch) picksFilter() bool {
	return p.Listener != nil && p.Listener.Chain != nil && p.Listener.Chain.Filter != nil
}

func (p *patch) matchesFilter(f *listenerv3.Filter) bool {
	return !p.picksFilter() || *p.Listener.Chain.Filter == f.GetName()
}

// picksSubFilter tells whether the patch names an HTTP filter.
func (p *patch) picksSubFilter() bool { return p.picksFilter() && p.Listener.Chain.SubFilter != nil }

func (p *patch) matchesSubFilter(f *hcmv3.HttpFilter) bool {
	return !p.picksSubFilter() || *p.Listener.Chain.SubFilter == f.GetName()
}

func (p *patch) matchesHost(vh *routev3.VirtualHost) bool {
	if p.Route == nil || p.Route.Host == nil {
		return true
	}
	m := p.Route.Host
	return (m.Name == "" || m.Name == vh.GetName() || strings.HasSuffix(m.Name, ":*") && strings.HasPrefix(vh.GetName(), strings.TrimSuffix(m.Name, "*"))) && (m.Domain == "" || slices.Contains(vh.GetDomains(), m.Domain))
}

// picksRoute tells whether the patch names a route.
func (p *patch) picksRoute() bool {
	return p.Route != nil && p.Route.Host != nil && p.Route.Host.Route != nil
}

func (p *patch) matchesRoute(r *routev3.Route) bool {
	if !p.picksRoute() {
		return true
	}
	m := p.Route.Host.Route
	if m.Name != "" && m.Name != r.GetName() {
		return false
	}
	if m.Action == "" {
		return true
	}
	switch r.GetAction().(type) {
	case *routev3.Route_Route:
		return m.Action == "ROUTE"
	case *routev3.Route_Redirect:
		return m.Action == "REDIRECT"
	case *routev3.Route_DirectResponse:
		return m.Action == "DIRECT_RESPONSE"
	}
	return true
}

// matchesCluster takes the hosts of the services that an inbound cluster serves.
func (p *patch) matchesCluster(c *clusterv3.Cluster, hosts []string) bool {
	m := p.Cluster
	if m == nil {
		return true
	}
	if m.Name != "" {
		return m.Name == c.GetName()
	}
	direction, port, subset, host := splitName(c.GetName())
	if direction != inbound || len(hosts) == 0 {
		hosts = []string{host}
	}
	return (m.Subset == "" || m.Subset == subset) && (m.Service == "" || slices.Contains(hosts, m.Service)) &&
		(m.Port == 0 || m.Port == port)
}
