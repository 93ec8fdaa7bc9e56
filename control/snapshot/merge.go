package snapshot

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
)

// merger holds what the sources have said. It is used by one goroutine.
type merger struct {
	opts     Options
	order    []string // of sources, the winning one first
	bySource map[string]map[model.Key]model.Object
	findings map[string][]model.Finding
	kinds    map[model.Kind]map[model.Key]model.Object // the winners
	dirty    map[model.Kind]bool                       // content changed
	stale    map[model.Kind]bool                       // only places changed
	news     bool                                      // findings changed
	why      []string

	mesh    *model.Mesh
	derived map[model.Key]derivation
	vips    *allocator
}

// derivation remembers what was made of an object, so that the same is the
// same pointer again.
type derivation struct {
	from, to model.Object
	mesh     *model.Mesh
	alloc    uint64 // generation of the service's allocation
}

func newMerger(opts Options) *merger {
	return &merger{
		opts: opts, order: slices.Clone(opts.Sources),
		bySource: map[string]map[model.Key]model.Object{}, findings: map[string][]model.Finding{},
		kinds: map[model.Kind]map[model.Key]model.Object{}, dirty: map[model.Kind]bool{}, stale: map[model.Kind]bool{},
		derived: map[model.Key]derivation{}, vips: newAllocator(opts.Families),
	}
}

// apply takes in one delta.
func (m *merger) apply(d model.Delta) {
	mine := m.bySource[d.Source]
	if mine == nil {
		mine = map[model.Key]model.Object{}
		m.bySource[d.Source] = mine
		if !slices.Contains(m.order, d.Source) {
			m.order = append(m.order, d.Source)
		}
	}
	if d.Full {
		named := make(map[model.Key]bool, len(d.Upserts))
		for _, o := range d.Upserts {
			named[o.Head().Key] = true
		}
		for k := range mine {
			if !named[k] {
				delete(mine, k)
				m.elect(k)
			}
		}
	}
	for _, k := range d.Deletes {
		delete(mine, k)
		m.elect(k)
	}
	for _, o := range d.Upserts {
		mine[o.Head().Key] = o
		m.elect(o.Head().Key)
	}
	if !slices.Equal(m.findings[d.Source], d.Findings) {
		m.findings[d.Source] = d.Findings
		m.news = true
	}
	if d.Why != "" && !slices.Contains(m.why, d.Why) {
		m.why = append(m.why, d.Why)
	}
}

// elect puts the winning source's version of an object in force.
func (m *merger) elect(k model.Key) {
	var now model.Object
	for _, s := range m.order {
		if o := m.bySource[s][k]; o != nil {
			now = o
			break
		}
	}
	all := m.kinds[k.Kind]
	old := all[k]
	switch {
	case now == old:
		return
	case now == nil:
		delete(all, k)
		delete(m.derived, k)
		m.dirty[k.Kind] = true
		return
	case all == nil:
		all = map[model.Key]model.Object{}
		m.kinds[k.Kind] = all
	}
	all[k] = now
	if old == nil || old.Head().Hash != now.Head().Hash {
		m.dirty[k.Kind] = true
	} else {
		m.stale[k.Kind] = true
	}
}

// snapshot makes the next snapshot; nil when nothing is different from last.
func (m *merger) snapshot(last *model.Snapshot) *model.Snapshot {
	if last != nil && len(m.dirty) == 0 && !m.news {
		if len(m.stale) == 0 {
			m.why = nil
		}
		return nil
	}
	s := &model.Snapshot{Version: 1, Why: m.why}
	if last != nil {
		s.Version = last.Version + 1
	}
	m.chooseMesh()
	s.Mesh = m.mesh
	m.fill(s, last)
	s.Objects = m.objects(last)
	for _, src := range m.order {
		s.Findings = append(s.Findings, m.findings[src]...)
	}
	s.Findings = append(s.Findings, m.overlaps()...)
	if m.opts.Check != nil {
		s.Findings = append(s.Findings, m.opts.Check(s)...)
	}
	slices.SortStableFunc(s.Findings, func(a, b model.Finding) int {
		return cmp.Or(strings.Compare(a.Origin.File, b.Origin.File), a.Origin.Line-b.Origin.Line, strings.Compare(a.Field, b.Field))
	})
	clear(m.dirty)
	clear(m.stale)
	m.news, m.why = false, nil
	return s
}

// chooseMesh picks the mesh configuration in force: the ConfigMap "weft", else
// "istio", else any, else the defaults.
func (m *merger) chooseMesh() {
	if m.mesh != nil && !m.touched(model.KindMeshConfig) {
		return
	}
	var all []*model.Mesh
	for _, o := range m.kinds[model.KindMeshConfig] {
		all = append(all, o.(*model.Mesh))
	}
	if len(all) == 0 {
		m.mesh = model.DefaultMesh()
		return
	}
	rank := map[string]int{"weft": -2, "istio": -1}
	slices.SortFunc(all, func(a, b *model.Mesh) int {
		return cmp.Or(rank[a.Key.Name]-rank[b.Key.Name], strings.Compare(a.Key.String(), b.Key.String()))
	})
	m.mesh = all[0]
}

func (m *merger) touched(kinds ...model.Kind) bool {
	for _, k := range kinds {
		if m.dirty[k] || m.stale[k] {
			return true
		}
	}
	return false
}

// objects is the map of everything; copied only when something moved.
func (m *merger) objects(last *model.Snapshot) map[model.Key]model.Object {
	if last != nil && len(m.dirty)+len(m.stale) == 0 {
		return last.Objects
	}
	out := make(map[model.Key]model.Object, 64)
	for _, all := range m.kinds {
		maps.Copy(out, all)
	}
	for k, d := range m.derived {
		out[k] = d.to
	}
	return out
}

// overlaps names objects that more than one source has.
func (m *merger) overlaps() []model.Finding {
	var out []model.Finding
	for i, s := range m.order {
		for _, later := range m.order[i+1:] {
			for k, o := range m.bySource[later] {
				if first := m.bySource[s][k]; first != nil {
					out = append(out, model.Finding{
						Code: "WEFT0109", Severity: model.Warning, Object: k, Origin: o.Head().Origin,
						Message: "is there twice: " + first.Head().Origin.String() + " has it too, which is used", Remedy: "remove one",
					})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b model.Finding) int { return strings.Compare(a.Object.String(), b.Object.String()) })
	return out
}
