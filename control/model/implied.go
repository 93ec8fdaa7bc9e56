package model

import (
	"maps"
	"slices"
	"strings"
)

// gatewayNamespace is where implied gateways are, as Istio's default installation has it.
const gatewayNamespace = "istio-system"

// ImpliedGateway is a gateway that Gateways ask for and that nobody has written a
// workload for: what a mesh's installation would have brought along.
type ImpliedGateway struct {
	Name, Namespace, ServiceAccount string
	Labels                          map[string]string
	// Ports are those of the servers, each once; only Port and Protocol are set.
	Ports []ServicePort
}

// ImpliedGateways makes one gateway for each selector, sorted by name. provided
// tells whether a workload of the user's own has the labels.
func ImpliedGateways(gateways []*Gateway, provided func(selector map[string]string) bool) []ImpliedGateway {
	byName := map[string]*ImpliedGateway{}
	for _, g := range gateways {
		if len(g.Selector) == 0 || provided(g.Selector) {
			continue
		}
		name := impliedName(g.Selector)
		gw := byName[name]
		if gw == nil {
			labels := maps.Clone(g.Selector)
			if labels["app"] == "" {
				labels["app"] = name
			}
			gw = &ImpliedGateway{Name: name, Namespace: gatewayNamespace, ServiceAccount: name + "-service-account", Labels: labels}
			byName[name] = gw
		}
		for _, srv := range g.Servers {
			if !slices.ContainsFunc(gw.Ports, func(p ServicePort) bool { return p.Port == srv.Port && (p.Protocol == UDP) == (srv.Protocol == UDP) }) {
				gw.Ports = append(gw.Ports, ServicePort{Port: srv.Port, Protocol: srv.Protocol})
			}
		}
	}
	out := make([]ImpliedGateway, 0, len(byName))
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		out = append(out, *byName[name])
	}
	return out
}

// impliedName is "istio-ingressgateway" for Istio's usual selector, else made of
// the labels.
func impliedName(selector map[string]string) string {
	if v := selector["istio"]; v != "" {
		return "istio-" + v
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(selector)) {
		parts = append(parts, selector[k])
	}
	return strings.ToLower(strings.Join(parts, "-"))
}
