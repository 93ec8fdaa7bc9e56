package cluster

import (
	"cmp"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/wire"
)

// zoneLB is the setting of zones that holds for a cluster; nil: localityLB decides. A
// rule's settings, of either kind, go before the service's own, these before the mesh's.
func (b *Builder) zoneLB(t *target) *model.ZoneLB {
	if lb := t.policy.LB; lb != nil && (lb.Zone != nil || lb.Locality != nil) {
		return lb.Zone
	}
	if t.svc.Distribution.Near() {
		return nil
	}
	return b.v.Mesh.ZoneLB
}

// localityLB is the setting that holds for a cluster, nil when it is switched off.
// forced: it is the service's own, which holds without outlier detection, since proxies
// are told what is not ready.
func (b *Builder) localityLB(t *target) (l *model.LocalityLB, forced bool) {
	if b.zoneLB(t) != nil {
		return nil, false
	}
	l = b.v.Mesh.LocalityLB
	switch {
	case t.policy.LB != nil && t.policy.LB.Locality != nil:
		l = t.policy.LB.Locality
	case t.svc.Distribution.Near():
		return &model.LocalityLB{Enabled: true, Priority: t.svc.Distribution.Priority()}, true
	}
	if l == nil || !l.Enabled {
		return nil, false
	}
	return l, false
}

// balanceLocalities sets weights (distribute) or priorities (failover) by where
// the proxy is. Failover needs outlier detection: without it nobody would notice
// that the near endpoints have failed.
func (b *Builder) balanceLocalities(t *target, cla *endpointv3.ClusterLoadAssignment) {
	if z := b.zoneLB(t); z != nil && z.Enabled {
		b.byRegion(t, z, cla)
		return
	}
	l, forced := b.localityLB(t)
	if l == nil {
		return
	}
	own := b.v.Proxy.Locality()
	if len(l.Distribute) > 0 {
		distribute(l.Distribute, own, cla)
		return
	}
	if t.policy.Outlier == nil && !forced || own == (model.Locality{}) && len(l.Priority) == 0 {
		return
	}
	if len(l.Priority) > 0 {
		b.byLabels(t, l.Priority, cla)
	} else {
		for _, g := range cla.Endpoints {
			g.Priority = nearness(own, g, l.Failover)
		}
	}
	compact(cla)
}

// nearness is 0 for the same place, then the same zone, the same region, the
// region to fail over to, and anything else.
func nearness(own model.Locality, g *endpointv3.LocalityLbEndpoints, failover []model.LocalityFailover) uint32 {
	at := model.Locality{Region: g.Locality.Region, Zone: g.Locality.Zone, SubZone: g.Locality.SubZone}
	switch {
	case at == own:
		return 0
	case at.Region == own.Region && at.Zone == own.Zone:
		return 1
	case at.Region == own.Region:
		return 2
	}
	for _, f := range failover {
		if f.From == own.Region {
			if f.To == at.Region {
				return 3
			}
			return 4
		}
	}
	return 3
}

// byRegion keeps what is in the proxy's region at the highest priority, where the proxy
// balances zones by itself; then comes the region to fail over to, then all others.
// Labels, where there are some, decide first.
func (b *Builder) byRegion(t *target, z *model.ZoneLB, cla *endpointv3.ClusterLoadAssignment) {
	if len(z.Priority) > 0 {
		b.byLabels(t, z.Priority, cla)
	}
	own := b.v.Proxy.Locality().Region
	for _, g := range cla.Endpoints {
		far := uint32(0)
		if to := g.Locality.Region; to != own {
			far = 2
			if slices.Contains(z.Failover, model.LocalityFailover{From: own, To: to}) {
				far = 1
			}
		}
		g.Priority = g.Priority*3 + far
	}
	compact(cla)
}

