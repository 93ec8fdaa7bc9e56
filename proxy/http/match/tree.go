package match

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	hashingv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/consistent_hashing/v3"
	ipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/ip/v3"
	fractionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/runtime_fraction/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter/choice"
	"github.com/weftmesh/weft/proxy/filter/runtime"
	"github.com/weftmesh/weft/proxy/route"
)

// SupportedTrees lists the fields of matcher trees themselves: inputs and actions are
// their users' business.
var SupportedTrees = strict.Table{
	"xds.core.v3.TypedExtensionConfig":                                                 "name typed_config",
	"xds.type.matcher.v3.Matcher":                                                      "matcher_list matcher_tree on_no_match",
	"xds.type.matcher.v3.Matcher.MatcherList":                                          "matchers",
	"xds.type.matcher.v3.Matcher.MatcherList.FieldMatcher":                             "predicate on_match",
	"xds.type.matcher.v3.Matcher.MatcherList.Predicate":                                "single_predicate or_matcher and_matcher not_matcher",
	"xds.type.matcher.v3.Matcher.MatcherList.Predicate.PredicateList":                  "predicate",
	"xds.type.matcher.v3.Matcher.MatcherList.Predicate.SinglePredicate":                "input value_match custom_match",
	"xds.type.matcher.v3.Matcher.MatcherTree":                                          "input exact_match_map prefix_match_map custom_match",
	"xds.type.matcher.v3.Matcher.MatcherTree.MatchMap":                                 "map",
	"xds.type.matcher.v3.Matcher.OnMatch":                                              "matcher action",
	"xds.type.matcher.v3.IPMatcher":                                                    "range_matchers",
	"xds.type.matcher.v3.IPMatcher.IPRangeMatcher":                                     "ranges on_match exclusive",
	"xds.type.matcher.v3.ServerNameMatcher":                                            "domain_matchers",
	"xds.type.matcher.v3.ServerNameMatcher.DomainMatcher":                              "domains on_match",
	"xds.type.matcher.v3.StringMatcher":                                                "exact prefix suffix safe_regex contains ignore_case",
	"xds.type.matcher.v3.RegexMatcher":                                                 "regex google_re2",
	"xds.type.matcher.v3.RegexMatcher.GoogleRE2":                                       "",
	"envoy.extensions.matching.input_matchers.ip.v3.Ip":                                "cidr_ranges stat_prefix",
	"envoy.extensions.matching.input_matchers.runtime_fraction.v3.RuntimeFraction":     "runtime_fraction seed",
	"envoy.extensions.matching.input_matchers.consistent_hashing.v3.ConsistentHashing": "threshold modulo seed",
}

// Trees reads matcher trees over the facts F that lead to actions T. Errors name
// the field. What is read has been checked against SupportedTrees.
type Trees[F, T any] struct {
	// Input reads what a choice is made by.
	Input func(*xdscorev3.TypedExtensionConfig) (choice.Input[F], error)
	// Action reads what a tree leads to.
	Action func(*xdscorev3.TypedExtensionConfig) (T, error)
	// Custom reads tests that are extensions and look at more than a text; nil: it is
	// none of them. It may be nil itself.
	Custom func(from, custom *xdscorev3.TypedExtensionConfig) (choice.Test[F], error)
	// Runtime has the values that override fractions.
	Runtime *runtime.Store
}

