// Package aeraki is the front end of Aeraki's kinds: MetaRouter, routes for protocols that are not HTTP, which compile
// into the same routes as a VirtualService's; RedisService and RedisDestination; DubboAuthorizationPolicy, which
// compiles into what an AuthorizationPolicy is, for Dubbo alone.
//
// Attributes are what the protocol's codec finds: "method" is the operation, "interface" the service, others are
// fields by their names, whose case does not count. Limits are carried out by the servers' proxies.
//
// An ApplicationProtocol names a protocol of messages, or declares it (wire/protocol).
package aeraki

import (
	"reflect"
	"strings"
	"sync"

	api "github.com/weftmesh/weft/api/aeraki/v1alpha1"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
	"github.com/weftmesh/weft/control/source/istio"
)

// FrontEnds returns the front ends of Aeraki's kinds.
func FrontEnds() []document.FrontEnd {
	s := shapes()
	return []document.FrontEnd{
		{Kind: string(model.KindRedisService), Group: api.RedisGroup, Versions: []string{api.Version}, Shape: redisShapes()[0], Convert: convertRedisService},
		{Kind: string(model.KindRedisDestination), Group: api.RedisGroup, Versions: []string{api.Version}, Shape: redisShapes()[1], Convert: convertRedisDestination},
		{Kind: string(model.KindMetaRouter), Group: api.Group, Versions: []string{api.Version}, Shape: s.router, Convert: convert},
		{Kind: string(model.KindApplicationProtocol), Group: api.Group, Versions: []string{api.Version}, Shape: s.protocol, Cluster: true, Convert: convertProtocol},
		{Kind: string(model.KindDubboAuthorizationPolicy), Group: api.DubboGroup, Versions: []string{api.Version}, Shape: s.dubbo, Convert: convertDubboAuthorization},
	}
}

var rules = document.Rules{
	"Destination.weight":        {Min: 0, Max: 1 << 20},
	"Port.number":               document.Port,
	"TokenBucket.maxTokens":     {Min: 0, Max: 1 << 31},
	"TokenBucket.tokensPerFill": {Min: 0, Max: 1 << 31},
}

type shapeSet struct{ router, protocol, dubbo *document.Shape }

var shapes = sync.OnceValue(func() shapeSet {
	b := document.NewBuilder(rules)
	s := shapeSet{
		router:   document.Spec(b.GoType(reflect.TypeFor[api.MetaRouterSpec]())),
		protocol: document.Spec(b.GoType(reflect.TypeFor[api.ApplicationProtocolSpec]())),
		dubbo:    document.Spec(b.GoType(reflect.TypeFor[api.DubboAuthorizationPolicySpec]())),
	}
	if bad := rules.Unused(b.Used); bad != nil {
		panic("BUG: rules for fields that do not exist: " + bad[0])
	}
	return s
})

// redisShapes are those of RedisService and RedisDestination.
var redisShapes = sync.OnceValue(func() [2]*document.Shape {
	b := document.NewBuilder(document.Rules{})
	return [2]*document.Shape{
		document.Spec(b.GoType(reflect.TypeFor[api.RedisServiceSpec]())), document.Spec(b.GoType(reflect.TypeFor[api.RedisDestinationSpec]())),
	}
})

func convert(d *document.Document) []model.Object {
	spec, err := document.Into[api.MetaRouterSpec](d.Spec())
	if err != nil {
		d.Invalid("spec", "", "cannot be read: %v", err)
		return nil
	}
	rs := &model.RouteSet{Meta: d.Meta, Exports: d.Visibility("spec.exportTo", spec.ExportTo), Gateways: []string{"mesh"}}
	for i, h := range spec.Hosts {
		d.Host(document.At("spec.hosts", i), h, false)
		rs.Hosts = append(rs.Hosts, document.FQDN(h, d.Key.Namespace, istio.Domain))
	}
	if len(spec.Hosts) == 0 {
		d.Error(document.CodeMissing, "spec.hosts", "name the service", "is missing")
	}
	if len(spec.Gateways) > 0 {
		rs.Gateways = istio.Gateways(d, "spec.gateways", spec.Gateways)
	}
	for i := range spec.Routes {
		rs.HTTP = append(rs.HTTP, route(d, document.At("spec.routes", i), &spec.Routes[i]))
	}
	rs.Limits = limits(d, &spec)
	return []model.Object{rs}
}

