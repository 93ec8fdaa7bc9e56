package listener

import (
	"net/netip"
	"slices"
	"strings"
)

// Matcher chooses a chain by name (Envoy's filter_chain_matcher); false: none. It
// is immutable and takes the place of the chains' own criteria.
type Matcher interface {
	Choose(f *Facts) (chain string, ok bool)
}

// Input is a text that is known of a connection; false: it is not known.
type Input func(f *Facts) (string, bool)

// Chain is the end of the choice.
type Chain string

// Choose implements Matcher.
func (c Chain) Choose(*Facts) (string, bool) { return string(c), true }

// OneOf tries matchers in order. What leads to no chain is passed over.
type OneOf []Matcher

// Choose implements Matcher.
func (o OneOf) Choose(f *Facts) (string, bool) {
	for _, m := range o {
		if c, ok := m.Choose(f); ok {
			return c, true
		}
	}
	return "", false
}

// When goes on where a condition holds.
type When struct {
	If   func(*Facts) bool
	Then Matcher
}

// Choose implements Matcher.
func (w When) Choose(f *Facts) (string, bool) {
	if !w.If(f) {
		return "", false
	}
	return w.Then.Choose(f)
}

// ByText goes on by a text: the whole of it, or with Prefix the longest beginning
// that leads to a chain.
type ByText struct {
	Input  Input
	Map    map[string]Matcher
	Prefix bool
}

// Choose implements Matcher.
func (b *ByText) Choose(f *Facts) (string, bool) {
	s, ok := b.Input(f)
	if !ok {
		return "", false
	}
	if !b.Prefix {
		if m := b.Map[s]; m != nil {
			return m.Choose(f)
		}
		return "", false
	}
	for n := len(s); n >= 0; n-- {
		if m := b.Map[s[:n]]; m != nil {
			if c, ok := m.Choose(f); ok {
				return c, true
			}
		}
	}
	return "", false
}

// ByName goes on by a server name: the whole of it, then "*.suffix", the longest
// first, then "*".
type ByName struct {
	Input Input
	Map   map[string]Matcher
}

// Choose implements Matcher.
func (b *ByName) Choose(f *Facts) (string, bool) {
	s, ok := b.Input(f)
	if !ok {
		return "", false
	}
	s = strings.ToLower(s)
	if m := b.Map[s]; m != nil {
		if c, ok := m.Choose(f); ok {
			return c, true
		}
	}
	for rest := s; rest != ""; {
		i := strings.IndexByte(rest, '.')
		if i < 0 {
			break
		}
		rest = rest[i+1:]
		if m := b.Map["*."+rest]; m != nil {
			if c, ok := m.Choose(f); ok {
				return c, true
			}
		}
	}
	if m := b.Map["*"]; m != nil {
		return m.Choose(f)
	}
	return "", false
}

// Range is where a range of addresses leads. Exclusive: only as the narrowest one.
type Range struct {
	Prefix    netip.Prefix
	Then      Matcher
	Exclusive bool
}

// ByAddress goes on by an address, in the narrowest range that leads to a chain.
type ByAddress struct {
	input  Input
	ranges []Range
}

// NewByAddress sorts the ranges.
func NewByAddress(in Input, ranges []Range) *ByAddress {
	b := &ByAddress{in, slices.Clone(ranges)}
	slices.SortStableFunc(b.ranges, func(x, y Range) int { return y.Prefix.Bits() - x.Prefix.Bits() })
	return b
}

// Choose implements Matcher.
func (b *ByAddress) Choose(f *Facts) (string, bool) {
	s, ok := b.input(f)
	if !ok {
		return "", false
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return "", false
	}
	narrowest := true
	for i := range b.ranges {
		r := &b.ranges[i]
		if !r.Prefix.Contains(a) || r.Exclusive && !narrowest {
			continue
		}
		narrowest = false
		if c, ok := r.Then.Choose(f); ok {
			return c, true
		}
	}
	return "", false
}

// IsLocal tells whether a connection comes from the same machine.
func (f *Facts) IsLocal() bool { return isLocal(f) }
