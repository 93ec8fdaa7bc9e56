package console

import (
	"sync"
	"time"

	"github.com/weftmesh/weft/control/finding"
	"github.com/weftmesh/weft/control/fleet"
	"github.com/weftmesh/weft/control/model"
)

// transitions remember since when conditions are what they are, as long as the same is
// asked for again and again: what an event was may show in hindsight only as long as
// those who had a part in it are there. It is of one control plane's life.
type transitions struct {
	mu    sync.Mutex
	known map[conditionKey]since
	now   func() time.Time // nil: the system's
}

type conditionKey struct {
	object model.Key
	kind   string
}

type since struct {
	status string
	at     time.Time
}

// mark sets the times of an object's conditions. Those that have the time of an event
// keep it, unless it is known that the status has been the same since later; without one
// it is the time of the first question.
func (t *transitions) mark(k model.Key, list []Condition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now
	if t.now != nil {
		now = t.now
	}
	if t.known == nil {
		t.known = map[conditionKey]since{}
	}
	for i := range list {
		key := conditionKey{k, list[i].Type}
		s, event := t.known[key], list[i].event
		switch {
		case event.After(s.at):
			s = since{list[i].Status, event}
		case s.status != list[i].Status:
			s = since{list[i].Status, now()}
		}
		t.known[key] = s
		list[i].Since = s.at.UTC().Format(time.RFC3339)
	}
}

// date gives conditions the times of the events that made them what they are.
func date(list []Condition, h fleet.History, reach *fleet.Reach) {
	for i := range list {
		c := &list[i]
		var began, ended time.Time
		for _, f := range h.Findings {
			switch kind := finding.Condition(f.Finding); {
			case kind != c.Type && (c.Type != finding.Reconciled || kind != finding.Programmed):
			case !f.To.IsZero():
				ended = latest(ended, f.To)
			case began.IsZero() || f.From.Before(began):
				began = f.From
			}
		}
		reached := reach != nil && (c.Type == finding.Programmed || c.Type == finding.Reconciled)
		bad := (c.Status == "False") != (c.Type == finding.Conflicted)
		switch {
		case reached && bad && len(reach.Pending) == 0, !reached && bad:
			c.event = began
		case reached && bad:
			c.event = reach.Since
		case reached:
			c.event = latest(reach.Since, ended)
		default:
			c.event = latest(h.Born, ended)
		}
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// keep forgets what is about objects that there are no longer.
func (t *transitions) keep(there func(model.Key) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key := range t.known {
		if !there(key.object) {
			delete(t.known, key)
		}
	}
}
