package route

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/proxy/filter"
)

// Tests of what is not in the head as it is: cookies, dynamic metadata and
// filter state.

// cookieMatcher is a compiled CookieMatch.
type cookieMatcher struct {
	name   string
	value  stringMatcher
	invert bool
}

func compileCookies(ms []CookieMatch) ([]cookieMatcher, error) {
	var out []cookieMatcher
	for i := range ms {
		m := &ms[i]
		if m.Name == "" {
			return nil, fmt.Errorf("cookie match without a name")
		}
		v, err := compileString(&m.Value)
		if err != nil {
			return nil, fmt.Errorf("cookie %q: %w", m.Name, err)
		}
		out = append(out, cookieMatcher{m.Name, v, m.Invert})
	}
	return out, nil
}

// metadataMatcher is a compiled MetadataMatch.
type metadataMatcher struct {
	filter string
	path   []string
	value  valueMatcher
	invert bool
}

func compileMetadata(ms []MetadataMatch) ([]metadataMatcher, error) {
	var out []metadataMatcher
	for i := range ms {
		c, err := compileOneMetadata(&ms[i])
		if err != nil {
			return nil, fmt.Errorf("metadata of %q: %w", ms[i].Filter, err)
		}
		out = append(out, c)
	}
	return out, nil
}

func compileOneMetadata(m *MetadataMatch) (metadataMatcher, error) {
	v, err := compileValue(&m.Value)
	return metadataMatcher{m.Filter, m.Path, v, m.Invert}, err
}

func (m *metadataMatcher) matches(info *filter.Info) bool {
	v, _ := metadataOf(info, m.filter, m.path)
	return m.value.matches(v) != m.invert
}

// metadataOf finds a value of dynamic metadata.
func metadataOf(info *filter.Info, name string, path []string) (any, bool) {
	if info == nil {
		return nil, false
	}
	v, ok := info.Metadata[name]
	for _, k := range path {
		object, isObject := v.(map[string]any)
		if !ok || !isObject {
			return nil, false
		}
		v, ok = object[k]
	}
	return v, ok
}

// valueMatcher is a compiled ValueMatch.
type valueMatcher struct {
	*ValueMatch
	text  *stringMatcher
	oneOf *valueMatcher
	anyOf []valueMatcher
}

func compileValue(m *ValueMatch) (c valueMatcher, err error) {
	c.ValueMatch = m
	if m.String != nil {
		s, err := compileString(m.String)
		if err != nil {
			return c, err
		}
		c.text = &s
	}
	if m.OneOf != nil {
		in, err := compileValue(m.OneOf)
		if err != nil {
			return c, err
		}
		c.oneOf = &in
	}
	for i := range m.AnyOf {
		in, err := compileValue(&m.AnyOf[i])
		if err != nil {
			return c, err
		}
		c.anyOf = append(c.anyOf, in)
	}
	return c, nil
}

func (m *valueMatcher) matches(v any) bool {
	switch {
	case m.Null:
		return v == nil
	case m.text != nil:
		s, ok := v.(string)
		return ok && m.text.matches(s)
	case m.Bool != nil:
		b, ok := v.(bool)
		return ok && b == *m.Bool
	case m.Number != nil:
		n, ok := number(v)
		return ok && n == *m.Number
	case m.Numbers != nil:
		n, ok := number(v)
		return ok && m.Numbers[0] <= n && n < m.Numbers[1]
	case m.Present:
		return v != nil
	case m.oneOf != nil:
		list, ok := v.([]any)
		return ok && slices.ContainsFunc(list, m.oneOf.matches)
	}
	return slices.ContainsFunc(m.anyOf, func(c valueMatcher) bool { return c.matches(v) })
}

// stateMatcher is a compiled StateMatch.
type stateMatcher struct {
	*StateMatch
	value stringMatcher
}

func compileStates(ms []StateMatch) ([]stateMatcher, error) {
	var out []stateMatcher
	for i := range ms {
		c := stateMatcher{StateMatch: &ms[i]}
		if c.Value != nil {
			var err error
			if c.value, err = compileString(c.Value); err != nil {
				return nil, fmt.Errorf("filter state %q: %w", c.Key, err)
			}
		}
		out = append(out, c)
	}
	return out, nil
}

func (m *stateMatcher) matches(r *Req) bool {
	v, ok := r.state(m.Key)
	if !ok {
		return false
	}
	if m.Value != nil {
		return m.value.matches(v)
	}
	a, err := netip.ParseAddr(v)
	if err != nil {
		ap, err := netip.ParseAddrPort(v)
		if err != nil {
			return false
		}
		a = ap.Addr()
	}
	return slices.ContainsFunc(m.Ranges, func(p netip.Prefix) bool { return p.Contains(a) }) != m.Outside
}

// state finds a string of filter state: the request's own, or the connection's.
func (r *Req) state(key string) (string, bool) {
	if r.Info != nil {
		if s, ok := r.Info.FilterState[key].(string); ok {
			return s, true
		}
	}
	if r.Conn == nil {
		return "", false
	}
	s, ok := r.Conn.State[key].(string)
	return s, ok
}

// number reads the kinds of numbers that filters put into metadata.
func number(v any) (float64, bool) {
	switch n := v.(type) {
	case float64:
		return n, true
	case int:
		return float64(n), true
	case int64:
		return float64(n), true
	case uint32:
		return float64(n), true
	case uint64:
		return float64(n), true
	}
	return 0, false
}

// matchesState tests cookies, metadata and filter state.
func (m *matcher) matchesState(h *filter.Headers, r *Req) bool {
	for i := range m.cookies {
		c := &m.cookies[i]
		if v, ok := cookie(h, c.name); (ok && c.value.matches(v)) == c.invert {
			return false
		}
	}
	for i := range m.metadata {
		if !m.metadata[i].matches(r.Info) {
			return false
		}
	}
	for i := range m.states {
		if !m.states[i].matches(r) {
			return false
		}
	}
	return true
}

// MetadataTest tests dynamic metadata, for others than routes.
type MetadataTest struct{ m metadataMatcher }

// NewMetadataTest compiles m.
func NewMetadataTest(m MetadataMatch) (MetadataTest, error) {
	c, err := compileOneMetadata(&m)
	return MetadataTest{c}, err
}

// Matches tells whether the metadata passes; found: there is such a value.
func (t *MetadataTest) Matches(info *filter.Info) (ok, found bool) {
	v, found := metadataOf(info, t.m.filter, t.m.path)
	return t.m.value.matches(v) != t.m.invert, found
}
