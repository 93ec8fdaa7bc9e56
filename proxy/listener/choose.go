package listener

import (
	"errors"
	"net/netip"
	"slices"
)

// Choose returns the filter chain that the listener has for a connection, by the
// code that connections go through; nil: it closes them. It is for those who ask what
// would happen, and compiles the listener anew each time.
func (l *Listener) Choose(f *Facts) (*FilterChain, error) {
	if l.Matcher != nil {
		return nil, errors.New("listener " + l.Name + " chooses by a matcher, which cannot be asked")
	}
	var chains []*chain
	for _, c := range l.Chains {
		chains = append(chains, newChain(c, &Stats{}))
	}
	t, err := newTree(chains)
	if err != nil {
		return nil, err
	}
	if c := t.find(f); c != nil {
		return c.FilterChain, nil
	}
	return l.Default, nil
}

// Redirected returns the listener of some to which another one hands a connection
// for an original destination; the latter itself when none is for it.
func Redirected(all []*Listener, to *Listener, dst netip.AddrPort) *Listener {
	t := &table{byAddr: map[netip.AddrPort]*active{}}
	for _, l := range all {
		for _, a := range l.Addresses {
			if !a.UDP && a.Addr.IsValid() {
				t.byAddr[a.Addr] = &active{Listener: l}
			}
		}
	}
	if !to.UseOriginalDst {
		return to
	}
	if l := t.find(dst); l != nil {
		return l.Listener
	}
	return to
}

// Listening returns the listener of some that has a port of its own; nil: none has.
func Listening(all []*Listener, port uint16) *Listener {
	i := slices.IndexFunc(all, func(l *Listener) bool {
		return !l.Virtual && slices.ContainsFunc(l.Addresses, func(a Address) bool { return !a.UDP && a.Addr.Port() == port })
	})
	if i < 0 {
		return nil
	}
	return all[i]
}
