package registry

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source"
)

// Snapshots is where the Registries come from.
type Snapshots interface {
	Load() *model.Snapshot
	Changed() <-chan struct{}
}

// Options of a Source.
type Options struct {
	Snapshots Snapshots
	// Makers by the types of registries.
	Makers map[string]Maker
	// Dir is where what is known is saved; empty: nowhere.
	Dir string
	Log *slog.Logger
}

// saveEvery is how often what is known is saved at most.
const saveEvery = 2 * time.Second

// Source follows all registries. Make one with New.
type Source struct {
	opts Options
	log  *slog.Logger
	in   chan event

	status atomic.Pointer[[]model.RegistryStatus]

	// The rest belongs to Run.
	followers map[model.Key]*follower
	patches   []*model.RegistrySource
	hosts     map[hostKey]*host
	findings  []model.Finding
	wg        sync.WaitGroup
	unsaved   bool
}

// event is what a client has said.
type event struct {
	of      *follower
	service *Service // nil: names or err
	names   []string
	err     error
}

// New returns a source; nothing is read before Run.
func New(o Options) *Source {
	return &Source{
		opts: o, log: o.Log.With("component", "source/registry"), in: make(chan event, 256),
		followers: map[model.Key]*follower{}, hosts: map[hostKey]*host{},
	}
}

// Name implements source.Source.
func (*Source) Name() string { return Name }

// Status is how it stands with all registries, by their keys.
func (s *Source) Status() []model.RegistryStatus {
	if p := s.status.Load(); p != nil {
		return *p
	}
	return nil
}

// Run implements source.Source.
func (s *Source) Run(ctx context.Context, out chan<- model.Delta) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.wg.Wait()
	defer cancel()
	first := s.change("saved services of registries", s.load())
	first.Full = true
	if err := source.Send(ctx, out, first); err != nil {
		return err
	}
	defer s.save()
	expire, save := time.NewTimer(time.Hour), time.NewTicker(saveEvery)
	defer expire.Stop()
	defer save.Stop()
	for {
		changed := s.opts.Snapshots.Changed()
		dirty := s.reconcile(ctx)
		next := s.expire(dirty)
		expire.Reset(next)
		if err := s.tell(ctx, out, dirty); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-expire.C:
		case <-save.C:
			s.save()
		case e := <-s.in:
			dirty := map[hostKey]bool{}
			s.take(e, dirty)
			s.drain(dirty)
			if err := s.tell(ctx, out, dirty); err != nil {
				return err
			}
		}
	}
}

// drain takes what has been said meanwhile, so that many changes make one delta.
func (s *Source) drain(dirty map[hostKey]bool) {
	for range cap(s.in) {
		select {
		case e := <-s.in:
			s.take(e, dirty)
		default:
			return
		}
	}
}

// tell sends what has changed at some hosts.
func (s *Source) tell(ctx context.Context, out chan<- model.Delta, dirty map[hostKey]bool) error {
	before := s.findings
	d := s.change("", dirty)
	s.report()
	if len(d.Upserts)+len(d.Deletes) == 0 && slices.Equal(before, d.Findings) {
		return nil
	}
	return source.Send(ctx, out, d)
}

// change makes the services of some hosts anew.
func (s *Source) change(why string, dirty map[hostKey]bool) model.Delta {
	d := model.Delta{Source: Name, Why: why}
	for _, k := range slices.SortedFunc(maps.Keys(dirty), hostKey.compare) {
		h := s.hosts[k]
		if h == nil {
			continue
		}
		s.unsaved = true
		was := h.made
		h.make(k)
		switch {
		case h.made == nil && was != nil:
			d.Deletes = append(d.Deletes, was.Key)
		case h.made != nil && (was == nil || was.Hash != h.made.Hash):
			d.Upserts = append(d.Upserts, h.made)
		}
		if len(h.parts) == 0 {
			delete(s.hosts, k)
		}
	}
	if n := len(d.Upserts) + len(d.Deletes); d.Why == "" && n > 0 {
		d.Why = strconv.Itoa(n) + " services of registries changed"
		if n == 1 {
			d.Why = "a service of a registry changed"
		}
	}
	s.findings = s.judge()
	d.Findings = s.findings
	return d
}

