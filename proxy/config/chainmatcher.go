package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	ipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/ip/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/proxy/listener"
	"github.com/weftmesh/weft/proxy/route"
)

// chainMatcher reads a filter_chain_matcher. It notes what the choice depends on,
// and which chains it leads to.
type chainMatcher struct {
	l      *listener.Listener
	chains map[string]bool
}

func readChainMatcher(m *xdsmatcherv3.Matcher, l *listener.Listener) error {
	r := chainMatcher{l, map[string]bool{}}
	for i, c := range l.Chains {
		switch {
		case c.Name == "":
			return at(errors.New("is empty, and the matcher chooses by names"), "filter_chains[%d].name", i)
		case r.chains[c.Name]:
			return at(fmt.Errorf("%q is that of another chain", c.Name), "filter_chains[%d].name", i)
		case !c.Match.Empty():
			return at(errors.New("is not looked at beside filter_chain_matcher"), "filter_chains[%d].filter_chain_match", i)
		}
		r.chains[c.Name] = true
	}
	var err error
	l.Matcher, err = r.matcher(m)
	return at(err, "filter_chain_matcher")
}

func (r *chainMatcher) matcher(m *xdsmatcherv3.Matcher) (listener.Matcher, error) {
	var all listener.OneOf
	switch t := m.GetMatcherType().(type) {
	case *xdsmatcherv3.Matcher_MatcherList_:
		for i, f := range t.MatcherList.Matchers {
			w := listener.When{}
			var err error
			if w.If, err = r.predicate(f.Predicate); err != nil {
				return nil, at(err, "matcher_list.matchers[%d].predicate", i)
			}
			if w.Then, err = r.onMatch(f.OnMatch); err != nil {
				return nil, at(err, "matcher_list.matchers[%d].on_match", i)
			}
			all = append(all, w)
		}
	case *xdsmatcherv3.Matcher_MatcherTree_:
		tree, err := r.tree(t.MatcherTree)
		if err != nil {
			return nil, at(err, "matcher_tree")
		}
		all = append(all, tree)
	}
	if m.GetOnNoMatch() != nil {
		otherwise, err := r.onMatch(m.OnNoMatch)
		if err != nil {
			return nil, at(err, "on_no_match")
		}
		all = append(all, otherwise)
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return all, nil
}

func (r *chainMatcher) onMatch(m *xdsmatcherv3.Matcher_OnMatch) (listener.Matcher, error) {
	if m.GetMatcher() != nil {
		n, err := r.matcher(m.GetMatcher())
		return n, at(err, "matcher")
	}
	name := &wrapperspb.StringValue{}
	a := m.GetAction().GetTypedConfig()
	if a == nil || !a.MessageIs(name) {
		return nil, at(errors.New("want the name of a filter chain, a google.protobuf.StringValue"), "action.typed_config")
	}
	if err := a.UnmarshalTo(name); err != nil {
		return nil, at(err, "action.typed_config")
	}
	return listener.Chain(name.Value), nil // one that is not there matches nothing
}

func (r *chainMatcher) tree(m *xdsmatcherv3.Matcher_MatcherTree) (listener.Matcher, error) {
	in, err := r.input(m.Input)
	if err != nil {
		return nil, at(err, "input")
	}
	switch t := m.TreeType.(type) {
	case *xdsmatcherv3.Matcher_MatcherTree_ExactMatchMap:
		b := &listener.ByText{Input: in}
		b.Map, err = r.matchMap(t.ExactMatchMap)
		return b, at(err, "exact_match_map")
	case *xdsmatcherv3.Matcher_MatcherTree_PrefixMatchMap:
		b := &listener.ByText{Input: in, Prefix: true}
		b.Map, err = r.matchMap(t.PrefixMatchMap)
		return b, at(err, "prefix_match_map")
	case *xdsmatcherv3.Matcher_MatcherTree_CustomMatch:
		c, err := r.custom(in, t.CustomMatch)
		return c, at(err, "custom_match.typed_config")
	}
	return nil, errors.New("has no tree")
}

func (r *chainMatcher) matchMap(m *xdsmatcherv3.Matcher_MatcherTree_MatchMap) (map[string]listener.Matcher, error) {
	out := make(map[string]listener.Matcher, len(m.GetMap()))
	for k, v := range m.GetMap() {
		n, err := r.onMatch(v)
		if err != nil {
			return nil, at(err, "map[%q]", k)
		}
		out[k] = n
	}
	return out, nil
}

// custom reads the trees of addresses and of server names.
func (r *chainMatcher) custom(in listener.Input, m *xdscorev3.TypedExtensionConfig) (listener.Matcher, error) {
	ips, names := &xdsmatcherv3.IPMatcher{}, &xdsmatcherv3.ServerNameMatcher{}
	switch a := m.GetTypedConfig(); {
	case a.MessageIs(ips):
		if err := unpack(a, ips); err != nil {
			return nil, err
		}
		var ranges []listener.Range
		for i, m := range ips.RangeMatchers {
			then, err := r.onMatch(m.OnMatch)
			if err != nil {
				return nil, at(err, "range_matchers[%d].on_match", i)
			}
			for j, c := range m.Ranges {
				p, err := prefix(c.AddressPrefix, c.PrefixLen.GetValue())
				if err != nil {
					return nil, at(err, "range_matchers[%d].ranges[%d]", i, j)
				}
				ranges = append(ranges, listener.Range{Prefix: p, Then: then, Exclusive: m.Exclusive})
			}
		}
		return listener.NewByAddress(in, ranges), nil
	case a.MessageIs(names):
		if err := unpack(a, names); err != nil {
			return nil, err
		}
		b := &listener.ByName{Input: in, Map: map[string]listener.Matcher{}}
		for i, m := range names.DomainMatchers {
			then, err := r.onMatch(m.OnMatch)
			if err != nil {
				return nil, at(err, "domain_matchers[%d].on_match", i)
			}
			for _, d := range m.Domains {
				b.Map[strings.ToLower(d)] = then
			}
		}
		return b, nil
	default:
		return nil, fmt.Errorf("%s is not supported", typeOf(a))
	}
}

func prefix(addr string, bits uint32) (netip.Prefix, error) {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return netip.Prefix{}, at(err, "address_prefix")
	}
	p, err := a.Prefix(int(bits))
	return p, at(err, "prefix_len")
}

