package explain

import (
	"fmt"
	"slices"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/cmd/xdstext"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/translate/listener"
	maker "github.com/weftmesh/weft/control/translate/route"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http"
	"github.com/weftmesh/weft/proxy/route"
	"github.com/weftmesh/weft/wire"
)

// http follows a request through routes and filters of the client's proxy.
func (r *request) http(m *http.Manager) error {
	j, err := r.judged(m)
	if err != nil {
		return err
	}
	if r.client.proxy.Gateway() {
		r.tokens(r.client)
		r.policies(r.client, &j, r.head)
	}
	if j.Reply != nil {
		if j.By == "" {
			r.end(Refused, j.Reply.Status, "%s", j.Reply.Details)
		} else {
			r.end(Denied, j.Reply.Status, "%s", r.denial(r.client, j.Reply))
		}
		return nil
	}
	if j.Routes == nil || j.Trace.Host == nil {
		r.end(Refused, 404, "no virtual host is for %s", r.head.Authority)
		return nil
	}
	vh, places := r.written(j.Routes.Name(), j.Trace.Host.Name)
	if j.Routes.Demand() {
		r.patches(r.client, wire.TypeVirtualHost, j.Trace.Host.Name)
	} else {
		r.patches(r.client, wire.TypeRoute, j.Routes.Name())
	}
	r.say("virtual host", nil, "%s in the routes %s, domains %s", j.Trace.Host.Name, j.Routes.Name(), few(xdstext.Domains(j.Trace.Host.Domains), 4))
	r.contenders(vh, places)
	if j.Trace.HTTPS {
		r.end(Redirected, 301, "the Gateway's server sends plain HTTP to https")
		return nil
	}
	for i, tried := range j.Trace.Tried {
		meta, at := r.placeOf(vh, places, i)
		switch {
		case tried.Misses != "":
			r.say("route", meta, "%sdoes not match: %s", at, tried.Misses)
		case meta == nil && at == "":
			r.say("route", nil, "no VirtualService has routes for it: the default route of %s", j.Trace.Host.Name)
		default:
			r.say("route", meta, "%smatches (%s)", at, matchText(vh, i))
		}
	}
	if j.Trace.Found == nil {
		r.end(Refused, 404, "no route matches")
		return nil
	}
	return r.act(j.Trace.Found, vh, len(j.Trace.Tried)-1)
}

func few(list []string, n int) string {
	if len(list) > n {
		return strings.Join(list[:n], ", ") + fmt.Sprintf(" and %d more", len(list)-n)
	}
	return strings.Join(list, ", ")
}

func matchText(vh *routev3.VirtualHost, i int) string {
	if vh == nil || i >= len(vh.Routes) {
		return "all"
	}
	return xdstext.Match(vh.Routes[i].Match)
}

// written is a virtual host as translation makes it, with the places of its routes:
// the same that the proxy has, or nothing.
func (r *request) written(config, host string) (*routev3.VirtualHost, map[*routev3.Route]maker.Place) {
	if res, there := r.client.made.Get(wire.TypeVirtualHost, host); there {
		sent := &routev3.VirtualHost{}
		vh, places := r.demanded(host)
		if res.Body.UnmarshalTo(sent) != nil || !proto.Equal(sent, vh) {
			return nil, nil
		}
		return vh, places
	}
	configs, places := listener.Routes(r.client.view)
	for _, c := range configs {
		res, there := r.client.made.Get(wire.TypeRoute, c.Name)
		if c.Name != config || !there {
			continue
		}
		sent := &routev3.RouteConfiguration{}
		if res.Body.UnmarshalTo(sent) != nil || !proto.Equal(sent, c) {
			continue // what is sent counts, and says less
		}
		for _, vh := range c.VirtualHosts {
			if vh.Name == host {
				return vh, places
			}
		}
	}
	return nil, nil
}

// placeOf is where a route of a virtual host is written: "http[1], match[0] ".
func (r *request) placeOf(vh *routev3.VirtualHost, places map[*routev3.Route]maker.Place, i int) (*model.Meta, string) {
	if vh == nil || i >= len(vh.Routes) {
		return nil, ""
	}
	p, ok := places[vh.Routes[i]]
	if !ok {
		return nil, ""
	}
	if place := p.Set.HTTP[p.Rule].Place; place != nil && place.Field != "" {
		if o := r.Snapshot.Objects.Get(place.Object); o != nil {
			return o.Head(), strings.TrimPrefix(place.Field, "spec.") + " "
		}
	}
	at := fmt.Sprintf("http[%d]", p.Rule)
	if rule := &p.Set.HTTP[p.Rule]; rule.Place != nil {
		at = fmt.Sprintf("http[%d]", rule.Place.Index)
		if rule.Place.Object != (model.Key{}) {
			at = fmt.Sprintf("http[%d] delegates to %s, whose http[%d]", rule.Place.Via, rule.Place.Object.Title(), rule.Place.Index)
		}
	}
	if p.Match >= 0 {
		at += fmt.Sprintf(" match[%d]", p.Match)
	}
	return &p.Set.Meta, at + " "
}

