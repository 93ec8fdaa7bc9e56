package listener

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/weftmesh/weft/proxy/filter"
)

// update is one Update at work. The manager's mu is held.
type update struct {
	m    *Manager
	old  *table
	next *table
	// wanted are the sockets of next.
	wanted map[socketKey]*active
	errs   []error
	// kept are chains that go on as those are configured beside them.
	kept []successor
}

// successor is a chain that stays, and what it is to do from now on.
type successor struct {
	chain *chain
	to    *FilterChain
}

// Adopter is a Terminal that can do what another of its kind was configured to do, without its connections noticing: what a
// FilterChain's Version need not tell apart. false: other is of another kind.
type Adopter interface {
	Adopt(other filter.Terminal) bool
}

// add takes one listener into the next table, or its predecessor.
func (u *update) add(l *Listener) {
	if _, twice := u.next.byName[l.Name]; twice {
		u.errs = append(u.errs, &Error{l.Name, errors.New("there are two of that name")})
		return
	}
	err := u.try(l)
	if err == nil {
		return
	}
	u.errs = append(u.errs, &Error{l.Name, err})
	if old := u.old.byName[l.Name]; old != nil {
		if err := u.enter(old); err != nil {
			u.errs = append(u.errs, &Error{l.Name, fmt.Errorf("and its last good version has lost its address: %w", err)})
		}
	}
}

func (u *update) try(l *Listener) error {
	a, err := u.compile(l)
	if err != nil {
		return err
	}
	return u.enter(a)
}

// compile makes a listener work, with the chains of its predecessor where they
// did not change.
func (u *update) compile(l *Listener) (*active, error) {
	if len(l.Addresses) == 0 && !l.Internal {
		return nil, errors.New("no address")
	}
	stats := u.m.stats[l.Name]
	if stats == nil {
		stats = &Stats{}
		u.m.stats[l.Name] = stats
	}
	old := u.old.byName[l.Name]
	a := &active{Listener: l, stats: stats, udp: old.keepUDP(l.UDP)}
	var matched []*chain
	for _, fc := range l.Chains {
		if fc.Terminal == nil {
			return nil, fmt.Errorf("filter chain %q has no terminal filter", fc.Name)
		}
		matched = append(matched, u.keep(old, fc, stats))
	}
	var err error
	if l.Matcher != nil {
		a.byName = map[string]*chain{}
		for _, c := range matched {
			a.byName[c.Name] = c
		}
	} else if a.tree, err = newTree(matched); err != nil {
		return nil, err
	}
	a.chains = matched
	if l.Default != nil {
		if l.Default.Terminal == nil {
			return nil, errors.New("the default filter chain has no terminal filter")
		}
		a.fallback = u.keep(old, l.Default, stats)
		a.chains = append(a.chains[:len(a.chains):len(a.chains)], a.fallback)
	}
	return a, nil
}

// keep returns the chain that already does what fc says, or a new one.
func (a *active) keep(fc *FilterChain, stats *Stats) *chain {
	if a != nil && fc.Version != "" {
		for _, c := range a.chains {
			if c.Name == fc.Name && c.Version == fc.Version && !c.isDraining() {
				return c
			}
		}
	}
	return newChain(fc, stats)
}

// keep is active.keep for the update.
func (u *update) keep(old *active, fc *FilterChain, stats *Stats) *chain {
	c := old.keep(fc, stats)
	if c.FilterChain != fc {
		u.kept = append(u.kept, successor{c, fc})
	}
	return c
}

// enter gives a listener its addresses: all or none.
func (u *update) enter(a *active) error {
	var fresh []*socket
	var packets []*packetSocket
	fail := func(err error) error {
		for _, s := range fresh {
			s.ln.Close()
		}
		for _, s := range packets {
			s.sock.Close()
		}
		return err
	}
	for _, addr := range a.Addresses {
		if addr.Path == "" && !addr.UDP {
			if other := u.next.byAddr[addr.Addr]; other != nil && other.Virtual == a.Virtual {
				return fail(fmt.Errorf("address %s is already that of listener %q", addr, other.Name))
			}
		}
		if a.Virtual {
			continue
		}
		key := a.key(addr)
		if other := u.wanted[key]; other != nil {
			return fail(fmt.Errorf("address %s is already that of listener %q", addr, other.Name))
		}
		if u.m.sockets[key] != nil || u.m.packets[key] != nil || u.m.drained.covers(a.Listener) {
			continue
		}
		u.makeRoom(key)
		if addr.UDP {
			s, err := u.m.openPacket(a.Listener, addr)
			if err != nil {
				return fail(err)
			}
			packets = append(packets, s)
			continue
		}
		s, err := u.m.open(a.Listener, addr)
		if err != nil {
			return fail(err)
		}
		fresh = append(fresh, s)
	}
	for _, s := range fresh {
		u.m.sockets[s.key] = s
	}
	for _, s := range packets {
		u.m.packets[s.key] = s
	}
	u.next.list = append(u.next.list, a)
	u.next.byName[a.Name] = a
	for _, addr := range a.Addresses {
		if !a.Virtual {
			u.wanted[a.key(addr)] = a
		}
		if addr.Path == "" && !addr.UDP {
			u.byAddr(addr.Addr, a)
		}
	}
	return nil
}

// byAddr enters an address; a virtual listener goes before one with a socket.
func (u *update) byAddr(addr netip.AddrPort, a *active) {
	if old := u.next.byAddr[addr]; old == nil || a.Virtual {
		u.next.byAddr[addr] = a
	}
}

// makeRoom closes sockets on the same address that nobody wants any more, or
// not with these options.
func (u *update) makeRoom(key socketKey) {
	for k, s := range u.m.sockets {
		if k.Address == key.Address && k != key && u.wanted[k] == nil {
			s.ln.Close()
			delete(u.m.sockets, k)
		}
	}
	for k, s := range u.m.packets {
		if k.Address == key.Address && k != key && u.wanted[k] == nil {
			s.sock.Close()
			delete(u.m.packets, k)
		}
	}
}

// commit makes the next table that in effect.
func (u *update) commit() {
	m := u.m
	for key, a := range u.wanted {
		if s := m.sockets[key]; s != nil {
			s.listener.Store(a)
		}
	}
	m.table.Store(u.next)
	for _, s := range u.kept {
		if a, ok := s.chain.Terminal.(Adopter); ok {
			a.Adopt(s.to.Terminal)
		}
	}
	for key, s := range m.sockets {
		if u.wanted[key] != nil {
			m.run(s)
			continue
		}
		s.ln.Close()
		delete(m.sockets, key)
	}
	u.commitUDP()
	kept := map[*chain]bool{}
	for _, a := range u.next.list {
		for _, c := range a.chains {
			kept[c] = true
		}
	}
	for _, a := range u.old.list {
		for _, c := range a.chains {
			if !kept[c] {
				m.leave(c, m.drainTime)
			}
		}
	}
}
