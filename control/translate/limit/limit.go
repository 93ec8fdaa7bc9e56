// Package limit makes the filters and the configuration of routes that carry SmartLimiters out: Envoy's local rate limit
// for the strategies single and average; for global the filter of Weft's own proxy that leases tokens, and on a stock
// Envoy its rate limit filter, which asks the control plane, or a service that the SmartLimiter names.
//
// Filters are there for as long as there is a SmartLimiter, in force or not; its turning on and off changes routes
// alone, which cost no connection.
package limit

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/wire"
)

// CodeLimit is a limit that cannot be carried out on a proxy.
const CodeLimit = "WEFT0283"

// LocalFilter is Envoy's name.
const LocalFilter = "envoy.filters.http.local_ratelimit"

// Set is what limits one side of a proxy: what comes in, or what goes out (all of a gateway's).
type Set struct {
	v      *scope.View
	report func(model.Finding)
	local  []scope.LimitRef
	global []scope.LimitRef
	// most are the limits of concurrency.
	most []scope.LimitRef
}

// Inbound is what limits the requests to the proxy's program.
func Inbound(v *scope.View, report func(model.Finding)) *Set { return newSet(v, report, false) }

// Outbound is what limits the requests that the proxy sends.
func Outbound(v *scope.View, report func(model.Finding)) *Set { return newSet(v, report, true) }

func newSet(v *scope.View, report func(model.Finding), outbound bool) *Set {
	s := &Set{v: v, report: report}
	if len(v.Index.Snapshot.Limits) == 0 {
		return s
	}
	for _, r := range v.Limits() {
		rule := r.Rule()
		switch {
		case rule.Target.Outbound != outbound:
		case rule.Concurrency:
			s.most = append(s.most, r)
		case rule.Strategy == model.LimitGlobal:
			s.global = append(s.global, r)
		default:
			s.local = append(s.local, r)
		}
	}
	return s
}

// Empty tells whether nothing that filters do is limited, now or later.
func (s *Set) Empty() bool { return len(s.local)+len(s.global) == 0 }

// Filter is an HTTP filter.
type Filter struct {
	Name   string
	Config proto.Message
}

// Filters are those that chains need.
func (s *Set) Filters() (out []Filter) {
	for _, name := range []string{LocalFilter, customFilter} {
		if slices.ContainsFunc(s.local, func(r scope.LimitRef) bool { return localName(r) == name }) {
			out = append(out, Filter{name, emptyLocal()})
		}
	}
	for _, c := range s.counters() {
		out = append(out, Filter{c.name(), s.counterFilter(c)})
	}
	return out
}

// Host adds what is in force to a virtual host and its routes. port is the service's, 0 where there is none.
func (s *Set) Host(vh *routev3.VirtualHost, port uint16) {
	if s.Empty() || vh == nil {
		return
	}
	hosted := s.on(vh, "", port)
	for name, m := range s.configs(hosted) {
		set(&vh.TypedPerFilterConfig, name, m)
	}
	shared := true
	for i, r := range vh.Routes {
		list := s.on(vh, r.GetName(), port)
		if len(list) == len(hosted) {
			continue
		}
		if shared { // with the other hosts of a gateway that a VirtualService names
			shared, vh.Routes = false, slices.Clone(vh.Routes)
		}
		r = proto.CloneOf(r)
		vh.Routes[i] = r
		// A route's configuration replaces that of its host.
		for name, m := range s.configs(list) {
			set(&r.TypedPerFilterConfig, name, m)
		}
	}
}

func set(in *map[string]*anypb.Any, name string, m proto.Message) {
	if *in == nil {
		*in = map[string]*anypb.Any{}
	}
	(*in)[name] = pb.Any(m)
}

// on are the rules in force for a virtual host, or for one of its routes.
func (s *Set) on(vh *routev3.VirtualHost, route string, port uint16) (out []scope.LimitRef) {
	for _, list := range [][]scope.LimitRef{s.local, s.global} {
		for _, r := range list {
			if r.Quota().Active && (r.Rule().Key != "" || targets(&r.Rule().Target, vh, route, port)) {
				out = append(out, r)
			}
		}
	}
	return out
}