// contenders names the route sets for the same host that have no say, and why.
func (r *request) contenders(vh *routev3.VirtualHost, places map[*routev3.Route]maker.Place) {
	if vh == nil {
		return
	}
	hosts := map[string]bool{}
	chosen := map[model.Key]bool{}
	for _, d := range vh.Domains {
		hosts[d] = true
	}
	if r.client.proxy.OnDemand { // it has the one domain that was asked for
		if f, ok := maker.NewBuilder(r.client.view, func(model.Finding) {}).Find(r.head.Authority); ok {
			hosts[f.Host] = true
		}
	}
	for _, x := range vh.Routes {
		if p, ok := places[x]; ok {
			chosen[p.Set.Key] = true
		}
	}
	v := r.client.view
	for _, set := range r.Snapshot.Routes {
		if chosen[set.Key] || len(set.HTTP) == 0 || !slices.ContainsFunc(set.Hosts, func(h string) bool { return hosts[h] }) {
			continue
		}
		switch {
		case !set.Exports.To(v.Proxy.Namespace()):
			r.say("not considered", &set.Meta, "is for this host, and not exported to namespace %s", v.Proxy.Namespace())
		case !r.bound(set):
			r.say("not considered", &set.Meta, "is for this host, and bound to %s", boundTo(set.Gateways))
		case len(chosen) > 0:
			r.say("not considered", &set.Meta, "is for this host too; %s is older, and has it", keys(chosen))
		}
	}
}

func keys(m map[model.Key]bool) string {
	var out []string
	for k := range m {
		out = append(out, k.Title())
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// bound tells whether a route set is for the client's proxy.
func (r *request) bound(set *model.RouteSet) bool {
	if !r.client.proxy.Gateway() {
		return slices.Contains(set.Gateways, "mesh")
	}
	return slices.ContainsFunc(r.client.view.Gateways, func(g *model.Gateway) bool {
		return slices.Contains(set.Gateways, g.Key.Namespace+"/"+g.Key.Name)
	})
}

// act carries out a route.
func (r *request) act(e *route.Entry, vh *routev3.VirtualHost, i int) error {
	switch e.Kind() {
	case route.Redirects:
		status, location := e.Redirect(r.head)
		r.end(Redirected, status, "to %s", location)
		return nil
	case route.Answers:
		r.end(Answered, e.Direct().Status, "by the route itself")
		return nil
	}
	f := e.Forward()
	target := e.Target(r.head, 0)
	switch {
	case len(f.Weighted) > 0:
		var total uint32
		for _, w := range f.Weighted {
			total += w.Weight
		}
		for _, w := range f.Weighted {
			r.Clusters = append(r.Clusters, Share{w.Cluster, 100 * float64(w.Weight) / float64(max(total, 1))})
		}
	default:
		r.Clusters = []Share{{target.Cluster, 100}}
	}
	r.Result = Forwarded
	r.routeTimes(f)
	r.retries(e, vh, i)
	r.extras(e, f)
	e.RewriteRequest(target, r.head, r.info)
	if path := r.to.path; r.inside == nil && (r.head.Path != path || r.head.Authority != r.to.authority()) {
		r.say("rewrite", nil, "the server sees %s%s", r.head.Authority, r.head.Path)
	}
	return r.arrive()
}

func (r *request) routeTimes(f *route.Forward) {
	if f.Timeout > 0 {
		r.Timeout = f.Timeout.String()
		return
	}
	r.Timeout = "none"
}

func (r *request) retries(e *route.Entry, vh *routev3.VirtualHost, i int) {
	if e.Retry() == nil {
		r.Retries = "none"
		return
	}
	policy := e.Forward().Retry
	if policy == nil {
		policy = e.VirtualHost().Retry
	}
	r.Retries = fmt.Sprint(policy.Retries)
	if vh != nil && i < len(vh.Routes) {
		r.Retries += " on " + vh.Routes[i].GetRoute().GetRetryPolicy().GetRetryOn()
	}
	if policy.PerTryTimeout > 0 {
		r.Retries += ", " + policy.PerTryTimeout.String() + " each"
	}
}

// extras says what else the route does: faults, mirrors.
func (r *request) extras(e *route.Entry, f *route.Forward) {
	for _, m := range e.Mirrors() {
		r.say("mirror", nil, "a copy goes to %s", m.Cluster)
	}
	if e.FilterConfig(route.Target{}, "envoy.filters.http.fault") != nil {
		r.say("fault", nil, "requests are delayed or aborted on purpose, a share of them by chance")
	}
	if f.MaxStreamDuration != nil && *f.MaxStreamDuration > 0 {
		r.say("route", nil, "a stream may last %s", f.MaxStreamDuration.Round(time.Millisecond))
	}
}

// denial says which policy an answer of a proxy is by.
func (r *request) denial(s *side, reply *filter.LocalReply) string {
	_, name, ok := strings.Cut(reply.Details, "matched_policy[")
	if !ok {
		return strings.TrimSpace(reply.Details + " " + reply.Body)
	}
	name = strings.TrimSuffix(name, "]")
	if name == "none" {
		return "no ALLOW policy allows it: " + allows(s.view.Authz())
	}
	return policyTitle(name) + " denies it"
}
