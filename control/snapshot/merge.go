package snapshot

import (
	"cmp"
	"slices"
	"strings"

	"github.com/weftmesh/weft/base/cow"
	"github.com/weftmesh/weft/control/model"
)

// merger holds what the sources have said. It is used by one goroutine.
type merger struct {
	opts     Options
	order    []string // of sources, the winning one first
	bySource map[string]map[model.Key]model.Object
	findings map[string][]model.Finding
	kinds    map[model.Kind]map[model.Key]model.Object // the winners
	twice    map[model.Key]bool                        // that more than one source has
	changed  map[model.Key]model.Object                // since the last snapshot, and the winners then
	dirty    map[model.Kind]bool                       // content changed
	stale    map[model.Kind]bool                       // only places changed
	news     bool                                      // findings changed
	why      []string

	mesh    *model.Mesh
	derived map[model.Key]derivation
	vips    *allocator
	bonds   bonds
	// declared is another whenever a protocol of messages is.
	declared *declared
	// discovery is made with each mesh configuration; reselected: other namespaces may
	// count than in the last snapshot.
	discovery  *discovery
	reselected bool

	// attached is what the last Attach made; own are the sources' parts of the
	// slices that it adds to.
	attached *model.APIOutcome
	own      struct {
		routes   []*model.RouteSet
		gateways []*model.Gateway
		policies []*model.TrafficPolicySet
		services []*model.Service
	}
	// instances stand for those of headless services, where these have addresses.
	instances []*model.Service
}

// derivation remembers what was made of an object, so that the same is the
// same pointer again.
type derivation struct {
	from, to model.Object
	mesh     *model.Mesh
	alloc    uint64 // generation of the service's allocation
	turn     uint64 // of what it takes from others
	declared *declared
}

func newMerger(opts Options) *merger {
	m := &merger{
		opts: opts, order: slices.Clone(opts.Sources),
		bySource: map[string]map[model.Key]model.Object{}, findings: map[string][]model.Finding{},
		kinds: map[model.Kind]map[model.Key]model.Object{}, twice: map[model.Key]bool{}, changed: map[model.Key]model.Object{}, dirty: map[model.Kind]bool{}, stale: map[model.Kind]bool{},
		derived: map[model.Key]derivation{}, vips: newAllocator(opts.Addresses), bonds: newBonds(),
	}
	if opts.Book != nil {
		m.vips.restore(opts.Book.allocated())
	}
	return m
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
	changes := false
	if d.Full {
		named := make(map[model.Key]bool, len(d.Upserts))
		for _, o := range d.Upserts {
			named[o.Head().Key] = true
		}
		for k := range mine {
			if !named[k] {
				delete(mine, k)
				m.elect(k)
				changes = true
			}
		}
	}
	for _, k := range d.Deletes {
		changes = changes || mine[k] != nil
		delete(mine, k)
		m.elect(k)
	}
	for _, o := range d.Upserts {
		changes = changes || mine[o.Head().Key] != o
		mine[o.Head().Key] = o
		m.elect(o.Head().Key)
	}
	if !slices.Equal(m.findings[d.Source], d.Findings) {
		m.findings[d.Source] = d.Findings
		m.news, changes = true, true
	}
	// A source that has said nothing new is no reason for the snapshot that others bring about.
	if changes && d.Why != "" && !slices.Contains(m.why, d.Why) {
		m.why = append(m.why, d.Why)
	}
}

// said is what each source has said, as one full delta.
func (m *merger) said() (out []model.Delta) {
	for _, s := range m.order {
		d := model.Delta{Source: s, Full: true, Findings: m.findings[s]}
		for _, o := range m.bySource[s] {
			d.Upserts = append(d.Upserts, o)
		}
		model.SortObjects(d.Upserts)
		out = append(out, d)
	}
	return out
}

