package snapshot

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/wire"
)

// few hosts at the beginning of a range are left for addresses that people choose (a
// DNS server at 10.96.0.10), unless it is small.
const (
	chosen = 256
	small  = 1 << 12
)

// allocator gives services addresses: deterministic by the hash of the
// service's name, the next free one on collision. A service keeps its addresses
// as long as it is there.
type allocator struct {
	families []int
	ranges   wire.VIPRange
	// every: all services get one, also those that have others.
	every   bool
	book    *Book
	byKey   map[model.Key]allocation
	taken   map[netip.Addr]model.Key
	counter uint64
}

type allocation struct {
	vips       []netip.Prefix
	families   []int
	generation uint64
}

func newAllocator(o Addresses) *allocator {
	a := &allocator{families: o.Families, ranges: o.Range, every: o.Captured, book: o.Book, byKey: map[model.Key]allocation{}, taken: map[netip.Addr]model.Key{}}
	if len(a.families) == 0 {
		a.families = []int{4, 6}
	}
	if len(a.ranges.Prefixes()) == 0 {
		a.ranges = wire.DefaultVIPRange()
	}
	a.families = slices.DeleteFunc(slices.Clone(a.families), func(f int) bool {
		return !slices.ContainsFunc(a.ranges.Prefixes(), func(p netip.Prefix) bool { return familyOf(p.Addr()) == f })
	})
	return a
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return 4
	}
	return 6
}

func (a *allocator) of(k model.Key) []netip.Prefix { return a.byKey[k].vips }

// generation changes when the service's addresses do.
func (a *allocator) generation(k model.Key) uint64 { return a.byKey[k].generation }

// needs tells whether the mesh has to find addresses for a service: one with
// none of its own whose name clients resolve to the service, not its endpoints.
func (a *allocator) needs(s *model.Service) bool {
	if a.every {
		return canHave(s) && !slices.ContainsFunc(s.VIPs, a.inRange)
	}
	if len(s.VIPs) > 0 || s.Headless || s.ExternalName != "" {
		return false
	}
	return !s.FromEntry || s.Resolution != model.Passthrough && !strings.HasPrefix(s.Host, "*")
}

// canHave tells whether an address can stand for a service where every service is to
// have one: not for an alias, nor for an entry whose traffic goes on to whatever address
// the client has found, unless its host is a name that can be found again.
func canHave(s *model.Service) bool {
	if s.ExternalName != "" {
		return false
	}
	return !s.FromEntry || s.Resolution != model.Passthrough || len(s.VIPs) == 0 && !strings.HasPrefix(s.Host, "*")
}

func (a *allocator) inRange(p netip.Prefix) bool {
	return p.IsSingleIP() && slices.ContainsFunc(a.ranges.Prefixes(), func(r netip.Prefix) bool { return r.Contains(p.Addr()) })
}

// captured is the range, where no other traffic is captured.
func (a *allocator) captured() []netip.Prefix {
	if !a.every {
		return nil
	}
	return slices.DeleteFunc(a.ranges.Prefixes(), func(p netip.Prefix) bool { return !slices.Contains(a.families, familyOf(p.Addr())) })
}

// within makes of a service one that is reached by its addresses in the range only.
// Who goes to the endpoints of a headless service, or to what an outside name resolves
// to, would get past the sidecar: the address stands for these too.
func (a *allocator) within(s *model.Service, written []netip.Prefix) {
	s.VIPs = slices.DeleteFunc(slices.Clone(s.VIPs), func(p netip.Prefix) bool { return !a.inRange(p) })
	s.Elsewhere = slices.DeleteFunc(slices.Clone(written), a.inRange)
	if s.Headless || s.Resolution == model.Passthrough {
		s.Headless, s.Resolution = false, model.ByWorkloads
		if s.FromEntry {
			s.Resolution = model.ByDNS
		}
		s.Hash ^= sum("by its address")
	}
}