// applyZones tells the proxy whether to keep traffic in its zone. What it compares
// with is the cluster of its own kind, which not every proxy has.
func (b *Builder) applyZones(c *clusterv3.Cluster, t *target) {
	z := b.zoneLB(t)
	if z == nil {
		return
	}
	zones := &clusterv3.Cluster_CommonLbConfig_ZoneAwareLbConfig{}
	if z.MinSize > 0 {
		zones.MinClusterSize = wrapperspb.UInt64(uint64(z.MinSize))
	}
	if !z.Enabled {
		zones.RoutingEnabled = &typev3.Percent{}
	} else if !b.v.Proxy.SelfDiscovery() {
		f := model.Finding{
			Code: CodeZones, Severity: model.Warning, Object: b.v.Mesh.Key, Field: "zoneAwareLbSetting",
			Message: "proxies without ENABLE_SELF_DISCOVERY do not know how many of their kind are in their zone: they choose among all of the region",
			Remedy:  `set proxyMetadata ISTIO_META_ENABLE_SELF_DISCOVERY: "true", e.g. in defaultConfig of the mesh configuration`,
		}
		if len(t.keys) > 0 && t.policy.LB != nil && t.policy.LB.Zone != nil {
			f.Object, f.Field, f.Origin = t.keys[0], "spec.trafficPolicy.loadBalancer.zoneAwareLbSetting", originOf(b.v, t.keys[0])
		}
		b.report(f)
	}
	c.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{
		LocalityConfigSpecifier: &clusterv3.Cluster_CommonLbConfig_ZoneAwareLbConfig_{ZoneAwareLbConfig: zones},
	}
}

// Local are the instances of the proxy's own kind in its region, for the cluster by
// which it knows its share of a zone's clients.
func (b *Builder) Local() *endpointv3.ClusterLoadAssignment {
	out := &endpointv3.ClusterLoadAssignment{ClusterName: wire.LocalCluster}
	own := b.v.Proxy.Workload
	if own == nil {
		return out
	}
	groups := map[model.Locality]*endpointv3.LocalityLbEndpoints{}
	for _, w := range b.v.Index.Snapshot.Workloads {
		if w.Namespace != own.Namespace || w.App != own.App || w.Locality.Region != own.Locality.Region || !w.Ready || len(w.Addresses) == 0 {
			continue
		}
		g := groups[w.Locality]
		if g == nil {
			g = &endpointv3.LocalityLbEndpoints{Locality: locality(w.Locality)}
			groups[w.Locality] = g
			out.Endpoints = append(out.Endpoints, g)
		}
		g.LbEndpoints = append(g.LbEndpoints, &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
				// Nobody connects: only the numbers count.
				Address: pb.Address(b.reachable(w.Addresses).String(), wire.PortInbound),
			}},
		})
	}
	return out
}

// compact makes priorities count from 0 without gaps, as Envoy demands.
func compact(cla *endpointv3.ClusterLoadAssignment) {
	var used []uint32
	for _, g := range cla.Endpoints {
		used = append(used, g.Priority)
	}
	slices.Sort(used)
	used = slices.Compact(used)
	for _, g := range cla.Endpoints {
		i, _ := slices.BinarySearch(used, g.Priority)
		g.Priority = uint32(i)
	}
	slices.SortStableFunc(cla.Endpoints, func(a, b *endpointv3.LocalityLbEndpoints) int {
		return int(a.Priority) - int(b.Priority)
	})
}

func distribute(shares []model.LocalityShare, own model.Locality, cla *endpointv3.ClusterLoadAssignment) {
	for _, s := range shares {
		if !localityMatches(s.From, own) {
			continue
		}
		var kept []*endpointv3.LocalityLbEndpoints
		for _, to := range pb.Keys(s.To) {
			var group []*endpointv3.LocalityLbEndpoints
			total := uint64(0)
			for _, g := range cla.Endpoints {
				at := model.Locality{Region: g.Locality.Region, Zone: g.Locality.Zone, SubZone: g.Locality.SubZone}
				if localityMatches(to, at) && !slices.Contains(kept, g) {
					group = append(group, g)
					total += uint64(g.LoadBalancingWeight.GetValue())
				}
			}
			for _, g := range group {
				// A share is divided by the weights of its localities.
				w := uint64(s.To[to]) * 100 * uint64(g.LoadBalancingWeight.GetValue()) / max(total, 1)
				g.LoadBalancingWeight = pb.U32(uint32(max(w, 1))) // at most 10000
				kept = append(kept, g)
			}
		}
		slices.SortFunc(kept, func(a, b *endpointv3.LocalityLbEndpoints) int {
			return slices.Index(cla.Endpoints, a) - slices.Index(cla.Endpoints, b)
		})
		cla.Endpoints = kept
		return
	}
}

