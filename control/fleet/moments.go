package fleet

import (
	"slices"
	"sync"
	"time"

	"github.com/weftmesh/weft/control/model"
)

// moments remember when what a status tells of came to be: when versions of the mesh
// went out and were taken, when Findings came and went, when proxies left. They are of one
// control plane's life, and no more than the objects that are there need.
type moments struct {
	mu sync.Mutex
	// list is by version, rising; kept is how many there were after the last pruning.
	list []moment
	kept int
	// found are the Findings that there are, wherever in their files.
	found map[model.Finding]time.Time
	// past are, by object and code, the last ones that are gone.
	past map[model.Key]map[string]Found
	left map[model.Key]time.Time
}

// moment is when a version of the mesh went out, and when all proxies that it is
// different for had answered; zero: they have not, or not in time.
type moment struct {
	version          uint64
	published, taken time.Time
}

// held is when all who had to take the version had it, as far as that is known.
func (m moment) held() time.Time { return later(m.published, m.taken) }

// sessionMoments are those of one session: of its first and its last whole answer,
// and of when a refusal last stopped to stand.
type sessionMoments struct {
	ready, settled time.Time
	cleared        cleared
}

type cleared struct {
	*fault
	at time.Time
}

// had is since when, at the latest, the session has what came with a version.
func (p *session) had(version uint64, when moment) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.moments.ready
	if when.taken.IsZero() && p.settled >= version {
		at = later(at, p.moments.settled)
	}
	if c := p.moments.cleared; c.fault != nil && c.of(version) {
		at = later(at, c.at)
	}
	return at
}

func newMoments() *moments {
	return &moments{found: map[model.Finding]time.Time{}, past: map[model.Key]map[string]Found{}, left: map[model.Key]time.Time{}}
}

// published notes that a snapshot goes out.
func (m *moments) published(s *model.Snapshot, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = append(m.list, moment{version: s.Version, published: at})
	if len(m.list) > 2*m.kept+256 {
		m.pruneLocked(s)
	}
}

// pruneLocked forgets what no object of the newest snapshot is of.
func (m *moments) pruneLocked(s *model.Snapshot) {
	needed := map[uint64]bool{s.Version: true}
	for _, age := range s.Ages.All {
		needed[m.list[m.indexLocked(age.Born)].version] = true
		needed[m.list[m.indexLocked(age.Formed)].version] = true
	}
	m.list = slices.DeleteFunc(m.list, func(x moment) bool { return !needed[x.version] })
	m.kept = len(m.list)
	for k := range m.past {
		if s.Objects.Get(k) == nil {
			delete(m.past, k)
		}
	}
	for k := range m.left {
		if s.Objects.Get(k) == nil {
			delete(m.left, k)
		}
	}
}

// indexLocked is where what came with a version is in the list: several versions may have
// gone out as one.
func (m *moments) indexLocked(version uint64) int {
	i, _ := slices.BinarySearchFunc(m.list, version, func(x moment, v uint64) int {
		if x.version < v {
			return -1
		}
		return 1
	})
	return min(i, len(m.list)-1)
}

// of is the moment of a version; zero when none has gone out.
func (m *moments) of(version uint64) moment {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.list) == 0 {
		return moment{}
	}
	return m.list[m.indexLocked(version)]
}

// taken notes that all proxies that a version was different for have answered.
func (m *moments) taken(version uint64, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := m.indexLocked(version); i >= 0 && m.list[i].version == version {
		m.list[i].taken = at
	}
}

// lose notes that a proxy has gone, lost is when it did.
func (m *moments) lose(id model.Key, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left[id] = at
}

func (m *moments) lost(id model.Key) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.left[id]
}

// find notes which Findings are new, and which are gone. One that only says something
// else of the same counts from the first.
func (m *moments) find(found, gone []model.Finding, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	type about struct {
		object model.Key
		code   string
	}
	since := map[about]time.Time{}
	for _, x := range gone {
		k := placeless(x)
		from := m.found[k]
		delete(m.found, k)
		since[about{x.Object, x.Code}] = from
		if m.past[x.Object] == nil {
			m.past[x.Object] = map[string]Found{}
		}
		m.past[x.Object][x.Code] = Found{x, from, at}
	}
	for _, x := range found {
		from := at
		if t, ok := since[about{x.Object, x.Code}]; ok {
			from = t
			delete(m.past[x.Object], x.Code)
		}
		m.found[placeless(x)] = from
	}
}

// placeless is a Finding wherever in its file.
func placeless(f model.Finding) model.Finding {
	f.Origin.Line = 0
	return f
}

// Found is a Finding with its time: until it went, or with a zero To is still there.
type Found struct {
	model.Finding
	From, To time.Time
}

// History is what is known of an object's past.
type History struct {
	// Born is when it came; zero: it is not there.
	Born time.Time
	// Findings are those about it, and the last ones that are gone.
	Findings []Found
}

// History returns that of an object, of which there are these Findings now.
func (f *Fleet) History(k model.Key, now []model.Finding) History {
	var h History
	if idx := f.index.Load(); idx != nil {
		if age, ok := idx.Snapshot.Ages.Find(k); ok {
			h.Born = f.moments.of(age.Born).published
		}
	}
	m := f.moments
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, x := range now {
		if from, ok := m.found[placeless(x)]; ok {
			h.Findings = append(h.Findings, Found{Finding: x, From: from})
		}
	}
	for _, x := range m.past[k] {
		h.Findings = append(h.Findings, x)
	}
	return h
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
