package translate

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/cluster"
	"github.com/weftmesh/weft/wire"
	"github.com/weftmesh/weft/wire/weftpb"
)

// hosts are the names that the mesh DNS answers for the proxy, made once for all
// proxies of a namespace.
func hosts(v *scope.View) []Resource {
	v4, v6 := v.Proxy.Families()
	type key struct {
		namespace string
		v4, v6    bool
	}
	return v.Index.Memo(key{v.Proxy.Namespace(), v4, v6}, func() any { return makeHosts(v, v4, v6) }).([]Resource)
}

func makeHosts(v *scope.View, v4, v6 bool) []Resource {
	var out []Resource
	add := func(h *weftpb.Host) { out = append(out, pack(h.Name, wire.TypeHost, h)) }
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
	slices.SortStableFunc(out, func(a, b Resource) int { return cmp.Compare(a.Name, b.Name) })
	return slices.CompactFunc(out, func(a, b Resource) bool { return a.Name == b.Name })
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
		if w == nil {
			if a, err := netip.ParseAddr(in.Endpoint.Address); err == nil && usable(a) {
				out.Addresses = append(out.Addresses, a.String())
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
func workloads(x *scope.Index) []Resource {
	type key struct{}
	return x.Memo(key{}, func() any {
		var out []Resource
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
				out = append(out, pack(m.Address, wire.TypeWorkload, m))
			}
		}
		slices.SortFunc(out, func(a, b Resource) int { return cmp.Compare(a.Name, b.Name) })
		return out
	}).([]Resource)
}