func route(d *document.Document, at string, r *api.Route) model.Route {
	out := model.Route{Name: r.Name}
	if m := attributes(d, at+".match", r.Match); m != nil {
		out.Matches = []model.Match{*m}
	}
	if len(r.Route) == 0 {
		d.Error(document.CodeMissing, at+".route", "name a destination", "is missing")
	}
	var sum uint32
	for i := range r.Route {
		t := target(d, document.At(at+".route", i)+".destination", &r.Route[i].Destination)
		t.Weight = r.Route[i].Weight
		sum += t.Weight
		out.Destinations = append(out.Destinations, t)
	}
	if len(r.Route) > 1 && sum == 0 {
		d.Invalid(at+".route", "give at least one a weight", "no destination has a weight")
	}
	if p := r.MirrorPercentage; p != nil && !(p.Value >= 0 && p.Value <= 100) {
		d.Invalid(at+".mirrorPercentage.value", "", "must be 0 to 100, got %v", p.Value)
	}
	if r.Mirror != nil {
		m := model.Mirror{Destination: target(d, at+".mirror", r.Mirror), Percent: 100}
		if r.MirrorPercentage != nil {
			m.Percent = r.MirrorPercentage.Value
		}
		out.Mirrors = []model.Mirror{m}
	}
	out.Headers.Request.Set = fields(d, at+".requestMutation", r.RequestMutation)
	out.Headers.Response.Set = fields(d, at+".responseMutation", r.ResponseMutation)
	return out
}

// condition converts one attribute.
func condition(d *document.Document, at, name string, sm api.StringMatch) model.Condition {
	c := model.Condition{Attr: model.AttrHeader, Name: strings.ToLower(name), Op: model.Present}
	if c.Name == "method" {
		c.Attr, c.Name = model.AttrMethod, ""
	}
	n := 0
	if sm.Exact != "" {
		c.Op, c.Value = model.Exact, sm.Exact
		n++
	}
	if sm.Prefix != "" {
		c.Op, c.Value = model.Prefix, sm.Prefix
		n++
	}
	if sm.Regex != "" {
		n++
		if sm.Regex != "*" { // Aeraki's word for "any value"
			c.Op, c.Value = model.Regex, sm.Regex
			d.Regex(at+".regex", sm.Regex)
		}
	}
	if n > 1 {
		d.Invalid(at, "write one of them", "has more than one of exact, prefix and regex")
	}
	if name == "" || strings.ContainsAny(name, " :\r\n") {
		d.Invalid(at, "", "%q is not the name of an attribute", name)
	}
	return c
}

func target(d *document.Document, at string, t *api.Target) model.Destination {
	d.Host(at+".host", t.Host, false)
	out := model.Destination{Host: document.FQDN(t.Host, d.Key.Namespace, istio.Domain), Subset: t.Subset}
	if t.Port != nil {
		out.Port = uint16(t.Port.Number) //nolint:gosec // the shape bounds it
	}
	return out
}

func fields(d *document.Document, at string, list []api.KeyValue) map[string]string {
	if len(list) == 0 {
		return nil
	}
	out := map[string]string{}
	for i, kv := range list {
		if kv.Key == "" || strings.ContainsAny(kv.Key, " :\r\n") {
			d.Invalid(document.At(at, i)+".key", "", "%q is not the name of a field", kv.Key)
		}
		out[strings.ToLower(kv.Key)] = kv.Value
	}
	return out
}
