package snapshot

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
)

// Ranges of allocated addresses: Kubernetes' usual service network for
// Services, Istio's for ServiceEntries. The first 256 of each are left for
// addresses that people choose (a DNS server at 10.96.0.10).
var (
	serviceRange4 = netip.MustParsePrefix("10.96.0.0/16")
	serviceRange6 = netip.MustParsePrefix("fd00:10:96::/112")
	entryRange4   = netip.MustParsePrefix("240.240.0.0/16")
	entryRange6   = netip.MustParsePrefix("2001:2::/112")
)

const firstHost, lastHost = 256, 65534

// allocator gives services addresses: deterministic by the hash of the
// service's name, the next free one on collision. A service keeps its addresses
// as long as it is there.
type allocator struct {
	families []int
	byKey    map[model.Key]allocation
	taken    map[netip.Addr]model.Key
	counter  uint64
}

type allocation struct {
	vips       []netip.Prefix
	families   []int
	generation uint64
}

func newAllocator(families []int) *allocator {
	if len(families) == 0 {
		families = []int{4, 6}
	}
	return &allocator{families: families, byKey: map[model.Key]allocation{}, taken: map[netip.Addr]model.Key{}}
}

func (a *allocator) of(k model.Key) []netip.Prefix { return a.byKey[k].vips }

// generation changes when the service's addresses do.
func (a *allocator) generation(k model.Key) uint64 { return a.byKey[k].generation }

// needs tells whether the mesh has to find addresses for a service: one with
// none of its own whose name clients resolve to the service, not its endpoints.
func needs(s *model.Service) bool {
	if len(s.VIPs) > 0 || s.Headless || s.ExternalName != "" {
		return false
	}
	return !s.FromEntry || s.Resolution != model.Passthrough && !strings.HasPrefix(s.Host, "*")
}

// allocate brings the allocations up to date with the services.
func (m *merger) allocate(force bool) {
	if !force && !m.touched(model.KindService, model.KindServiceEntry) {
		return
	}
	var services []*model.Service
	for _, kind := range []model.Kind{model.KindService, model.KindServiceEntry} {
		for _, o := range m.kinds[kind] {
			services = append(services, o.(*model.Service))
		}
	}
	slices.SortFunc(services, func(a, b *model.Service) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	m.vips.update(services)
}

func (a *allocator) update(services []*model.Service) {
	written := map[netip.Addr]bool{}
	wanted := map[model.Key]*model.Service{}
	for _, s := range services {
		for _, p := range s.VIPs {
			written[p.Addr()] = true
		}
		if needs(s) {
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
	}
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
	base := serviceRange4
	switch {
	case s.FromEntry && family == 6:
		base = entryRange6
	case s.FromEntry:
		base = entryRange4
	case family == 6:
		base = serviceRange6
	}
	const size = lastHost - firstHost + 1
	start := sum(s.Namespace+"/"+s.Host) % size
	for i := range uint64(size) {
		ip := nth(base.Addr(), uint16(firstHost+(start+i)%size))
		if _, used := a.taken[ip]; !used && !written[ip] {
			return ip
		}
	}
	return netip.Addr{}
}

// nth puts n into the last 16 bits of an address.
func nth(base netip.Addr, n uint16) netip.Addr {
	raw := base.AsSlice()
	binary.BigEndian.PutUint16(raw[len(raw)-2:], n)
	ip, _ := netip.AddrFromSlice(raw)
	return ip
}
