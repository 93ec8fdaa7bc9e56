// Package quarantine is the source of what proxies have refused of EnvoyFilters: a patch
// with which a resource is refused is kept from all proxies of that engine, until it is
// changed.
//
// A patch with which the resource has been taken before is not suspected while there
// are others: what worked goes on to work. Where several others have changed the
// resource, they are tried: one at a time is let out, the others wait. The one that is
// refused then is the one; one that is taken is free. So what is refused costs proxies
// no more than one answer for each patch, and they keep what they had meanwhile.
//
// It does not know what is wrong, and remembers nothing beyond its process: after a
// start the proxies say it again.
package quarantine

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source"
	"github.com/weftmesh/weft/control/source/document"
)

// Name is the source's name.
const Name = "quarantine"

// Snapshots is where the EnvoyFilters come from.
type Snapshots interface {
	Load() *model.Snapshot
	Changed() <-chan struct{}
}

// Source judges patches. Make one with New.
type Source struct {
	snapshots Snapshots
	log       *slog.Logger
	// news has one entry when cases are different.
	news chan struct{}

	mu    sync.Mutex
	cases map[accused]*verdict
	order []accused // of suspects that wait for their trial
	// proven are the resources that have been taken with a patch.
	proven map[accused]map[string]struct{}
}

// accused is one patch of one version of an EnvoyFilter, and the engine that minds it.
type accused struct {
	filter  model.Key
	version uint64
	index   int
	engine  string
}

// verdict is what is known of a patch.
type verdict struct {
	state state
	// resource is what was refused, and why.
	resource, why string
}

type state uint8

const (
	waiting state = iota // kept back, to be tried
	tried                // let out
	guilty               // kept back
)

// New returns a source.
func New(s Snapshots, log *slog.Logger) *Source {
	return &Source{
		snapshots: s, log: log.With("component", "source/quarantine"), news: make(chan struct{}, 1),
		cases: map[accused]*verdict{}, proven: map[accused]map[string]struct{}{},
	}
}

// Name implements source.Source.
func (*Source) Name() string { return Name }

// Run implements source.Source.
func (s *Source) Run(ctx context.Context, out chan<- model.Delta) error {
	for {
		changed := s.snapshots.Changed()
		why := s.forget()
		if err := source.Send(ctx, out, s.delta(why)); err != nil {
			return err
		}
	wait:
		for {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-s.news:
				break wait
			case <-changed:
				changed = s.snapshots.Changed()
				if s.outdated() {
					break wait
				}
			}
		}
	}
}

// Refused implements fleet.Judge.
func (s *Source) Refused(engine, resource string, patches []model.PatchRef, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := named(engine, patches)
	var onTrial *verdict
	for _, a := range list {
		switch v := s.cases[a]; {
		case v == nil:
		case v.state == tried:
			onTrial = v
		default:
			return // an answer to what was sent before
		}
	}
	if onTrial != nil {
		onTrial.state, onTrial.why = guilty, why
	} else {
		s.accuse(s.suspects(list, resource), resource, why)
	}
	s.log.Warn("a proxy refuses what an EnvoyFilter has changed", "engine", engine, "patches", len(list), "error", why)
	s.next(engine)
}

// suspects are those of the patches with which the resource has never been taken, or
// all where it has been with each.
func (s *Source) suspects(list []accused, resource string) []accused {
	var out []accused
	for _, a := range list {
		if _, ok := s.proven[a][resource]; !ok {
			out = append(out, a)
		}
	}
	if len(out) == 0 {
		return list
	}
	return out
}

// accuse keeps patches back: one alone is guilty, several wait for their trials.
func (s *Source) accuse(list []accused, resource, why string) {
	if len(list) == 1 {
		s.cases[list[0]] = &verdict{guilty, resource, why}
		return
	}
	for _, a := range list {
		s.cases[a] = &verdict{waiting, resource, why}
	}
	s.order = append(s.order, list...)
}

// Taken implements fleet.Judge.
func (s *Source) Taken(engine, resource string, patches []model.PatchRef) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range patches {
		if v := s.cases[patchOf(engine, r)]; v != nil && v.state != tried {
			return // an answer to what was sent before
		}
	}
	for _, r := range patches {
		a := patchOf(engine, r)
		s.prove(a, resource)
		if v := s.cases[a]; v != nil && v.resource == resource {
			delete(s.cases, a)
			s.next(engine)
		}
	}
}

func (s *Source) prove(a accused, resource string) {
	if s.proven[a] == nil {
		s.proven[a] = map[string]struct{}{}
	}
	s.proven[a][resource] = struct{}{}
}

// next lets out the next suspect of an engine, unless there is one on trial, and tells
// that something is different.
func (s *Source) next(engine string) {
	select {
	case s.news <- struct{}{}:
	default:
	}
	for a, v := range s.cases {
		if a.engine == engine && v.state == tried {
			return
		}
	}
	for i, a := range s.order {
		if a.engine == engine {
			s.order = append(s.order[:i:i], s.order[i+1:]...)
			if v := s.cases[a]; v != nil && v.state == waiting {
				v.state = tried
				return
			}
			s.next(engine)
			return
		}
	}
}

func named(engine string, patches []model.PatchRef) []accused {
	out := make([]accused, len(patches))
	for i, r := range patches {
		out[i] = patchOf(engine, r)
	}
	return out
}

func patchOf(engine string, r model.PatchRef) accused {
	return accused{r.Filter.Key, r.Filter.Hash, r.Index, engine}
}

// gone tells whether a version of an EnvoyFilter is in force no more.
func gone(snap *model.Snapshot, a accused) bool {
	f, _ := snap.Objects.Get(a.filter).(*model.EnvoyFilter)
	return f == nil || f.Hash != a.version
}

// unlearn drops what is known of patches that are in force no more.
func (s *Source) unlearn(snap *model.Snapshot) {
	maps.DeleteFunc(s.proven, func(a accused, _ map[string]struct{}) bool { return gone(snap, a) })
}

// outdated tells whether there are cases about what is in force no more.
func (s *Source) outdated() bool {
	snap := s.snapshots.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	for a := range s.cases {
		if gone(snap, a) {
			return true
		}
	}
	s.unlearn(snap)
	return false
}

// forget drops the cases about what is in force no more, and says why things change.
func (s *Source) forget() string {
	snap := s.snapshots.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	if snap == nil {
		return ""
	}
	for a, v := range s.cases {
		if gone(snap, a) {
			delete(s.cases, a)
			if v.state == tried {
				s.next(a.engine)
			}
		}
	}
	s.unlearn(snap)
	return "patches that proxies refuse"
}

// delta is all that is kept back.
func (s *Source) delta(why string) model.Delta {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := model.Delta{Source: Name, Full: true, Why: why}
	for a, v := range s.cases {
		if v.state == tried {
			continue
		}
		q := &model.Quarantine{
			Filter: a.filter, Version: a.version, Index: a.index, Engine: a.engine, Reason: v.why, Suspect: v.state == waiting,
		}
		q.Key = model.Key{Kind: model.KindQuarantine, Namespace: a.filter.Namespace, Name: fmt.Sprintf("%s/%d/%s", a.filter.Name, a.index, a.engine)}
		q.Origin = model.Origin{Source: Name}
		q.Hash = document.Mix(a.version, fmt.Sprint(q.Key, q.Suspect, q.Reason))
		d.Upserts = append(d.Upserts, q)
	}
	return d
}
