package listener

import (
	"net/netip"
	"slices"
)

// Choose returns the filter chain that the listener has for a connection, by the
// code that connections go through; nil: it closes them. Of what the client says only
// that counts which the listener looks for at the port. It is for those who ask what
// would happen, and compiles the listener anew each time.
func (l *Listener) Choose(f *Facts) (*FilterChain, error) {
	seen := l.seen(f)
	a := &active{Listener: l, byName: map[string]*chain{}}
	var chains []*chain
	for _, fc := range l.Chains {
		c := newChain(fc, &Stats{})
		chains, a.byName[fc.Name] = append(chains, c), c
	}
	if l.Default != nil {
		a.fallback = newChain(l.Default, &Stats{})
	}
	if l.Matcher == nil {
		var err error
		if a.tree, err = newTree(chains); err != nil {
			return nil, err
		}
	}
	if c := a.find(seen); c != nil {
		return c.FilterChain, nil
	}
	return nil, nil
}

// seen are facts without those that no inspector is there to find.
func (l *Listener) seen(f *Facts) *Facts {
	var tls, http bool
	for _, in := range l.Inspectors {
		if !in.Disabled.Match(f.Local.Port()) {
			tls, http = tls || in.Kind == TLSInspector || in.MayLook, http || in.Kind == HTTPInspector || in.MayLook
		}
	}
	out := *f
	if f.TLS && !tls {
		out.TLS, out.SNI, out.ALPN = false, "", nil
	}
	if !f.TLS && !http {
		out.ALPN = nil
	}
	return &out
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
