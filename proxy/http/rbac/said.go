package rbac

import "maps"

// said is what metadata says of judgements, made once: requests share it. A row
// for each outcome of the rules that hold, a column for each of those that are tried.
type said struct {
	held, tried []map[string]any
	both        [][]map[string]any // nil: there are too many
}

// Outcomes that no policy is behind. Those of policies follow.
const (
	silent = iota // there are no such rules
	allowedByNone
	deniedByNone
	outcomes
)

// mostBoth bounds the pairs of outcomes that are kept.
const mostBoth = 1024

// place is where an outcome stands.
func place(ok bool, by *policy) int {
	switch {
	case by != nil:
		return by.at
	case ok:
		return allowedByNone
	}
	return deniedByNone
}

// of is what is said of both outcomes; nil: nothing.
func (s *said) of(held, tried int) map[string]any {
	if s.both != nil {
		return s.both[held][tried]
	}
	return over(s.held[held], s.tried[tried])
}

func over(a, b map[string]any) map[string]any {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	m := maps.Clone(a)
	maps.Copy(m, b)
	return m
}

// prepare makes what is said. The prefixes stand before the keys.
func (s *sets) prepare(rules, shadow string) {
	s.said.held = outcomesOf(s.rules, rules+"enforced_")
	s.said.tried = outcomesOf(s.shadow, shadow+"shadow_")
	if len(s.said.held)*len(s.said.tried) > mostBoth {
		return
	}
	for _, held := range s.said.held {
		var row []map[string]any
		for _, tried := range s.said.tried {
			row = append(row, over(held, tried))
		}
		s.said.both = append(s.said.both, row)
	}
}

// outcomesOf gives every policy its place.
func outcomesOf(r *Rules, prefix string) []map[string]any {
	result := func(v string) map[string]any { return map[string]any{prefix + "engine_result": v} }
	out := []map[string]any{silent: nil, allowedByNone: result("allowed"), deniedByNone: result("denied")}
	if r == nil {
		return out
	}
	add := func(p *policy, deny bool) {
		m := result("allowed")
		if deny {
			m = result("denied")
		}
		m[prefix+"effective_policy_id"] = p.name
		p.at = len(out)
		out = append(out, m)
	}
	r.each(add)
	return out
}
