package fleet

import (
	"slices"
	"sync"
	"time"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/serve"
)

// pushBound is when a push is reported although some proxies have not answered.
const pushBound = 5 * time.Second

// Event is something that a person who watches the mesh wants to read: a change
// that has reached its proxies, or a rejection that belongs to no change.
type Event struct {
	Time time.Time `json:"time"`
	// Why: what changed; empty for a rejection by itself.
	Why []string `json:"why,omitempty"`
	// Proxies that got something new, and of them, by "name.namespace", those
	// that have not taken it after 5 s.
	Proxies int      `json:"proxies"`
	Late    []string `json:"late,omitempty"`
	// Rejected: proxy and error.
	Rejected []Rejection `json:"rejected,omitempty"`
	// Millis from the change being known to the last answer.
	Millis int64 `json:"millis"`
	// Findings that are new with this change, and Resolved those that are gone. A
	// Finding that has only moved to another line is neither.
	Findings []model.Finding `json:"findings,omitempty"`
	Resolved []model.Finding `json:"resolved,omitempty"`
}

// Rejection is one proxy's refusal.
type Rejection struct {
	Proxy string `json:"proxy"`
	Type  string `json:"type"`
	Error string `json:"error"`
}

// events turns pushes into Events and hands them to subscribers.
type events struct {
	mu   sync.Mutex
	open []*push
	subs map[chan Event]struct{}
	// before are the Findings of the push before.
	before  []model.Finding
	moments *moments
}

func newEvents(m *moments) *events { return &events{subs: map[chan Event]struct{}{}, moments: m} }

// push is one snapshot on its way. Its fields are guarded by events.mu.
type push struct {
	events  *events
	version uint64
	start   time.Time
	event   Event
	proxies map[model.Key]bool // that got something new
	waiting map[*session]bool
	seal    *time.Timer // set once all sessions have been looked at
}

func (e *events) begin(s *model.Snapshot, start time.Time) *push {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := &push{events: e, version: s.Version, start: start, proxies: map[model.Key]bool{}, waiting: map[*session]bool{}}
	p.event.Why = s.Why
	e.open = append(e.open, p)
	return p
}

// awaits notes that the proxy has something to take.
func (p *push) awaits(s *session) {
	p.events.mu.Lock()
	defer p.events.mu.Unlock()
	p.proxies[s.identity] = true
	p.waiting[s] = true
}

// sealed says that every proxy has been looked at, and what is wrong now.
func (p *push) sealed(findings []model.Finding) {
	e := p.events
	e.mu.Lock()
	defer e.mu.Unlock()
	p.event.Findings = without(findings, e.before)
	p.event.Resolved = without(e.before, findings)
	e.before = findings
	e.moments.find(p.event.Findings, p.event.Resolved, time.Now())
	p.seal = time.AfterFunc(pushBound, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		p.finishLocked()
	})
	p.checkLocked()
}

// without returns what is in list and not in other, wherever in its file.
func without(list, other []model.Finding) (out []model.Finding) {
	known := make(map[model.Finding]bool, len(other))
	for _, f := range other {
		known[placeless(f)] = true
	}
	for _, f := range list {
		if !known[placeless(f)] {
			out = append(out, f)
		}
	}
	return out
}

func (p *push) checkLocked() {
	if p.seal != nil && len(p.waiting) == 0 {
		p.finishLocked()
	}
}

// finishLocked tells of a push, the first time that it is called.
func (p *push) finishLocked() {
	i := slices.Index(p.events.open, p)
	if i < 0 {
		return
	}
	p.events.open = slices.Delete(p.events.open, i, i+1)
	p.seal.Stop()
	p.event.Time = time.Now()
	if len(p.waiting) == 0 {
		p.events.moments.taken(p.version, p.event.Time)
	}
	p.event.Proxies = len(p.proxies)
	p.event.Millis = time.Since(p.start).Milliseconds()
	for s := range p.waiting {
		p.event.Late = append(p.event.Late, s.name())
	}
	slices.Sort(p.event.Late)
	p.events.tellLocked(p.event)
}

func (e *events) tellLocked(x Event) {
	for ch := range e.subs {
		select {
		case ch <- x:
		default: // a reader that does not keep up loses events, not the mesh
		}
	}
}

// settled notes that a proxy holds a version whole.
func (e *events) settled(s *session, version uint64) {
	e.each(func(p *push) {
		if version >= p.version {
			delete(p.waiting, s)
		}
	})
}

// left notes that a proxy is gone and need not be waited for.
func (e *events) left(s *session) {
	e.each(func(p *push) { delete(p.waiting, s) })
}

// rejected adds a refusal to the pushes that wait for the proxy. Without one,
// say right after it has connected, it is an Event by itself.
func (e *events) rejected(s *session, r serve.Report) {
	x := Rejection{Proxy: s.name(), Type: r.Type, Error: r.Error}
	e.mu.Lock()
	defer e.mu.Unlock()
	found := false
	for _, p := range e.open {
		if p.waiting[s] {
			found = true
			p.event.Rejected = append(p.event.Rejected, x)
		}
	}
	if !found {
		e.tellLocked(Event{Time: time.Now(), Rejected: []Rejection{x}})
	}
}

// each visits a copy, since a push that is finished leaves the list.
func (e *events) each(f func(*push)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range slices.Clone(e.open) {
		f(p)
		p.checkLocked()
	}
}

// stop drops the pushes that are open.
func (e *events) stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.open {
		if p.seal != nil {
			p.seal.Stop()
		}
	}
	e.open = nil
}

// Subscribe returns a channel of events from now on, and what ends it.
func (f *Fleet) Subscribe() (<-chan Event, func()) {
	e := f.events
	ch := make(chan Event, 64)
	e.mu.Lock()
	e.subs[ch] = struct{}{}
	e.mu.Unlock()
	return ch, func() {
		e.mu.Lock()
		delete(e.subs, ch)
		e.mu.Unlock()
	}
}