func (r *chainMatcher) predicate(m *xdsmatcherv3.Matcher_MatcherList_Predicate) (func(*listener.Facts) bool, error) {
	switch p := m.GetMatchType().(type) {
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_:
		t, err := r.single(p.SinglePredicate)
		return t, at(err, "single_predicate")
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_NotMatcher:
		t, err := r.predicate(p.NotMatcher)
		return func(f *listener.Facts) bool { return !t(f) }, at(err, "not_matcher")
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_AndMatcher:
		t, err := r.several(p.AndMatcher, true)
		return t, at(err, "and_matcher")
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_OrMatcher:
		t, err := r.several(p.OrMatcher, false)
		return t, at(err, "or_matcher")
	}
	return nil, errors.New("there is none")
}

// several holds when all of a list do, or one of it.
func (r *chainMatcher) several(m *xdsmatcherv3.Matcher_MatcherList_Predicate_PredicateList, all bool) (func(*listener.Facts) bool, error) {
	list := make([]func(*listener.Facts) bool, 0, len(m.GetPredicate()))
	for i, p := range m.GetPredicate() {
		t, err := r.predicate(p)
		if err != nil {
			return nil, at(err, "predicate[%d]", i)
		}
		list = append(list, t)
	}
	return func(f *listener.Facts) bool {
		for _, t := range list {
			if t(f) != all {
				return !all
			}
		}
		return all
	}, nil
}

func (r *chainMatcher) single(m *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate) (func(*listener.Facts) bool, error) {
	in, err := r.input(m.Input)
	if err != nil {
		return nil, at(err, "input")
	}
	if v := m.GetValueMatch(); v != nil {
		s, err := xdsString(v)
		if err != nil {
			return nil, at(err, "value_match")
		}
		t, err := route.NewStrings(s)
		return func(f *listener.Facts) bool { v, ok := in(f); return ok && t.Any(v) }, at(err, "value_match")
	}
	ips := &ipv3.Ip{}
	a := m.GetCustomMatch().GetTypedConfig()
	if a == nil || !a.MessageIs(ips) {
		return nil, at(fmt.Errorf("%s is not supported", typeOf(a)), "custom_match.typed_config")
	}
	if err := unpack(a, ips); err != nil {
		return nil, at(err, "custom_match.typed_config")
	}
	ranges, err := prefixes(ips.CidrRanges)
	return func(f *listener.Facts) bool {
		v, ok := in(f)
		addr, err := netip.ParseAddr(v)
		if !ok || err != nil {
			return false
		}
		for _, p := range ranges {
			if p.Contains(addr) {
				return true
			}
		}
		return false
	}, at(err, "custom_match.typed_config.cidr_ranges")
}