// localityMatches reads patterns like "region/*", "region/zone/sub" and "*".
func localityMatches(pattern string, l model.Locality) bool {
	parts := strings.Split(pattern, "/")
	for i, have := range []string{l.Region, l.Zone, l.SubZone} {
		if i >= len(parts) || parts[i] == "*" {
			return true
		}
		if parts[i] != have {
			return false
		}
	}
	return true
}

// byLabels gives every endpoint the priority of how many leading labels of the
// list it shares with the proxy (failoverPriority).
func (b *Builder) byLabels(t *target, labels []string, cla *endpointv3.ClusterLoadAssignment) {
	own := b.ownSpot()
	byAddress := map[string]model.Instance{}
	for _, m := range b.members(t) {
		byAddress[m.address.String()] = m.Instance
	}
	var out []*endpointv3.LocalityLbEndpoints
	for _, g := range cla.Endpoints {
		split := map[uint32]*endpointv3.LocalityLbEndpoints{}
		for _, e := range g.LbEndpoints {
			in := byAddress[e.GetEndpoint().Address.String()]
			p := labelDistance(labels, own, spotOf(&in))
			part := split[p]
			if part == nil {
				part = &endpointv3.LocalityLbEndpoints{Locality: g.Locality, Priority: p, LoadBalancingWeight: pb.U32(0)}
				split[p] = part
				out = append(out, part)
			}
			part.LbEndpoints = append(part.LbEndpoints, e)
			part.LoadBalancingWeight.Value += e.LoadBalancingWeight.GetValue()
		}
	}
	cla.Endpoints = out
}

// spot is where a proxy or an endpoint is, by what labels may say of it.
type spot struct {
	labels        map[string]string
	at            model.Locality
	network, node string
}

// label knows the labels that Istio makes of a place.
func (s *spot) label(key string) string {
	switch key {
	case model.LabelRegion:
		return s.at.Region
	case model.LabelZone:
		return s.at.Zone
	case model.LabelSubzone:
		return s.at.SubZone
	case model.LabelNetwork:
		return cmp.Or(s.labels[key], s.network)
	case model.LabelNode:
		return cmp.Or(s.labels[key], s.node)
	}
	return s.labels[key]
}

func (b *Builder) ownSpot() spot {
	p := b.v.Proxy
	return spot{p.Labels(), p.Locality(), p.Network(), p.Node()}
}

func spotOf(in *model.Instance) spot {
	return spot{in.Endpoint.Labels, in.Endpoint.Locality, in.Endpoint.Network, nodeOf(in)}
}

// nodeOf is the machine on which an instance runs; "": nothing says.
func nodeOf(in *model.Instance) string {
	switch {
	case in.Workload != nil && in.Workload.Node != "":
		return in.Workload.Node
	case in.Endpoint.Slice != nil:
		return in.Endpoint.Slice.Node
	}
	return ""
}

// labelDistance is how far an instance is, by the first label that is another there. The
// network, named first, only puts what is elsewhere behind all that is here.
func labelDistance(labels []string, own spot, in spot) uint32 {
	far := 0
	for i, l := range labels {
		key, want, fixed := strings.Cut(l, "=")
		if !fixed {
			want = own.label(key)
		}
		switch {
		case in.label(key) == want:
		case i == 0 && l == model.LabelNetwork:
			far = len(labels)
		default:
			return uint32(far + len(labels) - i)
		}
	}
	return uint32(far)
}
