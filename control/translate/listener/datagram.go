package listener

import (
	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	udpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/udp/udp_proxy/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	hashingv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/consistent_hashing/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/control/translate/route"
	"github.com/weftmesh/weft/wire"
)

// gatewayDatagrams makes the listener of a server of UDP, where a route is for it: of
// several servers of a port control/attach has taken the first.
func (b *Builder) gatewayDatagrams(s route.GatewayServer) {
	for _, set := range b.v.Routes(s.GatewayName()) {
		if len(set.TCP) == 0 {
			continue
		}
		port := b.targetPort(s.Server.Port, true)
		addr, extra := b.wildcard()
		l := newListener("udp_"+listenerName(addr, port), addr, port, extra)
		l.TrafficDirection = gateway.direction()
		datagramAddress(l.Address)
		for _, a := range l.AdditionalAddresses {
			datagramAddress(a.Address)
		}
		to := datagramShares(set.TCP[0].Destinations)
		p := &udpv3.UdpProxyConfig{StatPrefix: datagramStat(to)}
		p.RouteSpecifier = &udpv3.UdpProxyConfig_Matcher{Matcher: split(to)}
		l.ListenerFilters = []*listenerv3.ListenerFilter{listenerFilter("envoy.filters.udp_listener.udp_proxy", p)}
		b.out.Listeners = append(b.out.Listeners, l)
		return
	}
}

func datagramAddress(a *corev3.Address) {
	a.GetSocketAddress().Protocol = corev3.SocketAddress_UDP
}

// datagramShares are the clusters that datagrams go to; those of a share that leads
// nowhere are dropped.
func datagramShares(list []model.Destination) []share {
	out := make([]share, 0, len(list))
	for i := range list {
		d := &list[i]
		switch {
		case d.Weight == 0 && len(list) > 1:
		case d.Invalid:
			out = append(out, share{wire.BlackHoleCluster, d.Weight})
		default:
			out = append(out, share{wire.ClusterName(wire.OutboundUDP, d.Port, "", d.Host), d.Weight})
		}
	}
	return out
}

// datagramStat is the destination's name, or that there are several.
func datagramStat(to []share) string {
	if len(to) == 1 {
		return to[0].cluster
	}
	return "udp"
}

// split divides sessions by weight. Envoy's proxy for datagrams knows no weighted
// clusters, but chooses by the client: so each share is taken by the hash of its port,
// among those that no share before has taken.
func split(to []share) *xdsmatcherv3.Matcher {
	last := len(to) - 1
	out := &xdsmatcherv3.Matcher{OnNoMatch: toCluster(to[last].cluster)}
	left := uint32(0)
	for _, s := range to {
		left += s.weight
	}
	list := &xdsmatcherv3.Matcher_MatcherList{}
	for i, s := range to[:last] {
		list.Matchers = append(list.Matchers, &xdsmatcherv3.Matcher_MatcherList_FieldMatcher{
			Predicate: hashedBelow(uint64(i), s.weight, left), OnMatch: toCluster(s.cluster),
		})
		left -= s.weight
	}
	if len(list.Matchers) > 0 {
		out.MatcherType = &xdsmatcherv3.Matcher_MatcherList_{MatcherList: list}
	}
	return out
}

func toCluster(name string) *xdsmatcherv3.Matcher_OnMatch {
	return &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{Action: extension("cluster", &udpv3.Route{Cluster: name})}}
}

// hashedBelow holds for weight of each of clients, by a hash of their port that is
// another one for each seed.
func hashedBelow(seed uint64, weight, of uint32) *xdsmatcherv3.Matcher_MatcherList_Predicate {
	return &xdsmatcherv3.Matcher_MatcherList_Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{
		SinglePredicate: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate{
			Input: extension("port", &networkv3.SourcePortInput{}),
			Matcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_CustomMatch{
				// A hash matches from threshold on.
				CustomMatch: extension("share", &hashingv3.ConsistentHashing{Threshold: of - weight, Modulo: of, Seed: seed}),
			},
		},
	}}
}

func extension(name string, m proto.Message) *xdscorev3.TypedExtensionConfig {
	return &xdscorev3.TypedExtensionConfig{Name: name, TypedConfig: pb.Any(m)}
}