// reconcile follows what the snapshot has, and nothing else.
func (s *Source) reconcile(ctx context.Context) map[hostKey]bool {
	dirty := map[hostKey]bool{}
	snap := s.opts.Snapshots.Load()
	if snap == nil {
		return dirty
	}
	wanted := map[model.Key]bool{}
	for _, r := range snap.Registries {
		wanted[r.Key] = true
		r, missing := resolved(r, snap.Secrets)
		f := s.followers[r.Key]
		switch {
		case f == nil:
			f = newFollower(r)
			s.followers[r.Key] = f
		case f.spec.Hash == r.Hash && f.stop != nil:
			f.spec = r // its place may be another
			continue
		default:
			f = s.replace(f, r, dirty)
		}
		s.start(ctx, f, missing)
	}
	for k, f := range s.followers {
		if !wanted[k] {
			f.end()
			s.drop(f, dirty)
			delete(s.followers, k)
		}
	}
	patches := snap.RegistrySources
	if !model.ModuleOn(snap.Boots, model.ModuleRegistry) {
		patches = nil // they are that module's
	}
	if !slices.Equal(s.patches, patches) {
		s.patches = patches
		for _, f := range s.followers {
			s.remake(f, dirty)
		}
	}
	return dirty
}

// replace goes on with what is known under a new specification.
func (s *Source) replace(old *follower, r *model.Registry, dirty map[hostKey]bool) *follower {
	old.end()
	s.drop(old, dirty)
	f := newFollower(r)
	f.services, f.since, f.success = old.services, old.since, old.success
	// Of another place nothing is kept beyond its first whole word.
	f.foreign = old.foreign || !slices.Equal(old.spec.Addresses, r.Addresses) || old.spec.Type != r.Type || old.spec.Root != r.Root || old.spec.Scope != r.Scope || old.spec.Datacenter != r.Datacenter || old.spec.Partition != r.Partition
	s.followers[r.Key] = f
	s.remake(f, dirty)
	return f
}

// take notes what a client has said.
func (s *Source) take(e event, dirty map[hostKey]bool) {
	f := e.of
	if s.followers[f.spec.Key] != f {
		return // of one that has ended
	}
	now := time.Now()
	if e.err != nil {
		f.fail(e.err, now)
		return
	}
	f.updates++
	f.success, f.failure = now, ""
	if e.service != nil {
		s.put(f, e.service, now, dirty)
		return
	}
	f.become(synced, now)
	there := make(map[string]bool, len(e.names))
	for _, n := range e.names {
		there[n] = true
	}
	for name, known := range f.services {
		if there[name] {
			continue
		}
		if f.foreign || f.spec.Retain == 0 {
			s.forget(f, known, dirty)
		} else if known.emptySince.IsZero() {
			known.emptySince = now
			s.refresh(f, known, dirty)
		}
	}
	f.foreign = false
}

// put notes a service as it is now.
func (s *Source) put(f *follower, now *Service, at time.Time, dirty map[hostKey]bool) {
	known := f.services[now.Name]
	if known == nil {
		known = &service{}
		f.services[now.Name] = known
	}
	if !slices.ContainsFunc(now.Instances, func(i Instance) bool { return !i.Off }) && f.spec.Retain > 0 && len(known.Instances) > 0 {
		if known.emptySince.IsZero() {
			known.emptySince = at
			s.refresh(f, known, dirty)
		}
		return
	}
	known.Service, known.emptySince = *now, time.Time{}
	s.refresh(f, known, dirty)
}

// expire forgets the instances whose time is up, and says when the next one's is.
func (s *Source) expire(dirty map[hostKey]bool) time.Duration {
	next := time.Hour
	for _, f := range s.followers {
		if f.state != synced {
			continue // nothing is forgotten on the word of one that has gone
		}
		for _, known := range f.services {
			if known.emptySince.IsZero() {
				continue
			}
			if left := f.spec.Retain - time.Since(known.emptySince); left <= 0 {
				s.forget(f, known, dirty)
			} else {
				next = min(next, left)
			}
		}
	}
	return next
}

// report publishes the status.
func (s *Source) report() {
	out := make([]model.RegistryStatus, 0, len(s.followers))
	for _, f := range s.followers {
		out = append(out, f.status())
	}
	slices.SortFunc(out, func(a, b model.RegistryStatus) int { return strings.Compare(a.Registry.String(), b.Registry.String()) })
	s.status.Store(&out)
}

// judge finds what is wrong with registries and their services.
func (s *Source) judge() []model.Finding {
	var out []model.Finding
	for _, f := range s.followers {
		out = append(out, f.findings()...)
	}
	slices.SortFunc(out, func(a, b model.Finding) int {
		return cmp.Or(strings.Compare(a.Object.String(), b.Object.String()), strings.Compare(a.Code, b.Code), strings.Compare(a.Message, b.Message))
	})
	return out
}
