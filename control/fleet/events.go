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

// Event is something that a person who watches the mesh wants to read.
type Event struct {
	Time time.Time `json:"time"`
	// Why: what changed.
	Why []string `json:"why,omitempty"`
	// Proxies that got something new, and of them those that have not taken it.
	Proxies int      `json:"proxies"`
	Late    []string `json:"late,omitempty"`
	// Rejected: proxy and error.
	Rejected []Rejection `json:"rejected,omitempty"`
	// Millis from the change being known to the last answer.
	Millis int64 `json:"millis"`
	// Findings that are new with this change.
	Findings []model.Finding `json:"findings,omitempty"`
	// Resolved counts findings that are gone with it.
	Resolved int `json:"resolved,omitempty"`
}

// Rejection is one proxy's refusal.
type Rejection struct {
	Proxy string `json:"proxy"`
	Type  string `json:"type"`
	Error string `json:"error"`
}

// events turns pushes into Events and hands them to subscribers.
type events struct {
	mu     sync.Mutex
	open   []*push
	subs   map[chan Event]struct{}
	before []model.Finding
}

func newEvents() *events { return &events{subs: map[chan Event]struct{}{}} }

// push is one snapshot on its way.
type push struct {
	events  *events
	version uint64
	start   time.Time
	event   Event
	waiting map[string]bool
	isSet   bool // all sessions have been looked at
	timer   *time.Timer
	done    bool
}

func (e *events) begin(s *model.Snapshot, start time.Time) *push {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := &push{events: e, version: s.Version, start: start, waiting: map[string]bool{}}
	p.event.Why = s.Why
	for _, f := range s.Findings {
		if !slices.Contains(e.before, f) {
			p.event.Findings = append(p.event.Findings, f)
		}
	}
	for _, f := range e.before {
		if !slices.Contains(s.Findings, f) {
			p.event.Resolved++
		}
	}
	e.before = s.Findings
	e.open = append(e.open, p)
	p.timer = time.AfterFunc(pushBound, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		p.finishLocked()
	})
	return p
}

// awaits notes that the proxy has something to take.
func (p *push) awaits(id string) {
	p.events.mu.Lock()
	defer p.events.mu.Unlock()
	p.event.Proxies++
	p.waiting[id] = true
}

// sealed says that every proxy has been looked at.
func (p *push) sealed() {
	p.events.mu.Lock()
	defer p.events.mu.Unlock()
	p.isSet = true
	p.checkLocked()
}

func (p *push) checkLocked() {
	if p.isSet && len(p.waiting) == 0 {
		p.finishLocked()
	}
}

func (p *push) finishLocked() {
	if p.done {
		return
	}
	p.done = true
	p.timer.Stop()
	p.events.open = slices.DeleteFunc(p.events.open, func(x *push) bool { return x == p })
	p.event.Time = time.Now()
	p.event.Millis = time.Since(p.start).Milliseconds()
	for id := range p.waiting {
		p.event.Late = append(p.event.Late, id)
	}
	slices.Sort(p.event.Late)
	for ch := range p.events.subs {
		select {
		case ch <- p.event:
		default: // a reader that does not keep up loses events, not the mesh
		}
	}
}

// settled notes that a proxy holds a version whole.
func (e *events) settled(id string, version uint64) {
	e.each(func(p *push) {
		if version >= p.version {
			delete(p.waiting, id)
		}
	})
}

// left notes that a proxy is gone and need not be waited for.
func (e *events) left(id string) {
	e.each(func(p *push) { delete(p.waiting, id) })
}

func (e *events) rejected(name string, r serve.Report) {
	e.each(func(p *push) {
		p.event.Rejected = append(p.event.Rejected, Rejection{Proxy: name, Type: r.Type, Error: r.Error})
	})
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