// targets tells whether a target is a virtual host, or the route of that name in it.
func targets(t *model.LimitTarget, vh *routev3.VirtualHost, route string, port uint16) bool {
	if t.Port != 0 && t.Port != port {
		return false
	}
	if len(t.Routes) > 0 {
		return route != "" && slices.ContainsFunc(t.Routes, func(r string) bool { return r == vh.GetName()+"/"+route })
	}
	if len(t.Hosts) == 0 || !t.Outbound {
		return true // what comes in has one virtual host: rule's matches look at the authority
	}
	return slices.ContainsFunc(t.Hosts, func(h string) bool {
		if h == "*" || h == vh.GetName() || slices.Contains(vh.GetDomains(), h) {
			return true
		}
		name, p, ok := strings.Cut(h, ":")
		return ok && p == strconv.Itoa(int(port)) && slices.Contains(vh.GetDomains(), name)
	})
}

// configs are the configurations of filters that a list of rules makes.
func (s *Set) configs(list []scope.LimitRef) map[string]proto.Message {
	out := map[string]proto.Message{}
	local := map[string][]scope.LimitRef{}
	for _, r := range list {
		if r.Rule().Strategy != model.LimitGlobal {
			local[localName(r)] = append(local[localName(r)], r)
		}
	}
	for name, mine := range local {
		out[name] = s.localConfig(mine)
	}
	for _, c := range s.counters() {
		var mine []scope.LimitRef
		for _, r := range list {
			if r.Rule().Strategy == model.LimitGlobal && s.counterOf(r) == c {
				mine = append(mine, r)
			}
		}
		if len(mine) > 0 {
			out[c.name()] = c.config(mine)
		}
	}
	return out
}

// Most is how many requests at a time a port may have; 0: no limit is in force.
func (s *Set) Most(port uint16) (most uint32) {
	for _, r := range s.most {
		if !r.Quota().Active || r.Rule().Target.Port != 0 && r.Rule().Target.Port != port {
			continue
		}
		n := uint32(min(max(1, r.Quota().Quota), 1<<31))
		if most == 0 || n < most {
			most = n
		}
	}
	return most
}

// rateLimit makes the descriptor of a rule's requests.
func rateLimit(r scope.LimitRef) *routev3.RateLimit {
	rule := r.Rule()
	out := &routev3.RateLimit{}
	add := func(a *routev3.RateLimit_Action) { out.Actions = append(out.Actions, a) }
	add(&routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_GenericKey_{
		GenericKey: &routev3.RateLimit_Action_GenericKey{DescriptorValue: r.Quota().ID},
	}})
	if t := &rule.Target; !t.Outbound && len(t.Hosts) > 0 {
		add(authorities(t.Hosts))
	}
	for i := range rule.Matches {
		add(action(&rule.Matches[i], i))
	}
	switch name, isHeader := strings.CutPrefix(rule.Per, "header:"); {
	case isHeader:
		add(header(name, "per"))
	case rule.Per != "":
		add(&routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_RemoteAddress_{RemoteAddress: &routev3.RateLimit_Action_RemoteAddress{}}})
	}
	return out
}

// entry is a descriptor's; without a value it is any.
type entry struct{ key, value string }

// entries are those of the descriptor that rateLimit makes, in its order.
func entries(r scope.LimitRef) []entry {
	rule := r.Rule()
	out := []entry{{"generic_key", r.Quota().ID}}
	if rule.Key != "" {
		return []entry{{rule.Key, rule.Value}}
	}
	if t := &rule.Target; !t.Outbound && len(t.Hosts) > 0 {
		out = append(out, entry{"host", wire.QuotaTest})
	}
	for i := range rule.Matches {
		e := entry{key(i), wire.QuotaTest}
		switch m := &rule.Matches[i]; {
		case m.Op != model.LimitEach:
		case m.Attr == model.LimitSourceAttr:
			e = entry{"remote_address", ""}
		default:
			e.value = ""
		}
		out = append(out, e)
	}
	switch isHeader := strings.HasPrefix(rule.Per, "header:"); {
	case isHeader:
		out = append(out, entry{"per", ""})
	case rule.Per != "":
		out = append(out, entry{"remote_address", ""})
	}
	return out
}

func key(i int) string { return "match" + strconv.Itoa(i) }

func header(name, key string) *routev3.RateLimit_Action {
	return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_RequestHeaders_{
		RequestHeaders: &routev3.RateLimit_Action_RequestHeaders{HeaderName: name, DescriptorKey: key},
	}}
}

