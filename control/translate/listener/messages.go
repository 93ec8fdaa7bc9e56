package listener

import (
	"encoding/json"
	"slices"
	"strconv"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	transcoderv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_json_transcoder/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/control/translate/route"
	"github.com/weftmesh/weft/wire"
	"github.com/weftmesh/weft/wire/weftpb"
)

// speaks tells whether the proxy carries a port as messages of their protocol; otherwise they
// are bytes to it.
func (b *Builder) speaks(p model.Protocol) bool {
	return p.Messages() != "" && b.v.Proxy.Engine() == scope.EngineGo && b.there(p.Messages())
}

// there tells whether the codec of a protocol is there: a module may not have been fetched yet, which its source
// reports. Until then the protocol is bytes.
func (b *Builder) there(protocol string) bool {
	d := b.v.Index.Declared(protocol)
	return d == nil || d.Module == nil || b.v.Index.Module(*d.Module) != nil
}

// conversions are the filters by which requests of HTTP become others; routes say which.
func (b *Builder) conversions(stage stage) (out []*hcmv3.HttpFilter) {
	thrift, grpc := b.v.Index.Transcodes()
	if stage == gateway && b.convertible() || thrift && b.v.Proxy.Engine() == scope.EngineGo {
		out = append(out, httpFilter(wire.MessageConversion, &weftpb.MessageConversion{}))
	}
	if grpc {
		out = append(out, httpFilter(route.TranscoderFilter, &transcoderv3.GrpcJsonTranscoder{DescriptorSet: &transcoderv3.GrpcJsonTranscoder_ProtoDescriptorBin{}}))
	}
	return out
}

// convertible tells whether the proxy may meet a service whose protocol requests of HTTP are made of.
func (b *Builder) convertible() bool {
	if b.v.Proxy.Engine() != scope.EngineGo {
		return false
	}
	if b.converts == nil {
		found := slices.ContainsFunc(b.v.Services, func(s *model.Service) bool {
			return slices.ContainsFunc(s.Ports, func(p model.ServicePort) bool { return slices.Contains(wire.ConvertedProtocols, p.Protocol.Messages()) })
		})
		b.converts = &found
	}
	return *b.converts
}

// messageProxy is the filter of a protocol of messages: by the codec that the data plane has, or as it is declared.
func (b *Builder) messageProxy(name string, m *hcmv3.HttpConnectionManager) *listenerv3.Filter {
	out := &weftpb.MessageProxy{Protocol: name, Manager: pb.Any(m)}
	p := b.v.Index.Declared(name)
	switch {
	case p == nil:
	case p.Module != nil:
		out.Module = b.v.Index.Module(*p.Module).Code
	case p.Declared == nil:
		out.Protocol = p.Codec
	default:
		out.Declared = &structpb.Struct{}
		raw, err := json.Marshal(p.Declared)
		if err == nil {
			err = protojson.Unmarshal(raw, out.Declared)
		}
		if err != nil {
			panic("BUG: " + name + ": " + err.Error()) // it was read from JSON
		}
	}
	return filter(wire.MessageProxy, out)
}

// rateLimits puts the limits of a service's requests into the routes of its port, and returns their filters.
func (b *Builder) rateLimits(host string, rc *routev3.RouteConfiguration) []*hcmv3.HttpFilter {
	set := b.v.Index.Limits(host)
	if set == nil {
		return nil
	}
	g, askable := set.Limits.Global, true
	if g != nil {
		s := b.v.Service(g.Host)
		if askable = s != nil && s.Port(g.Port) != nil; !askable {
			f := model.Finding{
				Code: CodeLimits, Severity: model.Error, Object: set.Written(), Field: "spec.globalRateLimit.rateLimitService",
				Message: "the proxies of " + host + " see no port " + strconv.Itoa(int(g.Port)) + " of " + g.Host + ": the limit is not carried out",
				Remedy:  "create the Service, or admit it in their Sidecar resource",
			}
			f.Origin = set.At(f.Field)
			b.report(f)
		}
	}
	return route.Limit(rc, set.Limits, askable)
}

// asBytes reports what a stock Envoy does not carry out of a port whose protocol is one of messages.
func (o *outboundSet) asBytes(s *model.Service, p *model.ServicePort) {
	remedy := "run the clients with the engine go"
	if p.Protocol.Messages() == dubbo && !o.v.Proxy.OnDemand {
		remedy += "; or annotate the object with " + acceptDubbo + ": \"true\": Envoy's own dubbo_proxy has the routes then, and ends all of the proxy when a server dies that owes an answer"
	}
	for _, set := range o.v.Routes(route.MeshGateway) {
		if len(set.HTTP) == 0 || len(route.Intersect([]string{s.Host}, set)) == 0 {
			continue
		}
		o.report(model.Finding{
			Code: CodeBytes, Severity: model.Warning, Object: set.Written(), Origin: set.At("spec.hosts"), Field: "spec.hosts",
			Message: "port " + strconv.Itoa(int(p.Port)) + " of " + s.Host + " speaks " + p.Protocol.Messages() + ", which the proxy, a stock Envoy, carries as bytes: the routes have no effect for clients with that engine",
			Remedy:  remedy,
		})
	}
}

// messages adds the chain of a service's port whose clients speak a protocol of messages. Its routes
// are those of HTTP: fields are headers, the operation is the method.
func (o *outboundSet) messages(d *draft, listener int, s *model.Service, p *model.ServicePort) {
	var match *listenerv3.FilterChainMatch
	if r := ranges(s); d.addr == "" && len(r) > 0 {
		match = &listenerv3.FilterChainMatch{PrefixRanges: r}
	}
	o.addChain(d, s, match, []*listenerv3.Filter{o.http(httpChain{
		stage: outbound, stat: wire.ClusterName(wire.Outbound, p.Port, "", s.Host), rds: o.serviceRoutes(listener, s, p.Port), messages: p.Protocol.Messages(), asks: o.v.Proxy.OnDemand,
	})})
}

// registered adds what takes connections to the instances of a registry themselves: programs that ask the registry call these, and not the service.
func (o *outboundSet) registered(listener int, s *model.Service, p *model.ServicePort) {
	d := o.at(spot{port: p.Port}, nil)
	if d.rds != "" || d.rest != nil {
		return
	}
	name := route.RegisteredName(p)
	if !o.routes[name] {
		o.routes[name] = true
		o.addRoutes(o.Builder.routes.Registered(listener, p))
	}
	o.addChain(d, s, nil, []*listenerv3.Filter{o.http(httpChain{stage: outbound, stat: name, rds: name, messages: p.Protocol.Messages()})})
}