func xdsString(m *xdsmatcherv3.StringMatcher) (route.StringMatch, error) {
	s := route.StringMatch{IgnoreCase: m.IgnoreCase}
	switch p := m.MatchPattern.(type) {
	case *xdsmatcherv3.StringMatcher_Exact:
		s.Kind, s.Value = route.StringExact, p.Exact
	case *xdsmatcherv3.StringMatcher_Prefix:
		s.Kind, s.Value = route.StringPrefix, p.Prefix
	case *xdsmatcherv3.StringMatcher_Suffix:
		s.Kind, s.Value = route.StringSuffix, p.Suffix
	case *xdsmatcherv3.StringMatcher_Contains:
		s.Kind, s.Value = route.StringContains, p.Contains
	case *xdsmatcherv3.StringMatcher_SafeRegex:
		s.Kind, s.Value = route.StringRegex, p.SafeRegex.GetRegex()
	default:
		return s, errors.New("no pattern is set")
	}
	return s, nil
}

// input reads what a choice is made by.
func (r *chainMatcher) input(m *xdscorev3.TypedExtensionConfig) (listener.Input, error) {
	a := m.GetTypedConfig()
	addr := func(get func(*listener.Facts) netip.AddrPort) listener.Input {
		return func(f *listener.Facts) (string, bool) { p := get(f); return p.Addr().String(), p.IsValid() }
	}
	port := func(get func(*listener.Facts) netip.AddrPort) listener.Input {
		return func(f *listener.Facts) (string, bool) { p := get(f); return strconv.Itoa(int(p.Port())), p.IsValid() }
	}
	local := func(f *listener.Facts) netip.AddrPort { return f.Local }
	remote := func(f *listener.Facts) netip.AddrPort { return f.Remote }
	state := &networkv3.FilterStateInput{}
	switch {
	case a.MessageIs(&networkv3.DestinationIPInput{}):
		return addr(local), nil
	case a.MessageIs(&networkv3.DestinationPortInput{}):
		return port(local), nil
	case a.MessageIs(&networkv3.SourceIPInput{}):
		return addr(remote), nil
	case a.MessageIs(&networkv3.SourcePortInput{}):
		return port(remote), nil
	case a.MessageIs(&networkv3.DirectSourceIPInput{}):
		return addr(func(f *listener.Facts) netip.AddrPort { return f.Direct }), nil
	case a.MessageIs(&networkv3.SourceTypeInput{}):
		return func(f *listener.Facts) (string, bool) { return "local", f.IsLocal() }, nil
	case a.MessageIs(&networkv3.ServerNameInput{}):
		r.l.MatcherReads.TLS = true
		return func(f *listener.Facts) (string, bool) { return f.SNI, f.SNI != "" }, nil
	case a.MessageIs(&networkv3.TransportProtocolInput{}):
		r.l.MatcherReads.TLS = true
		return func(f *listener.Facts) (string, bool) {
			if f.TLS {
				return listener.ProtoTLS, true
			}
			return listener.ProtoRaw, true
		}, nil
	case a.MessageIs(&networkv3.ApplicationProtocolInput{}):
		r.l.MatcherReads = listener.Reads{TLS: true, HTTP: true}
		return protocolsInput, nil
	case a.MessageIs(state):
		if err := unpack(a, state); err != nil {
			return nil, at(err, "typed_config")
		}
		return func(f *listener.Facts) (string, bool) { s, ok := f.Objects[state.Key].(string); return s, ok }, nil
	}
	return nil, at(fmt.Errorf("%s is not supported", typeOf(a)), "typed_config")
}

// protocolsInput is the list of application protocols as Envoy writes it.
func protocolsInput(f *listener.Facts) (string, bool) {
	if len(f.ALPN) == 0 {
		return "", false
	}
	return "'" + strings.Join(f.ALPN, "','") + "'", true
}