// authorities is the test of whether a request is for one of some hosts.
func authorities(hosts []string) *routev3.RateLimit_Action {
	var parts []string
	for _, h := range hosts {
		quoted := regexp.QuoteMeta(h)
		if !strings.Contains(h, ":") {
			quoted += "(:[0-9]+)?"
		}
		parts = append(parts, quoted)
	}
	m := &routev3.HeaderMatcher{Name: ":authority", HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{
		StringMatch: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: pb.RE2("(?i)(" + strings.Join(parts, "|") + ")")}},
	}}
	return headerTest("host", m)
}

func headerTest(key string, m *routev3.HeaderMatcher) *routev3.RateLimit_Action {
	return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_HeaderValueMatch_{
		HeaderValueMatch: &routev3.RateLimit_Action_HeaderValueMatch{DescriptorKey: key, DescriptorValue: wire.QuotaTest, Headers: []*routev3.HeaderMatcher{m}},
	}}
}

// action is a rule's test.
func action(m *model.LimitMatch, i int) *routev3.RateLimit_Action {
	switch {
	case m.Attr == model.LimitSourceAttr && m.Op == model.LimitEach:
		return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_RemoteAddress_{RemoteAddress: &routev3.RateLimit_Action_RemoteAddress{}}}
	case m.Attr == model.LimitSourceAttr:
		return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_RemoteAddressMatch_{
			RemoteAddressMatch: &routev3.RateLimit_Action_RemoteAddressMatch{
				DescriptorKey: key(i), DescriptorValue: wire.QuotaTest,
				AddressMatcher: &matcherv3.AddressMatcher{Ranges: []*xdscorev3.CidrRange{cidr(m.Value)}, InvertMatch: m.Not},
			},
		}}
	case m.Attr == model.LimitQueryAttr && m.Op == model.LimitEach:
		return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_QueryParameters_{
			QueryParameters: &routev3.RateLimit_Action_QueryParameters{QueryParameterName: m.Name, DescriptorKey: key(i)},
		}}
	case m.Op == model.LimitEach:
		return header(m.Name, key(i))
	case m.Attr == model.LimitQueryAttr:
		q := &routev3.RateLimit_Action_QueryParameterValueMatch{DescriptorKey: key(i), DescriptorValue: wire.QuotaTest, QueryParameters: []*routev3.QueryParameterMatcher{query(m)}}
		if m.Not {
			q.ExpectMatch = pb.False()
		}
		return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_QueryParameterValueMatch_{QueryParameterValueMatch: q}}
	}
	h := &routev3.HeaderMatcher{Name: m.Name, InvertMatch: m.Not}
	if m.Op == model.LimitPresent {
		h.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}
	} else {
		h.HeaderMatchSpecifier = &routev3.HeaderMatcher_StringMatch{StringMatch: text(m)}
		h.TreatMissingHeaderAsEmpty = m.Not || m.Op == model.LimitExact && m.Value == ""
	}
	return headerTest(key(i), h)
}

func query(m *model.LimitMatch) *routev3.QueryParameterMatcher {
	out := &routev3.QueryParameterMatcher{Name: m.Name}
	if m.Op == model.LimitPresent {
		out.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_PresentMatch{PresentMatch: true}
	} else {
		out.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_StringMatch{StringMatch: text(m)}
	}
	return out
}

func text(m *model.LimitMatch) *matcherv3.StringMatcher {
	switch m.Op {
	case model.LimitPrefix:
		return pb.Prefix(m.Value)
	case model.LimitSuffix:
		return pb.Suffix(m.Value)
	case model.LimitRegex:
		return pb.Regex(m.Value)
	}
	return pb.Exact(m.Value)
}

// cidr reads an address or a prefix, which the front end has seen to be one.
func cidr(s string) *xdscorev3.CidrRange {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a := netip.MustParseAddr(s)
		p = netip.PrefixFrom(a, a.BitLen())
	}
	return &xdscorev3.CidrRange{AddressPrefix: p.Masked().Addr().String(), PrefixLen: pb.U32Set(uint32(p.Bits()))}
}

func headers(list []model.LimitHeader) (out []*corev3.HeaderValueOption) {
	for _, h := range list {
		out = append(out, &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: h.Name, Value: h.Value},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		})
	}
	return out
}
