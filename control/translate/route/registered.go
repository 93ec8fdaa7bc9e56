package route

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/model"
)

// Labels of a registry's service by which requests of Dubbo say what they want.
const (
	labelInterface = "interface"
	labelGroup     = "group"
	labelVersion   = "version"
)

// RegisteredName is the name of the route configuration of Registered.
func RegisteredName(p *model.ServicePort) string {
	return "registered_" + p.Protocol.Messages() + "_" + strconv.Itoa(int(p.Port))
}

// Registered makes the routes of a port of a protocol of messages for clients that have instances' addresses from a
// registry: a request itself names the service, and its group and version. What no registry has goes where the client
// wants it to.
func (b *Builder) Registered(listener int, p *model.ServicePort) *routev3.RouteConfiguration {
	out := config(RegisteredName(p))
	out.IgnorePortInHostMatching = true
	variants := map[string][]variant{}
	var order []string
	for _, s := range b.v.Listeners[listener].Services {
		if own := s.Port(p.Port); s.Registry == "" || own == nil || own.Protocol != p.Protocol {
			continue
		}
		v := variantOf(s)
		if variants[v.domain] == nil {
			order = append(order, v.domain)
		}
		variants[v.domain] = append(variants[v.domain], v)
	}
	t := b.table(listener)
	for _, domain := range order {
		vh := &routev3.VirtualHost{Name: withPort(domain, p.Port), Domains: []string{domain}, IncludeRequestAttemptCount: b.counted()}
		list := variants[domain]
		slices.SortStableFunc(list, func(x, y variant) int { return cmp.Compare(len(y.matchers), len(x.matchers)) })
		for _, v := range list {
			for _, r := range b.serviceRoutes(t, v.service, p.Port) {
				if len(v.matchers) > 0 {
					r = proto.CloneOf(r)
					r.Match.Headers = append(r.Match.Headers, v.matchers...)
				}
				vh.Routes = append(vh.Routes, r)
			}
		}
		out.VirtualHosts = append(out.VirtualHosts, vh)
	}
	out.VirtualHosts = append(out.VirtualHosts, b.rest())
	return out
}

// variant is a service with the group and the version that requests for it have.
type variant struct {
	service  *model.Service
	domain   string
	matchers []*routev3.HeaderMatcher
}

func variantOf(s *model.Service) variant {
	v := variant{service: s, domain: s.Host}
	if i := s.Labels[labelInterface]; i != "" {
		v.domain = strings.ToLower(i)
	}
	for _, l := range []string{labelGroup, labelVersion} {
		if value := s.Labels[l]; value != "" && value != "0.0.0" {
			v.matchers = append(v.matchers, &routev3.HeaderMatcher{Name: l, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{
				StringMatch: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: value}},
			}})
		}
	}
	return v
}
