package istio

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// written are the matches of one rule as they stand in the document: each is true
// when one of its alternatives is.
type written [][]model.Match

// each makes one alternative of every match.
func each(matches []model.Match) written {
	var out written
	for i := range matches {
		out = append(out, matches[i:i+1])
	}
	return out
}

// flat are all alternatives.
func (w written) flat() []model.Match { return slices.Concat(w...) }

// unreachable warns of rules after one that takes everything, or whose matches those
// before them take, and notes single matches that are taken before.
func unreachable(d *document.Document, field string, rules []written, gateways []string) {
	for i, rule := range rules {
		if i+1 < len(rules) && takesAll(rule) {
			d.Warn(document.CodeUnreachable, document.At(field, i+1), "move it before that one", "is never reached: %s[%d] takes everything", field, i)
			rules = rules[:i+1]
			break
		}
	}
	for i := range rules {
		overlaps(d, field, rules, i, gateways)
	}
}

// overlaps judges one rule against those before it.
func overlaps(d *document.Document, field string, rules []written, i int, gateways []string) {
	type taken struct{ rule, match int }
	by := make([]taken, len(rules[i]))
	all := len(rules[i]) > 0
	for j, m := range rules[i] {
		by[j] = taken{-1, -1}
		for k := 0; k <= i && by[j].rule < 0; k++ {
			for n, before := range rules[k] {
				if k == i && n >= j {
					break
				}
				if takes(before, m, gateways) {
					by[j] = taken{k, n}
					break
				}
			}
		}
		all = all && by[j].rule >= 0 && by[j].rule < i
	}
	if all {
		d.Warn(document.CodeUnreachable, document.At(field, i), "move it before that one, or remove it",
			"is never reached: %s[%d].match[%d] takes what it matches", field, by[0].rule, by[0].match)
		return
	}
	for j, t := range by {
		if t.rule >= 0 {
			d.Info(document.CodeOverlap, document.At(document.At(field, i)+".match", j), "move it before that one, or remove it",
				"has no effect: %s[%d].match[%d] takes what it matches", field, t.rule, t.match)
		}
	}
}

// takesAll tells whether a rule is for everything.
func takesAll(rule written) bool {
	return len(rule) == 0 || slices.ContainsFunc(rule.flat(), func(m model.Match) bool {
		return len(m.Conditions) == 0 && len(m.Gateways) == 0 && len(m.SourceLabels) == 0 && m.SourceNamespace == ""
	})
}

// takes tells whether one of the alternatives of a match is true whenever any of
// another's is.
func takes(a, b []model.Match, gateways []string) bool {
	for _, alternative := range b {
		if !slices.ContainsFunc(a, func(m model.Match) bool { return covers(m, alternative, gateways) }) {
			return false
		}
	}
	return true
}

// covers tells whether a is true whenever b is. Nothing is claimed of regular
// expressions but that equal ones are equal.
func covers(a, b model.Match, gateways []string) bool {
	if a.SourceNamespace != "" && a.SourceNamespace != b.SourceNamespace || !model.Matches(a.SourceLabels, b.SourceLabels) {
		return false
	}
	if len(a.Gateways) > 0 {
		of := b.Gateways
		if len(of) == 0 {
			of = gateways
		}
		if slices.ContainsFunc(of, func(g string) bool { return !slices.Contains(a.Gateways, g) }) {
			return false
		}
	}
	for _, c := range a.Conditions {
		if !slices.ContainsFunc(b.Conditions, func(o model.Condition) bool { return follows(c, o) }) {
			return false
		}
	}
	return true
}

// follows tells whether c is true whenever o is.
func follows(c, o model.Condition) bool {
	if c == o {
		return true
	}
	if c.Attr != o.Attr || c.Name != o.Name || c.Not || o.Not || o.IgnoreCase && !c.IgnoreCase {
		return false
	}
	value, whole := o.Value, c.Value
	if c.IgnoreCase {
		value, whole = strings.ToLower(value), strings.ToLower(whole)
	}
	if c.Attr == model.AttrDestinationIP || c.Attr == model.AttrSourceIP {
		return contains(whole, value)
	}
	switch c.Op {
	case model.Present:
		return true
	case model.Exact:
		return o.Op == model.Exact && value == whole
	case model.Prefix:
		return (o.Op == model.Exact || o.Op == model.Prefix) && strings.HasPrefix(value, whole)
	case model.Wildcard:
		return whole == "*" || value == whole || strings.HasPrefix(whole, "*.") && strings.HasSuffix(value, whole[1:])
	}
	return false
}

// contains tells whether a prefix has another one in it.
func contains(a, b string) bool {
	p, err := netip.ParsePrefix(a)
	q, err2 := netip.ParsePrefix(b)
	return err == nil && err2 == nil && p.Bits() <= q.Bits() && p.Contains(q.Addr())
}
