package translate

import (
	"net/netip"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/control/translate/cluster"
	"github.com/weftmesh/weft/wire"
)

// stream names the cluster that a connection of opaque bytes goes to, by the name
// that a proxy makes of where it goes ("tcp|ADDRESS", "tls|NAME|ADDRESS"). Where
// there is no service, it is what the outbound policy says.
func (d *Demand) stream(name string) (to string, ok bool) {
	text, ok := strings.CutPrefix(name, wire.DemandTCP)
	sni := ""
	if !ok {
		if text, ok = strings.CutPrefix(name, wire.DemandTLS); !ok {
			return "", false
		}
		at := strings.LastIndexByte(text, '|')
		if at < 0 {
			return "", false
		}
		sni, text = text[:at], text[at+1:]
	}
	where, err := netip.ParseAddrPort(text)
	if err != nil {
		return "", false
	}
	s := d.meant(sni, where)
	if s == nil {
		return d.routes.Passthrough(), true
	}
	return wire.ClusterName(wire.Outbound, where.Port(), "", s.Host), true
}

// meant is the service that a connection is meant for; nil: none that the proxy sees.
// An address of its own says it best, then the name in TLS, then the instances of
// headless services, then ranges.
func (d *Demand) meant(sni string, where netip.AddrPort) *model.Service {
	a, port := where.Addr().Unmap(), where.Port()
	has := func(list []*model.Service) *model.Service {
		for _, s := range list {
			if p := s.Port(port); p != nil && p.Protocol != model.UDP {
				return s
			}
		}
		return nil
	}
	if s := has(d.view.ByAddress(a)); s != nil {
		return s
	}
	var named []*model.Service
	add := func(host string) {
		if s := d.view.Service(host); s != nil {
			named = append(named, s)
		}
	}
	add(sni)
	for _, rest, ok := strings.Cut(sni, "."); ok; _, rest, ok = strings.Cut(rest, ".") {
		add("*." + rest)
	}
	if s := has(named); s != nil {
		return s
	}
	if w := d.view.Index.WorkloadAt(a); w != nil {
		var headless []*model.Service
		for _, s := range d.view.Index.Served(w) {
			if s.Resolution == model.Passthrough && d.view.Service(s.Host) == s {
				headless = append(headless, s)
			}
		}
		if s := has(headless); s != nil {
			return s
		}
	}
	return has(d.view.ByPlace(a))
}

// fixed adds a copy of a cluster that stands for what the mesh does not know; one
// that is not asked for by another name, every proxy has.
func (a *answer) fixed(d *Demand, name string) {
	if a.as == "" {
		return
	}
	for _, m := range cluster.NewBuilder(d.view, d.report).Fixed() {
		if m.Name == name {
			a.add(d.cache, d.cache.newStock(d.cache.pack(wire.TypeCluster, m.Name, m), nil))
		}
	}
}

// renamed is a cluster, or its endpoints, under another name; nil of nil.
func (c *Cache) renamed(r *resource.Resource, name string) *resource.Resource {
	if r == nil {
		return nil
	}
	m, err := r.Body.UnmarshalNew()
	if err != nil {
		panic("BUG: translate: " + r.Name + ": " + err.Error())
	}
	switch m := m.(type) {
	case *clusterv3.Cluster:
		m.Name = name
		if e := m.EdsClusterConfig; e != nil {
			e.ServiceName = name
		}
		if l := m.LoadAssignment; l != nil {
			l.ClusterName = name
		}
	case *endpointv3.ClusterLoadAssignment:
		m.ClusterName = name
	}
	return c.pack(r.Body.TypeUrl, name, m)
}
