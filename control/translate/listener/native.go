package listener

import (
	"fmt"
	"slices"
	"strconv"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/control/translate/route"
	"github.com/weftmesh/weft/wire"
)

// CodeNative is of Findings about what Envoy's own proxy of a protocol does not carry out of a route.
const CodeNative = "WEFT0430"

// The protocols of messages that Envoy has proxies of its own for.
const (
	dubbo  = "dubbo"
	thrift = "thrift"
)

// nativeRoutes are the routes of a service's port for Envoy's own proxy of its protocol. They are read off those of HTTP, which
// the own engine has.
type nativeRoutes struct {
	*outboundSet
	protocol string
	places   map[*routev3.Route]route.Place
	list     []*routev3.Route
}

// native tells whether a port is carried by Envoy's own proxy of its protocol, and by what routes: where somebody has written
// some, and for Dubbo has accepted what can come of it. What nobody has routes for stays bytes, for Envoy's proxies know fewer forms of the protocols than their peers; so does
// all of a proxy on demand, which could not ask for the clusters.
func (o *outboundSet) native(listener int, s *model.Service, p *model.ServicePort) *nativeRoutes {
	protocol := p.Protocol.Messages()
	if o.v.Proxy.Engine() != scope.EngineEnvoy || o.v.Proxy.OnDemand || protocol != dubbo && protocol != thrift {
		return nil
	}
	// A builder of its own: places are noted for these routes alone.
	b := route.NewBuilder(o.v, route.Report(o.report))
	places := b.Trace()
	rc := b.Sniffed(listener, s, p.Port)
	if len(places) == 0 || protocol == dubbo && !accepted(places) {
		return nil
	}
	return &nativeRoutes{outboundSet: o, protocol: protocol, places: places, list: rc.VirtualHosts[0].Routes}
}

// acceptDubbo is the annotation of a VirtualService or MetaRouter that wants Envoy's dubbo_proxy, with the fault that it has: the
// whole of Envoy 1.40 ends (a call of a pure virtual function) when a server has closed a connection that owes an answer, and
// the client then closes its own.
const acceptDubbo = "weft.dev/envoy-dubbo-proxy"

// accepted tells whether somebody wants that.
func accepted(places map[*routev3.Route]route.Place) bool {
	for _, p := range places {
		if p.Set.Annotations[acceptDubbo] == "true" {
			return true
		}
	}
	return false
}

// carried adds the chain of a service's port that Envoy's own proxy of its protocol carries.
func (n *nativeRoutes) carried(d *draft, s *model.Service, p *model.ServicePort) {
	var match *listenerv3.FilterChainMatch
	if r := ranges(s); d.addr == "" && len(r) > 0 {
		match = &listenerv3.FilterChainMatch{PrefixRanges: r}
	}
	stat := wire.ClusterName(wire.Outbound, p.Port, "", s.Host)
	last := n.dubboProxy
	if n.protocol == thrift {
		last = n.thriftProxy
	}
	n.addChain(d, s, match, append(n.streamStats(outbound), last(stat)))
}

// nativeMatch is what a route of HTTP's form asks of a message, as Envoy's own proxies look at messages. nil: they look at it as at
// any header.
type nativeMatch struct {
	service, method *matcherv3.StringMatcher
	headers         []*routev3.HeaderMatcher
}

// read takes the match of a route apart. fault is what Envoy's proxies cannot look at.
func (m *nativeMatch) read(in *routev3.RouteMatch) (fault string) {
	if fault := m.path(in); fault != "" {
		return fault
	}
	if len(in.QueryParameters) > 0 {
		return "query parameters"
	}
	if len(in.DynamicMetadata) > 0 {
		return "claims of tokens"
	}
	for _, h := range in.Headers {
		var to **matcherv3.StringMatcher
		switch h.Name {
		case ":method":
			to = &m.method
		case ":authority", "interface":
			to = &m.service
		case ":scheme":
			return "the scheme"
		default:
			m.headers = append(m.headers, h)
			continue
		}
		if h.InvertMatch {
			return "what the " + h.Name + " is not"
		}
		if h.GetPresentMatch() {
			continue // every message has one
		}
		if *to != nil {
			return "two values for the service, or for the method"
		}
		*to = h.GetStringMatch()
	}
	return ""
}

// path reads "/service/method" and the beginnings of it.
func (m *nativeMatch) path(in *routev3.RouteMatch) (fault string) {
	service, method := "", ""
	switch p := in.PathSpecifier.(type) {
	case *routev3.RouteMatch_Path:
		service, method = splitPath(p.Path)
		if service == "" && method == "" {
			return "the path " + strconv.Quote(p.Path)
		}
	case *routev3.RouteMatch_Prefix:
		if p.Prefix == "/" {
			return ""
		}
		if service, method = splitPath(p.Prefix + "x"); service == "" || method != "x" {
			return "the beginning " + strconv.Quote(p.Prefix) + " of a path"
		}
		method = ""
	case *routev3.RouteMatch_PathSeparatedPrefix:
		if service, method = splitPath(p.PathSeparatedPrefix); service == "" {
			service, method = method, ""
		}
	default:
		return "a pattern of the path"
	}
	if service != "" {
		m.service = pb.Exact(service)
	}
	if method != "" {
		m.method = pb.Exact(method)
	}
	return ""
}

