package route

import (
	"encoding/json"
	"fmt"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	transcoderv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_json_transcoder/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/wire"
	"github.com/weftmesh/weft/wire/weftpb"
)

// TranscoderFilter is the name of the filter that makes gRPC of HTTP and JSON.
const TranscoderFilter = "envoy.filters.http.grpc_json_transcoder"

// thrift is the protocol of messages that needs a declaration.
const thrift = "thrift"

// convert has a route make requests of HTTP what its destinations speak: of gRPC where a Transcoding says
// so, of protocols of messages always, since nothing else would be understood.
func (s *site) convert(out *routev3.Route, set *model.RouteSet, index int) {
	list := set.HTTP[index].Destinations
	report := func(i int, why, remedy string) {
		s.report(model.Finding{
			Code: CodeConversion, Severity: model.Error, Object: set.Written(), Origin: set.Origin,
			Field:   fmt.Sprintf("spec.http[%d].route[%d].destination", index, i),
			Message: why, Remedy: remedy,
		})
	}
	s.become(out, list, report)
}

// become is convert for destinations, wherever they are written.
func (s *site) become(out *routev3.Route, list []model.Destination, report func(i int, why, remedy string)) {
	if s.messages {
		return // who calls speaks the protocol
	}
	for i := range list {
		svc, port := s.portOf(&list[i])
		if svc == nil {
			continue
		}
		t := s.v.Index.Transcoding(svc, port)
		switch p := port.Protocol.Messages(); {
		case p != "":
			s.toMessages(out, p, t, func(why, remedy string) { report(i, why, remedy) })
		case t != nil && t.Set != nil:
			if slices.ContainsFunc(list, func(d model.Destination) bool { return d.Host != list[i].Host && d.Weight > 0 }) {
				report(i, "the route leads to several services, and requests of HTTP would be made gRPC for all of them", "give "+svc.Host+" a route of its own")
				return
			}
			perFilter(out, TranscoderFilter, s.transcoder(t))
		}
	}
}

// toMessages makes requests those of a protocol of messages.
func (s *site) toMessages(out *routev3.Route, protocol string, t *scope.Transcoded, report func(why, remedy string)) {
	m := &weftpb.MessageConversion{Protocol: protocol}
	if t != nil && t.Thrift != nil {
		m.Declared = structOf(t.Thrift)
	}
	if s.gateway == MeshGateway && m.Declared == nil {
		return
	}
	switch {
	case s.v.Proxy.Engine() != scope.EngineGo:
		report("an Envoy cannot make requests of HTTP requests of "+protocol, "run the gateway on Weft's own proxy")
	case protocol == thrift && m.Declared == nil:
		report("requests of HTTP cannot be made requests of Thrift without an IDL", "write a Transcoding with the service's IDL, in its namespace")
	case m.Declared == nil && !slices.Contains(wire.ConvertedProtocols, protocol):
		report("requests of HTTP cannot be made requests of "+protocol, "lead it to a port that speaks HTTP")
	default:
		perFilter(out, wire.MessageConversion, pb.Any(m))
	}
}

func perFilter(out *routev3.Route, name string, a *anypb.Any) {
	if out.TypedPerFilterConfig == nil {
		out.TypedPerFilterConfig = map[string]*anypb.Any{}
	}
	out.TypedPerFilterConfig[name] = a
}

// structOf is a value by its JSON.
func structOf(v any) *structpb.Struct {
	out := &structpb.Struct{}
	raw, err := json.Marshal(v)
	if err == nil {
		err = protojson.Unmarshal(raw, out)
	}
	if err != nil {
		panic("BUG: " + err.Error()) // it was read from JSON
	}
	return out
}

// transcoder is the configuration of the filter for a port, made once.
func (s *site) transcoder(t *scope.Transcoded) *anypb.Any {
	type key struct{ *scope.Transcoded }
	return s.v.Index.Lasting(key{t}, func() any {
		g := t.GRPC
		return pb.Any(&transcoderv3.GrpcJsonTranscoder{
			DescriptorSet: &transcoderv3.GrpcJsonTranscoder_ProtoDescriptorBin{ProtoDescriptorBin: t.Set}, Services: t.Services,
			AutoMapping: !g.OnlyAnnotated, IgnoreUnknownQueryParameters: g.IgnoreUnknownQuery, ConvertGrpcStatus: !g.PlainStatus,
			MatchIncomingRequestRoute: true, // the route is chosen already, and has this
			PrintOptions:              &transcoderv3.GrpcJsonTranscoder_PrintOptions{PreserveProtoFieldNames: g.ProtoNames, AlwaysPrintPrimitiveFields: g.PrintDefaults},
			RequestValidationOptions:  &transcoderv3.GrpcJsonTranscoder_RequestValidationOptions{RejectUnknownMethod: g.RejectUnknown},
		})
	}).(*anypb.Any)
}

// portOf is the service's port that a destination's requests go to; nil: it is not known.
func (s *site) portOf(d *model.Destination) (*model.Service, *model.ServicePort) {
	svc := s.v.Service(d.Host)
	if svc == nil || d.Invalid {
		return nil, nil
	}
	_, port, _, _, _ := wire.SplitClusterName(s.cluster(d))
	if p := svc.Port(port); p != nil {
		return svc, p
	}
	return nil, nil
}
