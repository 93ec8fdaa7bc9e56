package scope

import (
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/control/model"
)

// places are where the services of a namespace's view are, by host.
type places struct {
	singles map[netip.Addr][]string
	// ranges are services with prefixes, anywhere those without any address.
	ranges   []inRange
	anywhere []string
}

type inRange struct {
	prefix netip.Prefix
	host   string
}

func (v *View) places() *places {
	type key struct{ namespace string }
	namespace := v.Proxy.Namespace()
	return v.Index.Lasting(key{namespace}, func() any {
		out := &places{singles: map[netip.Addr][]string{}}
		for _, s := range v.Index.visible(namespace) {
			for _, p := range s.VIPs {
				if p.IsSingleIP() {
					out.singles[p.Addr()] = append(out.singles[p.Addr()], s.Host)
				} else {
					out.ranges = append(out.ranges, inRange{p, s.Host})
				}
			}
			if len(s.VIPs) == 0 && s.FromEntry {
				out.anywhere = append(out.anywhere, s.Host)
			}
		}
		return out
	}).(*places)
}

// ByAddress returns the visible services that have an address for themselves,
// sorted by host.
func (v *View) ByAddress(a netip.Addr) []*model.Service { return v.visibleOf(v.places().singles[a]) }

// ByPlace returns the visible services that a connection may be meant for: those
// that have the address for themselves, then those with a range around it, then
// those without any address.
func (v *View) ByPlace(a netip.Addr) []*model.Service {
	p := v.places()
	hosts := slices.Clone(p.singles[a])
	for _, r := range p.ranges {
		if r.prefix.Contains(a) {
			hosts = append(hosts, r.host)
		}
	}
	return v.visibleOf(append(hosts, p.anywhere...))
}

// visibleOf looks services up by name: under a Change another object has it.
func (v *View) visibleOf(hosts []string) []*model.Service {
	var out []*model.Service
	for _, h := range hosts {
		if s := v.Service(h); s != nil {
			out = append(out, s)
		}
	}
	return out
}
