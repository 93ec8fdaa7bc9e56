package translate

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/wire"
)

// meshOf makes n services of one HTTP port and two instances each, every tenth
// with a route set and a policy with subsets.
func meshOf(n int) *model.Snapshot {
	s := &model.Snapshot{Version: 1, Mesh: model.DefaultMesh()}
	public := model.Visibility{Public: true}
	for i := range n {
		name := fmt.Sprintf("svc-%d", i)
		host := name + ".default.svc.cluster.local"
		vip := netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})
		s.Services = append(s.Services, &model.Service{
			Meta: model.Meta{Key: model.Key{Kind: model.KindService, Namespace: "default", Name: name}},
			Host: host, Namespace: "default", Name: name, Exports: public,
			Ports:    []model.ServicePort{{Name: "http", Port: 80, Protocol: model.HTTP, TargetPort: 8080}, {Name: "tcp", Port: 6379, Protocol: model.TCP}},
			VIPs:     []netip.Prefix{netip.PrefixFrom(vip, 32)},
			Selector: map[string]string{"app": name},
		})
		for j := range 2 {
			s.Workloads = append(s.Workloads, &model.Workload{
				Meta: model.Meta{Key: model.Key{Kind: model.KindWorkload, Namespace: "default", Name: fmt.Sprintf("%s-%d", name, j)}},
				Name: fmt.Sprintf("%s-%d", name, j), App: name, Namespace: "default", Ready: true, Mesh: true,
				Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 244 + byte(j), byte(i >> 8), byte(i)})},
				Labels:    map[string]string{"app": name, "version": fmt.Sprintf("v%d", j)}, ServiceAccount: "default", TrustDomain: "cluster.local",
			})
		}
		if i%10 != 0 {
			continue
		}
		s.Routes = append(s.Routes, &model.RouteSet{
			Meta:  model.Meta{Key: model.Key{Kind: model.KindVirtualService, Namespace: "default", Name: name}},
			Hosts: []string{host}, Gateways: []string{"mesh"}, Exports: public,
			HTTP: []model.Route{{Destinations: []model.Destination{{Host: host, Subset: "v0", Weight: 90}, {Host: host, Subset: "v1", Weight: 10}}}},
		})
		s.Policies = append(s.Policies, &model.TrafficPolicySet{
			Meta: model.Meta{Key: model.Key{Kind: model.KindDestinationRule, Namespace: "default", Name: name}},
			Host: host, Exports: public,
			Subsets: []model.Subset{{Name: "v0", Labels: map[string]string{"version": "v0"}}, {Name: "v1", Labels: map[string]string{"version": "v1"}}},
		})
	}
	return s
}

func proxyOf(s *model.Snapshot, i int) scope.Proxy {
	w := s.Workloads[i]
	return scope.Proxy{
		ID:       wire.NodeID{Type: wire.Sidecar, Name: w.Name, Namespace: w.Namespace, IP: w.Addresses[0].String(), Domain: "default.svc.cluster.local"},
		Workload: w,
	}
}

// BenchmarkFirst is the first proxy of a snapshot, index included.
func BenchmarkFirst(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := meshOf(n)
			b.ReportAllocs()
			for b.Loop() {
				Translate(scope.Build(scope.NewIndex(s), proxyOf(s, 0)))
			}
		})
	}
}

// BenchmarkNext is every further group of proxies of a snapshot.
func BenchmarkNext(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := meshOf(n)
			idx, c := scope.NewIndex(s), NewCache()
			first := c.Shared(scope.Build(idx, proxyOf(s, 0)), nil)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				v := scope.Build(idx, proxyOf(s, i%len(s.Workloads)))
				c.Shared(v, nil)
				c.Own(v, nil)
			}
			runtime.KeepAlive(first)
		})
	}
}

// BenchmarkChange is one endpoint that changes, for one group, index included.
func BenchmarkChange(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := meshOf(n)
			idx, c := scope.NewIndex(s), NewCache()
			shared := c.Shared(scope.Build(idx, proxyOf(s, 0)), nil)
			b.ReportAllocs()
			for b.Loop() {
				next := *s
				next.Version++
				next.Services = slices.Clone(s.Services)
				changed := *s.Services[n/2]
				changed.Inline = []model.Endpoint{{Address: fmt.Sprintf("11.0.0.%d", next.Version%200)}}
				next.Services[n/2] = &changed
				idx, s = idx.Next(&next), &next
				shared = c.Shared(scope.Build(idx, proxyOf(s, 0)), shared)
			}
		})
	}
}