// elect puts the winning source's version of an object in force.
func (m *merger) elect(k model.Key) {
	var now model.Object
	sources := 0
	for _, s := range m.order {
		if o := m.bySource[s][k]; o != nil {
			if sources++; sources == 1 {
				now = o
			}
		}
	}
	if sources > 1 != m.twice[k] {
		m.news = true
		m.twice[k] = true
		if sources <= 1 {
			delete(m.twice, k)
		}
	}
	all := m.kinds[k.Kind]
	old := all[k]
	if now == old {
		return
	}
	if _, noted := m.changed[k]; !noted {
		m.changed[k] = old
	}
	if k.Kind == model.KindHealth {
		defer m.another(model.Key{Kind: model.KindWorkloadEntry, Namespace: k.Namespace, Name: k.Name})
	}
	switch {
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

// another notes that something else is made of an object that is the same.
func (m *merger) another(k model.Key) {
	now := m.kinds[k.Kind][k]
	if now == nil {
		return
	}
	if _, noted := m.changed[k]; !noted {
		m.changed[k] = now
	}
	delete(m.derived, k)
	m.dirty[k.Kind] = true
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
	s.Mesh, s.Captured = m.mesh, m.vips.captured()
	m.reselected = m.discover()
	m.follow()
	whole := last == nil || last.Mesh != m.mesh || m.reselected // what is derived from the mesh configuration changes with it
	if m.declare(s, last, whole) {
		whole = true
	}
	m.fill(s, last, whole)
	s.Objects = m.objects(last, whole)
	s.Ages = m.ages(s, last, whole)
	m.attach(s, last)
	for _, src := range m.order {
		s.Findings = append(s.Findings, m.findings[src]...)
	}
	s.Findings = append(s.Findings, m.overlaps()...)
	s.Findings = append(s.Findings, m.undiscovered()...)
	if m.opts.Check != nil {
		s.Findings = append(s.Findings, m.opts.Check(s)...)
	}
	slices.SortStableFunc(s.Findings, func(a, b model.Finding) int {
		return cmp.Or(strings.Compare(a.Origin.File, b.Origin.File), a.Origin.Line-b.Origin.Line, strings.Compare(a.Field, b.Field))
	})
	clear(m.dirty)
	clear(m.stale)
	clear(m.changed)
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

// objects is the map of everything: that of before, but for what has changed.
func (m *merger) objects(last *model.Snapshot, whole bool) cow.Map[model.Key, model.Object] {
	if last == nil || whole {
		out := make(map[model.Key]model.Object, 64)
		for _, all := range m.kinds {
			for k, o := range all {
				if d := m.derive(o); d != nil {
					out[k] = d
				}
			}
		}
		return cow.Of(out)
	}
	set := make(map[model.Key]model.Object, len(m.changed))
	var gone []model.Key
	for k := range m.changed {
		if o := m.kinds[k.Kind][k]; o != nil && m.counts(o) {
			set[k] = m.derive(o)
		} else {
			gone = append(gone, k)
		}
	}
	return last.Objects.With(set, gone...)
}

// ages are those of before, but for objects with other content. An object that has only
// moved in its file keeps its age.
func (m *merger) ages(s, last *model.Snapshot, whole bool) cow.Map[model.Key, model.Age] {
	if last == nil || whole {
		out := make(map[model.Key]model.Age, s.Objects.Len())
		for k, o := range s.Objects.All {
			out[k] = age(s, last, k, o)
		}
		return cow.Of(out)
	}
	set := make(map[model.Key]model.Age, len(m.changed))
	var gone []model.Key
	for k := range m.changed {
		if now := s.Objects.Get(k); now != nil {
			set[k] = age(s, last, k, now)
		} else {
			gone = append(gone, k)
		}
	}
	return last.Ages.With(set, gone...)
}

// age is an object's, by what it was in the snapshot before; last may be nil.
func age(s, last *model.Snapshot, k model.Key, now model.Object) model.Age {
	a := model.Age{Born: s.Version, Formed: s.Version}
	if last == nil {
		return a
	}
	if old := last.Objects.Get(k); old != nil {
		was := last.Ages.Get(k)
		if a.Born = was.Born; old.Head().Hash == now.Head().Hash {
			a.Formed = was.Formed
		}
	}
	return a
}

// overlaps names objects that more than one source has.
func (m *merger) overlaps() []model.Finding {
	var out []model.Finding
	for k := range m.twice {
		var first model.Object
		for _, s := range m.order {
			o := m.bySource[s][k]
			switch {
			case o == nil:
			case first == nil:
				first = o
			default:
				out = append(out, model.Finding{
					Code: "WEFT0109", Severity: model.Warning, Object: k, Origin: o.Head().Origin,
					Message: "is there twice: " + first.Head().Origin.String() + " has it too, which is used", Remedy: "remove one",
				})
			}
		}
	}
	slices.SortFunc(out, func(a, b model.Finding) int { return strings.Compare(a.Object.String(), b.Object.String()) })
	return out
}
