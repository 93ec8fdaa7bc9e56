package match

import (
	"fmt"
	"iter"
	"regexp"
	"strings"

	rulesv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"

	"github.com/weftmesh/weft/base/strict"
)

// SupportedRules lists the fields that HeaderRules reads.
var SupportedRules = strict.Table{
	"envoy.config.common.mutation_rules.v3.HeaderMutationRules": "allow_all_routing allow_envoy disallow_system disallow_all " +
		"allow_expression disallow_expression disallow_is_error",
}

// Rules say which headers of a request somebody else may change. A nil *Rules
// allows everything.
type Rules struct {
	routing, envoy, noSystem, none bool
	fails                          bool // what is forbidden is an error, and not only left out
	allow, disallow                *regexp.Regexp
}

// HeaderRules reads rules about changes of headers; nil when there are none.
func HeaderRules(m *rulesv3.HeaderMutationRules) (*Rules, error) {
	if m == nil {
		return nil, nil //nolint:nilnil // there are none
	}
	r := &Rules{
		routing: m.AllowAllRouting.GetValue(), envoy: m.AllowEnvoy.GetValue(), noSystem: m.DisallowSystem.GetValue(),
		none: m.DisallowAll.GetValue(), fails: m.DisallowIsError.GetValue(),
	}
	var err error
	if r.allow, err = whole(m.AllowExpression.GetRegex()); err != nil {
		return nil, fmt.Errorf("allow_expression.regex: %w", err)
	}
	if r.disallow, err = whole(m.DisallowExpression.GetRegex()); err != nil {
		return nil, fmt.Errorf("disallow_expression.regex: %w", err)
	}
	return r, nil
}

// whole compiles an expression that must match all of a name; nil of "".
func whole(expr string) (*regexp.Regexp, error) {
	if expr == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	return regexp.Compile("^(?:" + expr + ")$")
}

// Allow tells whether a header of that name may be changed. The expressions come
// first, that which forbids before the other.
func (r *Rules) Allow(name string) bool {
	if r == nil {
		return true
	}
	name = strings.ToLower(name)
	switch {
	case r.disallow != nil && r.disallow.MatchString(name):
		return false
	case r.allow != nil && r.allow.MatchString(name):
		return true
	case r.none, r.noSystem && strings.HasPrefix(name, ":"):
		return false
	}
	switch name {
	case "host", ":authority", ":scheme", ":method":
		return r.routing
	}
	return r.envoy || !strings.HasPrefix(name, "x-envoy")
}

// Forbid tells whether one of the changes is an error.
func (r *Rules) Forbid(set iter.Seq[string], remove []string) bool {
	if r == nil || !r.fails {
		return false
	}
	for name := range set {
		if !r.Allow(name) {
			return true
		}
	}
	for _, name := range remove {
		if !Removable(strings.ToLower(name)) || !r.Allow(name) {
			return true
		}
	}
	return false
}

// Removable tells whether a request is whole without a header.
func Removable(name string) bool { return name != "host" && !strings.HasPrefix(name, ":") }
