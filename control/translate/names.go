package translate

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/cluster"
	"github.com/weftmesh/weft/wire"
	"github.com/weftmesh/weft/wire/weftpb"
)

// hosts are the names that the mesh DNS answers for the proxy, made once for all
// proxies of a namespace; on demand the one that says that names are asked for.
func (c *Cache) hosts(v *scope.View) []*resource.Resource {
	if v.Proxy.OnDemand {
		return []*resource.Resource{c.pack(wire.TypeHost, wire.HostsOnDemand, &weftpb.Host{Name: wire.HostsOnDemand})}
	}
	v4, v6 := v.Proxy.Families()
	type key struct {
		namespace string
		v4, v6    bool
	}
	return v.Index.Lasting(key{v.Proxy.Namespace(), v4, v6}, func() any { return c.makeHosts(v, v4, v6) }).([]*resource.Resource)
}

// named is what the mesh DNS answers to one name, as the resource of that name: a
// service, another name of one, an instance of a headless one, or what a wildcard
// covers; nil: the mesh has no such name.
func (c *Cache) named(v *scope.View, name string) *resource.Resource {
	h := hostNamed(v, name)
	for rest := name; h == nil; {
		_, parent, ok := strings.Cut(rest, ".")
		if !ok {
			return nil
		}
		h, rest = hostNamed(v, "*."+parent), parent
	}
	return c.pack(wire.TypeHost, name, h)
}

func hostNamed(v *scope.View, name string) *weftpb.Host {
	v4, v6 := v.Proxy.Families()
	usable := func(a netip.Addr) bool { return a.Is4() && v4 || a.Is6() && v6 }
	if s := v.ExportedService(name); s != nil {
		return host(v, s, usable)
	}
	if a := v.Index.ServiceAny(name); a != nil && v.Index.IsAlias(a) && a.Exports.To(v.Proxy.Namespace()) && v.ExportedService(a.ExternalName) != nil {
		return &weftpb.Host{Name: name, Namespace: a.Namespace, Canonical: a.ExternalName}
	}
	label, of, _ := strings.Cut(name, ".")
	s := v.ExportedService(of)
	if s == nil || !s.Headless {
		return nil
	}
	if h := host(v, s, usable); h != nil {
		for _, e := range h.Endpoints {
			if e.Hostname == label {
				return &weftpb.Host{Name: name, Namespace: s.Namespace, Addresses: e.Addresses}
			}
		}
	}
	return nil
}

func (c *Cache) makeHosts(v *scope.View, v4, v6 bool) []*resource.Resource {
	var out []*resource.Resource
	add := func(h *weftpb.Host) { out = append(out, c.pack(wire.TypeHost, h.Name, h)) }
	usable := func(a netip.Addr) bool { return a.Is4() && v4 || a.Is6() && v6 }
	for _, s := range v.Exported() {
		if h := host(v, s, usable); h != nil {
			add(h)
		}
		for _, alias := range v.Index.Aliases(s.Host) {
			if a := v.Index.ServiceAny(alias); a != nil && a.Exports.To(v.Proxy.Namespace()) {
				add(&weftpb.Host{Name: strings.ToLower(alias), Namespace: a.Namespace, Canonical: s.Host})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b *resource.Resource) int { return cmp.Compare(a.Name, b.Name) })
	return slices.CompactFunc(out, func(a, b *resource.Resource) bool { return a.Name == b.Name })
}

// host is the name of one service; nil when its name is not the mesh's to answer.
func host(v *scope.View, s *model.Service, usable func(netip.Addr) bool) *weftpb.Host {
	out := &weftpb.Host{
		Name: strings.ToLower(s.Host), Namespace: s.Namespace, Headless: s.Headless, Canonical: s.ExternalName,
	}
	for _, p := range s.VIPs {
		if p.IsSingleIP() && usable(p.Addr()) {
			out.Addresses = append(out.Addresses, p.Addr().String())
		}
	}
	if s.Headless && len(s.VIPs) == 0 {
		headless(v, s, out, usable)
	} else if len(out.Addresses) == 0 && s.ExternalName == "" {
		return nil // the world's DNS knows better
	}
	for _, p := range s.Ports {
		protocol := "tcp"
		if p.Protocol == model.UDP {
			protocol = "udp"
		}
		out.Ports = append(out.Ports, &weftpb.HostPort{Name: p.Name, Number: uint32(p.Port), Protocol: protocol})
	}
	return out
}

func headless(v *scope.View, s *model.Service, out *weftpb.Host, usable func(netip.Addr) bool) {
	for _, in := range v.Index.Instances(s) {
		w := in.Workload
		if !in.Endpoint.Healthy && !s.PublishNotReady {
			continue
		}
		if w == nil {
			if a, err := netip.ParseAddr(in.Endpoint.Address); err == nil && usable(a) {
				out.Addresses = append(out.Addresses, a.String())
				if sl := in.Endpoint.Slice; sl != nil && sl.Hostname != "" {
					out.Endpoints = append(out.Endpoints, &weftpb.HostEndpoint{Hostname: strings.ToLower(sl.Hostname), Addresses: []string{a.String()}})
				}
			}
			continue
		}
		if !w.Ready && !s.PublishNotReady {
			continue
		}
		e := &weftpb.HostEndpoint{Hostname: strings.ToLower(w.Name)}
		for _, a := range w.Addresses {
			if usable(a) {
				e.Addresses = append(e.Addresses, a.String())
			}
		}
		out.Addresses = append(out.Addresses, e.Addresses...)
		out.Endpoints = append(out.Endpoints, e)
	}
}

// workloads tells who has which address, for the labels of metrics. It is the
// same for all proxies, which subscribe to the addresses that they meet.
func (c *Cache) workloads(x *scope.Index) []*resource.Resource {
	type key struct{}
	return x.Memo(key{}, func() any {
		var out []*resource.Resource
		for _, w := range x.Snapshot.Workloads {
			service, revision := cluster.Canonical(w)
			for _, a := range w.Addresses {
				if x.WorkloadAt(a) != w {
					continue // an address belongs to the first who has it
				}
				m := &weftpb.Workload{
					Address: a.String(), Name: cmp.Or(w.App, w.Name), Namespace: w.Namespace,
					Service: service, Revision: revision,
					App: cmp.Or(w.Labels["app"], w.Labels["app.kubernetes.io/name"]), Version: w.Labels["version"],
					Cluster: w.Cluster, ServiceAccount: w.ServiceAccount, TrustDomain: w.TrustDomain,
				}
				out = append(out, c.pack(wire.TypeWorkload, m.Address, m))
			}
		}
		slices.SortFunc(out, func(a, b *resource.Resource) int { return cmp.Compare(a.Name, b.Name) })
		return out
	}).([]*resource.Resource)
}