// rule is where a route is written, and what else it says than where its messages go.
func (n *nativeRoutes) rule(r *routev3.Route) (rule *model.Route, key model.Key, field string, origin model.Origin) {
	at, ok := n.places[r]
	if !ok {
		return &model.Route{}, model.Key{}, "", model.Origin{}
	}
	rule = &at.Set.HTTP[at.Rule]
	key, index := at.Set.Written(), at.Rule
	own := true
	if p := rule.Place; p != nil {
		index = p.Index
		if p.Object != (model.Key{}) {
			key, own = p.Object, p.Object == key
		}
		field = p.Field
	}
	if field == "" {
		field = "spec.http[" + strconv.Itoa(index) + "]"
		if key.Kind == model.KindMetaRouter {
			field = "spec.routes[" + strconv.Itoa(index) + "]"
		}
	}
	if own {
		origin = at.Set.At(field)
	}
	return rule, key, field, origin
}

// lacks reports what Envoy's own proxy does not do; without a field it is the whole route.
func (n *nativeRoutes) lacks(r *routev3.Route, field, what string) {
	_, key, at, origin := n.rule(r)
	if field != "" {
		at += "." + field
	}
	n.report(model.Finding{
		Code: CodeNative, Severity: model.Warning, Object: key, Origin: origin, Field: at,
		Message: fmt.Sprintf("Envoy's own proxy of %s %s", n.protocol, what), Remedy: "leave it out, or run the clients with the engine go",
	})
}

// unsaid reports what a route asks for beside its destinations and its mirrors.
func (n *nativeRoutes) unsaid(r *routev3.Route) {
	rule, key, _, _ := n.rule(r)
	headers := [2]string{"headers.request", "headers.response"}
	if key.Kind == model.KindMetaRouter {
		headers = [2]string{"requestMutation", "responseMutation"}
	}
	request, response := rule.Headers.Request, rule.Headers.Response
	for _, x := range []struct {
		asked bool
		field string
		what  string
	}{
		{rule.Timeout > 0, "timeout", "has no timeouts"},
		{rule.Retry != nil && rule.Retry.Attempts > 0, "retries", "does not try again"},
		{rule.Fault != nil, "fault", "has no faults"},
		{rule.Rewrite != nil, "rewrite", "does not rewrite"},
		{rule.CORS != nil, "corsPolicy", "knows no origins"},
		{!request.Empty(), headers[0], "does not change messages"},
		{!response.Empty(), headers[1], "does not change messages"},
		{n.protocol == dubbo && slices.ContainsFunc(rule.Mirrors, func(m model.Mirror) bool { return m.Percent > 0 }), "mirror", "makes no copies"},
	} {
		if x.asked {
			n.lacks(r, x.field, x.what+": this has no effect for clients with the engine envoy")
		}
	}
	for i := range rule.Destinations {
		if h := rule.Destinations[i].Headers; !h.Request.Empty() || !h.Response.Empty() {
			n.lacks(r, "route["+strconv.Itoa(i)+"].headers", "does not change messages: this has no effect for clients with the engine envoy")
		}
	}
	if len(r.GetRoute().GetHashPolicy()) > 0 {
		n.lacks(r, "route", "does not hash fields of messages: consistentHash of the DestinationRule has no effect for clients with the engine envoy")
	}
}

// shares are the destinations of a route. What is answered without one goes nowhere here, rather than to where a later route leads.
func (n *nativeRoutes) shares(r *routev3.Route) (one string, many []share) {
	switch a := r.GetRoute(); {
	case a == nil:
		n.lacks(r, "", "answers nothing itself: what the route is for is refused")
		return wire.BlackHoleCluster, nil
	case a.GetCluster() != "":
		return a.GetCluster(), nil
	default:
		for _, c := range a.GetWeightedClusters().GetClusters() {
			many = append(many, share{c.Name, c.Weight.GetValue()})
		}
		return "", many
	}
}

// each calls make for the routes that the proxy can tell apart.
func (n *nativeRoutes) each(make func(*routev3.Route, *nativeMatch) (fault string)) {
	for _, r := range n.list {
		var m nativeMatch
		fault := m.read(r.Match)
		if fault == "" {
			fault = make(r, &m)
		}
		if fault != "" {
			field := "match"
			if _, key, _, _ := n.rule(r); key.Kind != model.KindMetaRouter {
				field += "[" + strconv.Itoa(n.places[r].Match) + "]"
			}
			n.lacks(r, field, "does not look at "+fault+": the route is left out for clients with the engine envoy")
			continue
		}
		n.unsaid(r)
	}
}
