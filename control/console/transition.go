package console

import (
	"sync"
	"time"

	"github.com/weftmesh/weft/control/model"
)

// transitions remember since when conditions are what they are: since a status was first
// asked for that said so. It is of one control plane's life.
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

// mark sets the times of an object's conditions.
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
		s := t.known[key]
		if s.status != list[i].Status {
			s = since{list[i].Status, now()}
			t.known[key] = s
		}
		list[i].Since = s.at.UTC().Format(time.RFC3339)
	}
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