// allocate brings the allocations up to date with the services.
func (m *merger) allocate(force bool) {
	if !force && !m.allocates() {
		return
	}
	var services []*model.Service
	for _, kind := range []model.Kind{model.KindService, model.KindServiceEntry} {
		for _, o := range m.kinds[kind] {
			services = append(services, o.(*model.Service))
		}
	}
	services = append(services, m.instances...)
	slices.SortFunc(services, func(a, b *model.Service) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	for _, k := range m.vips.update(services) {
		if m.kinds[k.Kind][k] == nil {
			continue // an instance, which is no object
		}
		// It is another object now, although nobody has sent one.
		if _, noted := m.changed[k]; !noted {
			m.changed[k] = m.kinds[k.Kind][k]
		}
		m.dirty[k.Kind] = true
	}
}

// allocates tells whether a service has changed in what its addresses depend on.
func (m *merger) allocates() bool {
	for k, old := range m.changed {
		if k.Kind != model.KindService && k.Kind != model.KindServiceEntry {
			continue
		}
		a, _ := old.(*model.Service)
		b, _ := m.kinds[k.Kind][k].(*model.Service)
		if a == nil || b == nil || m.vips.needs(a) != m.vips.needs(b) || !slices.Equal(a.VIPs, b.VIPs) || !slices.Equal(a.Families, b.Families) ||
			a.FromEntry != b.FromEntry || a.Namespace != b.Namespace || a.Host != b.Host {
			return true
		}
	}
	return false
}

// update allocates and frees, and returns the services whose addresses are others
// than before.
func (a *allocator) update(services []*model.Service) (moved []model.Key) {
	written := map[netip.Addr]bool{}
	wanted := map[model.Key]*model.Service{}
	for _, s := range services {
		for _, p := range s.VIPs {
			written[p.Addr()] = true
		}
		if a.needs(s) {
			wanted[s.Key] = s
		}
	}
	for k, al := range a.byKey {
		s := wanted[k]
		clash := slices.ContainsFunc(al.vips, func(p netip.Prefix) bool { return written[p.Addr()] })
		if s == nil || clash || !slices.Equal(al.families, a.familiesOf(s)) {
			for _, p := range al.vips {
				delete(a.taken, p.Addr())
			}
			delete(a.byKey, k)
			if s != nil {
				moved = append(moved, k)
			}
		}
	}
	for _, s := range services {
		if _, has := a.byKey[s.Key]; has || wanted[s.Key] == nil {
			continue
		}
		a.counter++
		al := allocation{families: a.familiesOf(s), generation: a.counter}
		for _, f := range al.families {
			if ip := a.find(s, f, written); ip.IsValid() {
				a.taken[ip] = s.Key
				al.vips = append(al.vips, netip.PrefixFrom(ip, ip.BitLen()))
			}
		}
		a.byKey[s.Key] = al
		moved = append(moved, s.Key)
	}
	if a.book != nil && len(moved) > 0 {
		a.book.note(a.byKey)
	}
	return moved
}

// familiesOf are the families that both the service and the mesh have.
func (a *allocator) familiesOf(s *model.Service) []int {
	if len(s.Families) == 0 {
		return a.families
	}
	var out []int
	for _, f := range s.Families {
		if slices.Contains(a.families, f) {
			out = append(out, f)
		}
	}
	if out == nil {
		return a.families
	}
	return out
}

// find returns a free address of the family; invalid when the range is full.
func (a *allocator) find(s *model.Service, family int, written map[netip.Addr]bool) netip.Addr {
	list := a.ranges.Services
	if s.FromEntry {
		list = a.ranges.Entries
	}
	i := slices.IndexFunc(list, func(p netip.Prefix) bool { return familyOf(p.Addr()) == family })
	if i < 0 {
		return netip.Addr{}
	}
	base := list[i].Addr()
	first, size := hosts(list[i])
	start := sum(s.Namespace+"/"+s.Host) % size
	for i := range size {
		ip := nth(base, uint32(first+(start+i)%size)) //nolint:gosec // hosts has at most 32 bits
		if _, used := a.taken[ip]; !used && !written[ip] {
			return ip
		}
	}
	return netip.Addr{}
}

// hosts are the numbers of the addresses of a range that are allocated: the first one,
// and how many there are. The last two are left.
func hosts(p netip.Prefix) (first, size uint64) {
	all := uint64(1) << min(32, p.Addr().BitLen()-p.Bits())
	if first = chosen; all < small {
		first = 1
	}
	return first, all - 1 - first
}

// nth puts n into the last 32 bits of an address, which are 0 as far as n goes.
func nth(base netip.Addr, n uint32) netip.Addr {
	raw := base.AsSlice()
	last := raw[len(raw)-4:]
	binary.BigEndian.PutUint32(last, binary.BigEndian.Uint32(last)|n)
	ip, _ := netip.AddrFromSlice(raw)
	return ip
}
