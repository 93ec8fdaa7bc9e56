// Package choice carries out compiled matcher trees (xds.type.matcher.v3): what is
// known of a request, a connection or a datagram, F, leads to an action, T.
//
// Trees are immutable and safe for concurrent use. Choosing allocates only what
// an Input allocates to make its text. What leads to no action is passed over, and
// the next that could lead to one is tried, as Envoy does.
//
// The package knows no configuration (proxy/http/match reads it), and what the
// facts are is its users' business. There is no keep_matching: a choice is one action.
package choice

import (
	"net/netip"
	"slices"
	"strings"
)

// Tree leads to an action; ok is false where nothing matches.
type Tree[F, T any] interface {
	Choose(f F) (action T, ok bool)
}

// Input is a text that is known of F; false: it is not known.
type Input[F any] func(f F) (string, bool)

// Test is a condition.
type Test[F any] func(f F) bool

// Leaf is the end of a choice.
type Leaf[F, T any] struct{ Action T }

// Choose implements Tree.
func (l Leaf[F, T]) Choose(F) (T, bool) { return l.Action, true }

// First tries trees in order.
type First[F, T any] []Tree[F, T]

// Choose implements Tree.
func (o First[F, T]) Choose(f F) (none T, ok bool) {
	for _, t := range o {
		if a, ok := t.Choose(f); ok {
			return a, true
		}
	}
	return none, false
}

// When goes on where a condition holds.
type When[F, T any] struct {
	If   Test[F]
	Then Tree[F, T]
}

// Choose implements Tree.
func (w When[F, T]) Choose(f F) (none T, ok bool) {
	if !w.If(f) {
		return none, false
	}
	return w.Then.Choose(f)
}

// Exact goes on by the whole of a text.
type Exact[F, T any] struct {
	Input Input[F]
	Map   map[string]Tree[F, T]
}

// Choose implements Tree.
func (b *Exact[F, T]) Choose(f F) (none T, ok bool) {
	s, ok := b.Input(f)
	if !ok {
		return none, false
	}
	return follow(b.Map, s, f)
}

// follow goes on where a map has a text.
func follow[F, T any](m map[string]Tree[F, T], s string, f F) (none T, ok bool) {
	if t := m[s]; t != nil {
		return t.Choose(f)
	}
	return none, false
}

// Prefix goes on by the longest beginning of a text that leads to an action.
type Prefix[F, T any] struct {
	input   Input[F]
	of      map[string]Tree[F, T]
	longest int // length of the longest beginning
}

// NewPrefix goes on by beginnings, the keys of a map, which it keeps.
func NewPrefix[F, T any](in Input[F], of map[string]Tree[F, T]) *Prefix[F, T] {
	p := &Prefix[F, T]{input: in, of: of}
	for k := range of {
		p.longest = max(p.longest, len(k))
	}
	return p
}

// Choose implements Tree.
func (p *Prefix[F, T]) Choose(f F) (none T, ok bool) {
	s, ok := p.input(f)
	if !ok {
		return none, false
	}
	for n := min(p.longest, len(s)); n >= 0; n-- {
		if a, ok := follow(p.of, s[:n], f); ok {
			return a, true
		}
	}
	return none, false
}

// Name goes on by a host name: the whole of it, then "*.suffix", the longest first,
// then "*". The keys are in lower case.
type Name[F, T any] struct {
	Input Input[F]
	Map   map[string]Tree[F, T]
}

// Choose implements Tree.
func (b *Name[F, T]) Choose(f F) (none T, ok bool) {
	s, ok := b.Input(f)
	if !ok {
		return none, false
	}
	s = strings.ToLower(s)
	if a, ok := follow(b.Map, s, f); ok {
		return a, true
	}
	for i := strings.IndexByte(s, '.'); i >= 0; {
		if a, ok := b.under(s[i:], f); ok {
			return a, true
		}
		next := strings.IndexByte(s[i+1:], '.')
		if next < 0 {
			break
		}
		i += 1 + next
	}
	return follow(b.Map, "*", f)
}

// under goes on for the names below a suffix, which begins with a dot.
func (b *Name[F, T]) under(suffix string, f F) (none T, ok bool) {
	var buf [256]byte // a host name is not longer
	key := append(append(buf[:0], '*'), suffix...)
	if t := b.Map[string(key)]; t != nil {
		return t.Choose(f)
	}
	return none, false
}

// Network is where a range of addresses leads. Exclusive: only as the narrowest one.
type Network[F, T any] struct {
	Prefix    netip.Prefix
	Then      Tree[F, T]
	Exclusive bool
}

// Address goes on by an address, in the narrowest range that leads to an action.
type Address[F, T any] struct {
	input    Input[F]
	networks []Network[F, T] // the narrowest first
}

// NewAddress goes on by ranges of addresses, in any order.
func NewAddress[F, T any](in Input[F], networks []Network[F, T]) *Address[F, T] {
	b := &Address[F, T]{in, slices.Clone(networks)}
	slices.SortStableFunc(b.networks, func(x, y Network[F, T]) int { return y.Prefix.Bits() - x.Prefix.Bits() })
	return b
}

// Choose implements Tree.
func (b *Address[F, T]) Choose(f F) (none T, ok bool) {
	s, ok := b.input(f)
	if !ok {
		return none, false
	}
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return none, false
	}
	narrowest := true
	for i := range b.networks {
		n := &b.networks[i]
		if !n.Prefix.Contains(addr) || n.Exclusive && !narrowest {
			continue
		}
		narrowest = false
		if a, ok := n.Then.Choose(f); ok {
			return a, true
		}
	}
	return none, false
}

// All holds when every condition does.
func All[F any](list []Test[F]) Test[F] {
	return func(f F) bool {
		for _, t := range list {
			if !t(f) {
				return false
			}
		}
		return true
	}
}

// Some holds when one condition does.
func Some[F any](list []Test[F]) Test[F] {
	return func(f F) bool {
		for _, t := range list {
			if t(f) {
				return true
			}
		}
		return false
	}
}

// Not holds when a condition does not.
func Not[F any](t Test[F]) Test[F] { return func(f F) bool { return !t(f) } }