// Read compiles a tree.
func (r *Trees[F, T]) Read(m *xdsmatcherv3.Matcher) (choice.Tree[F, T], error) {
	var all choice.First[F, T]
	switch t := m.GetMatcherType().(type) {
	case *xdsmatcherv3.Matcher_MatcherList_:
		for i, f := range t.MatcherList.GetMatchers() {
			w := choice.When[F, T]{}
			var err error
			if w.If, err = r.predicate(f.GetPredicate()); err != nil {
				return nil, strict.At(err, "matcher_list.matchers[%d].predicate", i)
			}
			if w.Then, err = r.onMatch(f.GetOnMatch()); err != nil {
				return nil, strict.At(err, "matcher_list.matchers[%d].on_match", i)
			}
			all = append(all, w)
		}
	case *xdsmatcherv3.Matcher_MatcherTree_:
		tree, err := r.tree(t.MatcherTree)
		if err != nil {
			return nil, strict.At(err, "matcher_tree")
		}
		all = append(all, tree)
	}
	if m.GetMatcherType() == nil && m.GetOnNoMatch() == nil {
		return nil, strict.At(errors.New("is missing"), "matcher_type")
	}
	if m.GetOnNoMatch() != nil {
		otherwise, err := r.onMatch(m.OnNoMatch)
		if err != nil {
			return nil, strict.At(err, "on_no_match")
		}
		all = append(all, otherwise)
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return all, nil
}

func (r *Trees[F, T]) onMatch(m *xdsmatcherv3.Matcher_OnMatch) (choice.Tree[F, T], error) {
	if m.GetMatcher() != nil {
		t, err := r.Read(m.GetMatcher())
		return t, strict.At(err, "matcher")
	}
	a, err := r.Action(m.GetAction())
	return choice.Leaf[F, T]{Action: a}, strict.At(err, "action")
}

func (r *Trees[F, T]) tree(m *xdsmatcherv3.Matcher_MatcherTree) (choice.Tree[F, T], error) {
	in, err := r.Input(m.GetInput())
	if err != nil {
		return nil, strict.At(err, "input")
	}
	switch t := m.GetTreeType().(type) {
	case *xdsmatcherv3.Matcher_MatcherTree_ExactMatchMap:
		of, err := r.matchMap(t.ExactMatchMap)
		return &choice.Exact[F, T]{Input: in, Map: of}, strict.At(err, "exact_match_map")
	case *xdsmatcherv3.Matcher_MatcherTree_PrefixMatchMap:
		of, err := r.matchMap(t.PrefixMatchMap)
		return choice.NewPrefix(in, of), strict.At(err, "prefix_match_map")
	case *xdsmatcherv3.Matcher_MatcherTree_CustomMatch:
		c, err := r.custom(in, t.CustomMatch.GetTypedConfig())
		return c, strict.At(err, "custom_match.typed_config")
	}
	return nil, errors.New("has no tree")
}

func (r *Trees[F, T]) matchMap(m *xdsmatcherv3.Matcher_MatcherTree_MatchMap) (map[string]choice.Tree[F, T], error) {
	out := make(map[string]choice.Tree[F, T], len(m.GetMap()))
	for k, v := range m.GetMap() {
		t, err := r.onMatch(v)
		if err != nil {
			return nil, strict.At(err, "map[%q]", k)
		}
		out[k] = t
	}
	return out, nil
}

// custom reads the trees that are extensions: of addresses and of host names.
func (r *Trees[F, T]) custom(in choice.Input[F], a *anypb.Any) (choice.Tree[F, T], error) {
	ips, names := &xdsmatcherv3.IPMatcher{}, &xdsmatcherv3.ServerNameMatcher{}
	switch {
	case a.MessageIs(ips):
		if err := inside(a, ips); err != nil {
			return nil, err
		}
		return r.addresses(in, ips)
	case a.MessageIs(names):
		if err := inside(a, names); err != nil {
			return nil, err
		}
		return r.names(in, names)
	}
	return nil, fmt.Errorf("%s is not supported", typeOf(a))
}

func (r *Trees[F, T]) addresses(in choice.Input[F], m *xdsmatcherv3.IPMatcher) (choice.Tree[F, T], error) {
	var networks []choice.Network[F, T]
	for i, m := range m.RangeMatchers {
		then, err := r.onMatch(m.OnMatch)
		if err != nil {
			return nil, strict.At(err, "range_matchers[%d].on_match", i)
		}
		ranges, err := Prefixes(m.Ranges)
		if err != nil {
			return nil, strict.At(err, "range_matchers[%d].ranges", i)
		}
		for _, p := range ranges {
			networks = append(networks, choice.Network[F, T]{Prefix: p, Then: then, Exclusive: m.Exclusive})
		}
	}
	return choice.NewAddress(in, networks), nil
}

func (r *Trees[F, T]) names(in choice.Input[F], m *xdsmatcherv3.ServerNameMatcher) (choice.Tree[F, T], error) {
	out := &choice.Name[F, T]{Input: in, Map: map[string]choice.Tree[F, T]{}}
	for i, m := range m.DomainMatchers {
		then, err := r.onMatch(m.OnMatch)
		if err != nil {
			return nil, strict.At(err, "domain_matchers[%d].on_match", i)
		}
		for j, d := range m.Domains {
			d = strings.ToLower(d)
			if _, twice := out.Map[d]; twice {
				return nil, strict.At(fmt.Errorf("%q is there twice", d), "domain_matchers[%d].domains[%d]", i, j)
			}
			out.Map[d] = then
		}
	}
	return out, nil
}

func (r *Trees[F, T]) predicate(m *xdsmatcherv3.Matcher_MatcherList_Predicate) (choice.Test[F], error) {
	switch p := m.GetMatchType().(type) {
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_:
		t, err := r.single(p.SinglePredicate)
		return t, strict.At(err, "single_predicate")
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_NotMatcher:
		t, err := r.predicate(p.NotMatcher)
		return choice.Not(t), strict.At(err, "not_matcher")
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_AndMatcher:
		list, err := r.predicates(p.AndMatcher)
		return choice.All(list), strict.At(err, "and_matcher")
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_OrMatcher:
		list, err := r.predicates(p.OrMatcher)
		return choice.Some(list), strict.At(err, "or_matcher")
	}
	return nil, errors.New("there is none")
}

func (r *Trees[F, T]) predicates(m *xdsmatcherv3.Matcher_MatcherList_Predicate_PredicateList) ([]choice.Test[F], error) {
	list := make([]choice.Test[F], 0, len(m.GetPredicate()))
	for i, p := range m.GetPredicate() {
		t, err := r.predicate(p)
		if err != nil {
			return nil, strict.At(err, "predicate[%d]", i)
		}
		list = append(list, t)
	}
	return list, nil
}

// single compiles the test of one input.
func (r *Trees[F, T]) single(m *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate) (choice.Test[F], error) {
	custom := m.GetCustomMatch()
	if custom != nil && r.Custom != nil {
		if t, err := r.Custom(m.GetInput(), custom); t != nil || err != nil {
			return t, err
		}
	}
	in, err := r.Input(m.GetInput())
	if err != nil {
		return nil, strict.At(err, "input")
	}
	if custom != nil {
		t, err := r.test(custom.GetTypedConfig())
		return onText(in, t), strict.At(err, "custom_match.typed_config")
	}
	s, err := XDSString(m.GetValueMatch())
	if err != nil {
		return nil, strict.At(err, "value_match")
	}
	t, err := route.NewStrings(s)
	return onText(in, t.Any), strict.At(err, "value_match")
}

// onText tests a text that has to be known.
func onText[F any](in choice.Input[F], test func(string) bool) choice.Test[F] {
	return func(f F) bool { s, ok := in(f); return ok && test(s) }
}

// test compiles the tests of texts that are extensions.
func (r *Trees[F, T]) test(a *anypb.Any) (func(string) bool, error) {
	ips, share, hash := &ipv3.Ip{}, &fractionv3.RuntimeFraction{}, &hashingv3.ConsistentHashing{}
	switch {
	case a.MessageIs(ips):
		if err := inside(a, ips); err != nil {
			return nil, err
		}
		ranges, err := Prefixes(ips.CidrRanges)
		return func(s string) bool {
			addr, err := netip.ParseAddr(s)
			return err == nil && slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(addr) })
		}, strict.At(err, "cidr_ranges")
	case a.MessageIs(share):
		if err := inside(a, share); err != nil {
			return nil, err
		}
		f := Fraction(share.RuntimeFraction.GetDefaultValue())
		f.Key = r.Runtime.Key(share.RuntimeFraction.GetRuntimeKey())
		return func(s string) bool { return f.Chosen(hashText(s, share.Seed)) }, nil
	case a.MessageIs(hash):
		if err := inside(a, hash); err != nil {
			return nil, err
		}
		if hash.Threshold > hash.Modulo {
			return nil, strict.At(fmt.Errorf("%d is more than modulo", hash.Threshold), "threshold")
		}
		return func(s string) bool { return hashText(s, hash.Seed)%uint64(hash.Modulo) >= uint64(hash.Threshold) }, nil
	}
	return nil, fmt.Errorf("%s is not supported", typeOf(a))
}

// hashText is Envoy's hash of a text.
func hashText(s string, seed uint64) uint64 {
	var d xxhash.Digest
	d.ResetWithSeed(seed)
	_, _ = d.WriteString(s)
	return d.Sum64()
}

// inside reads what is in a and checks the API's own constraints: the fields have been
// checked with the message around it.
func inside(a *anypb.Any, m proto.Message) error {
	if err := a.UnmarshalTo(m); err != nil {
		return err
	}
	if v, ok := m.(interface{ Validate() error }); ok {
		return v.Validate()
	}
	return nil
}

func typeOf(a *anypb.Any) string {
	if a.GetTypeUrl() == "" {
		return "an extension without a type"
	}
	return a.GetTypeUrl()
}
