package route

import (
	"fmt"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/wire"
	"github.com/weftmesh/weft/wire/weftpb"
)

// convert has a gateway's route make requests of HTTP what its destinations speak.
func (s *site) convert(out *routev3.Route, set *model.RouteSet, index int) {
	if s.gateway == MeshGateway || s.messages {
		return
	}
	list := set.HTTP[index].Destinations
	for i := range list {
		p := s.protocol(&list[i]).Messages()
		if p == "" {
			continue
		}
		why, remedy := s.inconvertible(p)
		if why == "" {
			if out.TypedPerFilterConfig == nil {
				out.TypedPerFilterConfig = map[string]*anypb.Any{}
			}
			out.TypedPerFilterConfig[wire.MessageConversion] = pb.Any(&weftpb.MessageConversion{Protocol: p})
			continue
		}
		s.report(model.Finding{
			Code: CodeConversion, Severity: model.Error, Object: set.Written(), Origin: set.Origin,
			Field:   fmt.Sprintf("spec.http[%d].route[%d].destination", index, i),
			Message: why, Remedy: remedy,
		})
	}
}

// inconvertible is why requests of HTTP cannot become requests of a protocol; "": they can.
func (s *site) inconvertible(protocol string) (why, remedy string) {
	switch {
	case !slices.Contains(wire.ConvertedProtocols, protocol):
		return "requests of HTTP cannot be made requests of " + protocol, "lead it to a port that speaks HTTP"
	case s.v.Proxy.Engine() != scope.EngineGo:
		return "an Envoy cannot make requests of HTTP requests of " + protocol, "run the gateway on Weft's own proxy"
	}
	return "", ""
}

// protocol is what the port of a destination speaks.
func (s *site) protocol(d *model.Destination) model.Protocol {
	svc := s.v.Service(d.Host)
	if svc == nil || d.Invalid {
		return model.Unknown
	}
	_, port, _, _, _ := wire.SplitClusterName(s.cluster(d))
	if i := slices.IndexFunc(svc.Ports, func(p model.ServicePort) bool { return p.Port == port }); i >= 0 {
		return svc.Ports[i].Protocol
	}
	return model.Unknown
}
