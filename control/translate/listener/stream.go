package listener

import (
	"slices"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/control/translate/route"
)

func portValue(n uint16) *wrapperspb.UInt32Value { return pb.U32(uint32(n)) }

func trueValue() *wrapperspb.BoolValue { return pb.True() }

func falseValue() *wrapperspb.BoolValue { return pb.False() }

// streamMatch is what of a TLS or TCP match the proxy tests.
type streamMatch struct {
	sni []string
	// ranges are of the destination, sources of the client.
	ranges, sources []*corev3.CidrRange
}

// anywhere: the match looks at nothing of the destination.
func (m streamMatch) anywhere() bool { return len(m.sni) == 0 && len(m.ranges) == 0 }

// chain is nil when everything matches.
func (m streamMatch) chain() *listenerv3.FilterChainMatch {
	if m.anywhere() && len(m.sources) == 0 {
		return nil
	}
	return &listenerv3.FilterChainMatch{ServerNames: m.sni, PrefixRanges: m.ranges, SourcePrefixRanges: m.sources}
}

// streamMatchOf translates a match for a gateway (or the mesh) and port; not ok:
// it is not for this client.
func (b *Builder) streamMatchOf(set *model.RouteSet, m *model.Match, gateway string, port uint16) (streamMatch, bool) {
	var out streamMatch
	gateways := set.Gateways
	if len(m.Gateways) > 0 {
		gateways = m.Gateways
	}
	if !slices.Contains(gateways, gateway) {
		return out, false
	}
	if gateway == route.MeshGateway {
		if !model.Matches(m.SourceLabels, b.v.Proxy.Labels()) ||
			m.SourceNamespace != "" && m.SourceNamespace != b.v.Proxy.Namespace() {
			return out, false
		}
	}
	for _, c := range m.Conditions {
		switch c.Attr {
		case model.AttrPort:
			if strconv.Itoa(int(port)) != c.Value {
				return out, false
			}
		case model.AttrSNI:
			out.sni = append(out.sni, c.Value)
		case model.AttrDestinationIP:
			if p, err := pb.ParseCIDR(c.Value); err == nil {
				out.ranges = append(out.ranges, pb.CIDR(p))
			}
		case model.AttrSourceIP:
			if p, err := pb.ParseCIDR(c.Value); err == nil {
				out.sources = append(out.sources, pb.CIDR(p))
			}
		}
	}
	return out, true
}

// tlsRoutes adds chains by SNI to a draft.
func (o *outboundSet) tlsRoutes(d *draft, set *model.RouteSet, port uint16) {
	for i := range set.TLS {
		r := &set.TLS[i]
		for j := range r.Matches {
			m, ok := o.streamMatchOf(set, &r.Matches[j], route.MeshGateway, port)
			if !ok || len(m.sni) == 0 {
				continue
			}
			to := o.shares(r.Destinations, port)
			o.addChain(d, nil, m.chain(), o.tcp(outbound, statOf(to), to))
		}
	}
}

// tcpRoutes adds the chains of TCP routes; true when one of them takes all the rest.
func (o *outboundSet) tcpRoutes(d *draft, s *model.Service, set *model.RouteSet, port uint16) bool {
	for i := range set.TCP {
		r := &set.TCP[i]
		to := o.shares(r.Destinations, port)
		matches := r.Matches
		if len(matches) == 0 {
			matches = []model.Match{{}}
		}
		for j := range matches {
			m, ok := o.streamMatchOf(set, &matches[j], route.MeshGateway, port)
			if !ok {
				continue
			}
			all := m.anywhere() && len(m.sources) == 0
			if m.anywhere() && d.shared() {
				// On a listener of all addresses only the service's own are its.
				if !d.bound {
					m.ranges = ranges(s)
				}
				if p := s.Port(port); p != nil && p.Protocol.IsTLS() && len(m.ranges) == 0 {
					m.sni = []string{s.Host}
				}
			}
			o.addChain(d, s, m.chain(), o.tcp(outbound, statOf(to), to))
			if all {
				return true
			}
		}
	}
	return false
}

// statOf names a chain in statistics: by its only cluster, or the first.
func statOf(to []share) string {
	if len(to) == 0 {
		return "none"
	}
	return to[0].cluster
}
