package cluster

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/pb"
)

// member is an instance as one cluster sees it.
type member struct {
	model.Instance
	address *corev3.Address
	weight  uint32
	mtls    bool
	// unready: it is known, and not to be used.
	unready bool
}

// assignment makes the endpoints of an outbound cluster.
func (b *Builder) assignment(t *target) *endpointv3.ClusterLoadAssignment {
	out := &endpointv3.ClusterLoadAssignment{ClusterName: t.name}
	groups := map[model.Locality][]member{}
	var order []model.Locality
	for _, m := range b.members(t) {
		l := m.Endpoint.Locality
		if _, ok := groups[l]; !ok {
			order = append(order, l)
		}
		groups[l] = append(groups[l], m)
	}
	slices.SortFunc(order, compareLocality)
	for _, l := range order {
		g := &endpointv3.LocalityLbEndpoints{Locality: locality(l)}
		total := uint32(0)
		for _, m := range groups[l] {
			g.LbEndpoints = append(g.LbEndpoints, b.endpoint(t, m))
			total += m.weight
		}
		g.LoadBalancingWeight = pb.U32(total)
		out.Endpoints = append(out.Endpoints, g)
	}
	b.balanceLocalities(t, out)
	return out
}

func compareLocality(a, b model.Locality) int {
	return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.SubZone, b.SubZone))
}

func locality(l model.Locality) *corev3.Locality {
	return &corev3.Locality{Region: l.Region, Zone: l.Zone, SubZone: l.SubZone}
}

// members are the instances that take traffic for the cluster.
func (b *Builder) members(t *target) []member {
	var out []member
	byName := t.svc.Resolution == model.ByDNS || t.svc.Resolution == model.ByDNSRoundRobin || t.svc.ExternalName != ""
	list := b.v.Index.Instances(t.svc)
	if len(list) == 0 && byName {
		host := t.svc.Host
		if t.svc.ExternalName != "" {
			host = t.svc.ExternalName
		}
		list = []model.Instance{{Endpoint: model.Endpoint{Address: host, Healthy: true}}}
	}
	for _, in := range b.usable(t, list) {
		if t.subset != nil && !model.Matches(t.subset.Labels, in.Endpoint.Labels) || t.only != nil && !t.only(in) {
			continue
		}
		a := b.address(t, in, byName)
		if a == nil {
			continue
		}
		if t.svc.Resolution == model.ByDNSRoundRobin && len(out) > 0 {
			break // one name is all that such a cluster takes
		}
		out = append(out, member{
			Instance: in, address: a, weight: max(in.Endpoint.Weight, 1),
			unready: !b.takesTraffic(t, &in),
			mtls:    b.v.Mesh.AutoMTLS && t.policy.TLS == nil && t.port.Protocol != model.UDP && b.v.Index.SpeaksMTLS(in, t.svc, t.port),
		})
	}
	return out
}

// address is where the proxy reaches an instance; nil when it cannot.
func (b *Builder) address(t *target, in model.Instance, names bool) *corev3.Address {
	if path, ok := strings.CutPrefix(in.Endpoint.Address, "unix://"); ok {
		return pb.Pipe(path)
	}
	port, ok := scope.TargetPort(in, t.svc, t.port)
	if !ok {
		return nil
	}
	if w := in.Workload; w != nil && len(w.Addresses) > 0 {
		if at, ok := w.Inbound[port]; ok && t.port.Protocol != model.UDP {
			port = at.Listen
		}
		return pb.Address(b.reachable(w.Addresses).String(), port)
	}
	a, err := netip.ParseAddr(in.Endpoint.Address)
	if err != nil && !names {
		return nil // a name needs a cluster that resolves
	}
	if v4, v6 := b.v.Proxy.Families(); in.Endpoint.Slice != nil && (a.Is4() && !v4 || a.Is6() && !v6) {
		return nil // there is a slice for each family
	}
	return pb.Address(in.Endpoint.Address, port)
}

// reachable is the first address of a family that the proxy has too.
func (b *Builder) reachable(list []netip.Addr) netip.Addr {
	v4, v6 := b.v.Proxy.Families()
	for _, a := range list {
		if a.Unmap().Is4() && v4 || !a.Unmap().Is4() && v6 {
			return a
		}
	}
	return list[0]
}

func (b *Builder) endpoint(t *target, m member) *endpointv3.LbEndpoint {
	out := &endpointv3.LbEndpoint{
		HostIdentifier:      &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: m.address}},
		LoadBalancingWeight: pb.U32(m.weight),
	}
	if m.unready {
		out.HealthStatus = corev3.HealthStatus_UNHEALTHY
	}
	of := map[string]*structpb.Struct{}
	if m.mtls {
		of["envoy.transport_socket_match"] = pb.StringStruct(map[string]string{"tlsMode": "istio"})
	}
	if w := m.Workload; w != nil {
		of["istio"] = pb.StringStruct(map[string]string{"workload": workload(w)})
	}
	if len(of) > 0 {
		out.Metadata = pb.Metadata(of)
	}
	return out
}

// workload describes an instance for metrics: "name;namespace;canonical name;
// canonical revision;cluster".
func workload(w *model.Workload) string {
	name := w.App
	if name == "" {
		name = w.Name
	}
	canonical, revision := Canonical(w)
	return strings.Join([]string{name, w.Namespace, canonical, revision, w.Cluster}, ";")
}

// Canonical is a workload's canonical service and revision, by Istio's labels.
func Canonical(w *model.Workload) (service, revision string) {
	service = first(w.Labels, "service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
	if service == "" {
		service = cmp.Or(w.App, w.Name)
	}
	revision = first(w.Labels, "service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")
	return service, cmp.Or(revision, "latest")
}

func first(labels map[string]string, keys ...string) string {
	for _, k := range keys {
		if v := labels[k]; v != "" {
			return v
		}
	}
	return ""
}
