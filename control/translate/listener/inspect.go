package listener

import (
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/weftmesh/weft/control/model"
)

// needsTLS tells whether the chains of a port are chosen by TLS.
func (p *port) needsTLS() bool { return p.tls != nil || p.mode != model.MTLSDisable }

// needsHTTP tells whether the chains of a port are chosen by what plain bytes look like.
func (p *port) needsHTTP() bool {
	return p.tls == nil && p.Protocol == model.Unknown && p.mode != model.MTLSStrict
}

// inspection collects the ports at which an inspector must not wait for first
// bytes: the program there may be the one that speaks first.
type inspection struct{ noTLS, noHTTP []uint16 }

func (x *inspection) add(p *port) {
	if !p.needsTLS() {
		x.noTLS = append(x.noTLS, p.Port)
	}
	if !p.needsHTTP() {
		x.noHTTP = append(x.noHTTP, p.Port)
	}
}

func (x *inspection) filters() []*listenerv3.ListenerFilter {
	tls, http := tlsInspector(), httpInspector()
	tls.FilterDisabled, http.FilterDisabled = anyOf(x.noTLS), anyOf(x.noHTTP)
	return []*listenerv3.ListenerFilter{originalDst(), tls, http}
}

func anyOf(ports []uint16) *listenerv3.ListenerFilterChainMatchPredicate {
	rules := make([]*listenerv3.ListenerFilterChainMatchPredicate, 0, len(ports))
	for _, n := range ports {
		rules = append(rules, &listenerv3.ListenerFilterChainMatchPredicate{
			Rule: &listenerv3.ListenerFilterChainMatchPredicate_DestinationPortRange{
				DestinationPortRange: &typev3.Int32Range{Start: int32(n), End: int32(n) + 1},
			},
		})
	}
	switch len(rules) {
	case 0:
		return nil
	case 1:
		return rules[0]
	}
	return &listenerv3.ListenerFilterChainMatchPredicate{Rule: &listenerv3.ListenerFilterChainMatchPredicate_OrMatch{
		OrMatch: &listenerv3.ListenerFilterChainMatchPredicate_MatchSet{Rules: rules},
	}}
}
