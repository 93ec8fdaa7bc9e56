package attach

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/control/model"
)

// entry is one match of one rule: what has a place of its own in the order.
type entry struct {
	route     *model.APIRoute
	host      string // what the route's part is for; "" in the mesh
	rule, pos int
	match     *model.Match // nil: everything
	out       model.Route
}

// place is where requests come in.
type place struct {
	// meshPort is the service's port that a route is for, 0: all; listener the
	// port of a Gateway, 0: none, with TLS or without.
	meshPort, listener uint16
	tls                bool
}

// entries are the matches of a route's rules.
func (a *attacher) entries(at attachment, host string, in place) []entry {
	in.meshPort = at.port
	var out []entry
	for i := range at.route.Rules {
		rule := &at.route.Rules[i]
		base := a.base(at.route, rule, i)
		if len(rule.Matches) == 0 {
			e := entry{route: at.route, host: host, rule: i, out: base}
			e.out = specialise(base, rule, nil, in)
			e.out.Place = placed(at.route, rule.Field)
			out = append(out, e)
		}
		for j := range rule.Matches {
			e := entry{route: at.route, host: host, rule: i, pos: j, match: &rule.Matches[j]}
			e.out = specialise(base, rule, e.match, in)
			e.out.Place = placed(at.route, rule.Field+".matches["+strconv.Itoa(j)+"]")
			out = append(out, e)
		}
	}
	return out
}

// placed is where a part of a route is written.
func placed(o model.Object, field string) *model.RulePlace {
	return &model.RulePlace{Object: o.Head().Key, Field: field}
}

// base is a rule as a model.Route, references resolved.
func (a *attacher) base(r *model.APIRoute, rule *model.APIRule, i int) model.Route {
	out := rule.Route
	if out.Name == "" {
		out.Name = fmt.Sprintf("%s.%s.%d", r.Key.Namespace, r.Key.Name, i) // as Istio names them
	}
	for _, m := range rule.Mirrors {
		if d := a.backend(r, m.Ref); !d.Invalid && m.Percent > 0 {
			out.Mirrors = append(out.Mirrors, model.Mirror{Destination: d, Percent: m.Percent})
		}
	}
	if out.Redirect != nil {
		return out
	}
	out.Destinations = a.destinations(r, rule)
	if !slices.ContainsFunc(out.Destinations, func(d model.Destination) bool { return !d.Invalid }) {
		// No backend that can be used: the API asks for 500.
		return model.Route{Name: out.Name, CORS: out.CORS, Headers: out.Headers, Direct: &model.DirectResponse{Status: 500}}
	}
	return out
}

// specialise makes the route of one match: what replaces the prefix depends on
// the prefix, and a redirect's port on where the request came in.
func specialise(base model.Route, rule *model.APIRule, m *model.Match, in place) model.Route {
	out := base
	match := model.Match{}
	if m != nil {
		match.Conditions = slices.Clone(m.Conditions)
	}
	if in.meshPort != 0 {
		match.Conditions = append(match.Conditions, model.Condition{Attr: model.AttrPort, Value: strconv.Itoa(int(in.meshPort))})
	}
	if len(match.Conditions) > 0 {
		out.Matches = []model.Match{match}
	}
	prefix := "/"
	for _, c := range match.Conditions {
		if c.Attr == model.AttrPath && c.Op == model.PathPrefix {
			prefix = c.Value
		}
	}
	if r := out.Redirect; r != nil {
		c := *r
		switch {
		case c.Port != 0:
		case c.Scheme != "":
			c.PortFromProtocol = true
		case in.listener != 0 && in.listener != defaultPort(in.tls):
			c.PortFromRequest = true
		}
		if rule.Prefix != nil {
			c.PrefixRewrite, c.RegexMatch, c.RegexReplace = replacePrefix(prefix, *rule.Prefix)
		}
		out.Redirect = &c
		return out
	}
	if rule.Prefix != nil && out.Direct == nil {
		w := model.Rewrite{}
		if out.Rewrite != nil {
			w = *out.Rewrite
		}
		w.URI, w.RegexMatch, w.RegexReplace = replacePrefix(prefix, *rule.Prefix)
		out.Rewrite = &w
	}
	return out
}

func defaultPort(tls bool) uint16 {
	if tls {
		return 443
	}
	return 80
}

// replacePrefix says how a prefix of whole path elements is replaced: as a
// prefix where text by text is right, else by an expression that keeps exactly
// one slash between what is put in and what stays.
func replacePrefix(prefix, with string) (plain, regex, replace string) {
	with = strings.TrimRight(with, "/")
	if with != "" && !strings.HasPrefix(with, "/") {
		with = "/" + with
	}
	switch {
	case prefix == "/" && with == "":
		return "/", "", ""
	case prefix == "/":
		return "", "^/", strings.ReplaceAll(with, `\`, `\\`) + "/"
	case with == "":
		return "", "^" + regexp.QuoteMeta(prefix) + "/*", "/"
	}
	return with, "", ""
}

// order sorts entries as the API has it: the longer host name, exact paths, then
// longer prefixes, then a method, then more headers, then more parameters, then
// the older route, then the lower name, then the order in the route.
func order(list []entry) {
	slices.SortStableFunc(list, func(x, y entry) int {
		return cmp.Or(
			specificity(y.host)-specificity(x.host),
			slices.Compare(rank(y.match), rank(x.match)),
			cmp.Compare(x.route.Created, y.route.Created),
			cmp.Compare(x.route.Key.Namespace, y.route.Key.Namespace),
			cmp.Compare(x.route.Key.Name, y.route.Key.Name),
			cmp.Compare(x.route.Key.Kind, y.route.Key.Kind),
			x.rule-y.rule, x.pos-y.pos,
		)
	})
}

// specificity orders host patterns: exact ones before wildcards, longer before shorter.
func specificity(host string) int {
	if strings.HasPrefix(host, "*") {
		return len(host)
	}
	return len(host) + 1000
}

// rank is a match's place: path kind and length, method, headers, parameters.
// Expressions come after other paths, as Istio has them, but before what takes all.
func rank(m *model.Match) []int {
	out := []int{0, 0, 0, 0, 0}
	if m == nil {
		return out
	}
	for _, c := range m.Conditions {
		switch c.Attr {
		case model.AttrPath:
			out[0], out[1] = 2, len(c.Value)
			switch c.Op {
			case model.Exact:
				out[0] = 3
			case model.Regex:
				out[0] = 1
			}
		case model.AttrMethod:
			out[2] = 1
		case model.AttrHeader:
			out[3]++
		case model.AttrQuery:
			out[4]++
		}
	}
	return out
}

func routesOf(list []entry) []model.Route {
	out := make([]model.Route, len(list))
	for i := range list {
		out[i] = list[i].out
	}
	return out
}
