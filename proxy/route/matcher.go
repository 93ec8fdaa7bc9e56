package route

import (
	"slices"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/format"
)

// Matchers for filters, which match on the same things as routes do. They are
// immutable and allocate nothing but for joining repeated headers.

// Strings tests whether a string matches one of several patterns.
type Strings struct{ list []stringMatcher }

// NewStrings compiles ms.
func NewStrings(ms ...StringMatch) (Strings, error) {
	var out Strings
	for i := range ms {
		c, err := compileString(&ms[i])
		if err != nil {
			return Strings{}, err
		}
		out.list = append(out.list, c)
	}
	return out, nil
}

// Any tells whether s matches one of the patterns.
func (m *Strings) Any(s string) bool {
	return slices.ContainsFunc(m.list, func(c stringMatcher) bool { return c.matches(s) })
}

// HeaderTests tests the headers of a message.
type HeaderTests struct{ list []headerMatcher }

// NewHeaderTests compiles ms.
func NewHeaderTests(ms ...HeaderMatch) (HeaderTests, error) {
	list, err := compileHeaders(ms)
	return HeaderTests{list}, err
}

// All tells whether h passes every test.
func (m *HeaderTests) All(h *filter.Headers) bool {
	for i := range m.list {
		if !m.list[i].matches(h) {
			return false
		}
	}
	return true
}

// Chosen tells whether a uniformly random number falls into the share.
func (f *Fraction) Chosen(random uint64) bool { return f.chosen(random) }

// Never tells whether it is none at all, whatever the number.
func (f *Fraction) Never() bool { return f.Numerator == 0 && f.Key.Load() == nil }

// Check tells whether the denominator is one that there is.
func (f *Fraction) Check() error { return f.check() }

// HeaderChanges are compiled header operations.
type HeaderChanges struct{ ops headerOps }

// NewHeaderChanges compiles o.
func NewHeaderChanges(o HeaderOps, f format.Options) (*HeaderChanges, error) {
	ops, err := compileOps(&o, f)
	return &HeaderChanges{ops}, err
}

// Empty tells whether there are none.
func (c *HeaderChanges) Empty() bool { return c == nil || c.ops.empty() }

// Apply changes h; values are made of info. nil changes nothing.
func (c *HeaderChanges) Apply(h *filter.Headers, info *filter.Info) {
	if c != nil {
		c.ops.apply(h, info)
	}
}

// Matcher tests requests as a route does.
type Matcher struct{ m matcher }

// NewMatcher compiles m.
func NewMatcher(m Match) (*Matcher, error) {
	c, err := compileMatch(&m)
	return &Matcher{c}, err
}

// Matches tells whether a request fits.
func (m *Matcher) Matches(h *filter.Headers, r *Req) bool { return m.m.matches(h, pathOnly(h.Path), r) }
