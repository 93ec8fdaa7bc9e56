package snapshot

import (
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/control/model"
)

// Make makes the snapshot of what some sources say, at once: what a Publisher that
// has heard these deltas, and no others, publishes. addresses are those that
// services have been given before; they keep them as long as a Publisher would
// leave them theirs.
func Make(opts Options, addresses map[model.Key][]netip.Prefix, deltas ...model.Delta) *model.Snapshot {
	m := newMerger(opts)
	m.vips.restore(addresses)
	for _, d := range deltas {
		m.apply(d)
	}
	return m.snapshot(nil)
}

// Allocated are the addresses that a snapshot's services were given.
func Allocated(s *model.Snapshot) map[model.Key][]netip.Prefix {
	out := map[model.Key][]netip.Prefix{}
	for _, svc := range s.Services {
		if svc.AutoVIP {
			out[svc.Key] = svc.VIPs
		}
	}
	return out
}

// restore takes over allocations that were made before, as far as they are of the
// present range.
func (a *allocator) restore(addresses map[model.Key][]netip.Prefix) {
	for k, vips := range addresses {
		if slices.ContainsFunc(vips, func(p netip.Prefix) bool { return !a.inRange(p) || a.taken[p.Addr()] != model.Key{} }) {
			continue
		}
		a.counter++
		al := allocation{vips: vips, generation: a.counter}
		for _, p := range vips {
			al.families = append(al.families, familyOf(p.Addr()))
			a.taken[p.Addr()] = k
		}
		a.byKey[k] = al
	}
}
