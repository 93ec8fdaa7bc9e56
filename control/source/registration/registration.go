// Package registration is the source of the workloads that register themselves: a proxy
// whose metadata names a WorkloadGroup of its namespace (AUTO_REGISTER_GROUP, which
// Istio's agents make of ISTIO_META_AUTO_REGISTER_GROUP) becomes a WorkloadEntry of it for
// as long as it is connected, and a while longer.
//
// The group's template, its metadata and the node's own say what the workload is, the
// later with more weight. Where the group has a probe, the workload takes traffic once its
// agent has said that the program is well, and until it says otherwise. What a proxy says
// whose metadata names a WorkloadEntry that somebody wrote (WORKLOAD_ENTRY) holds for that
// one, where it has the annotation for it: it becomes a Health.
//
// It decides nothing about who may connect, and keeps nothing beyond its process: after a
// start the proxies come again.
package registration

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source"
	"github.com/weftmesh/weft/control/source/document"
)

// Name is the source's name.
const Name = "registration"

// Grace is how long a workload stays after its proxy has gone (Istio's).
const Grace = 10 * time.Second

// Snapshots is where the WorkloadGroups come from.
type Snapshots interface {
	Load() *model.Snapshot
	Changed() <-chan struct{}
}

// Source registers workloads. Make one with New.
type Source struct {
	snapshots Snapshots
	grace     time.Duration
	log       *slog.Logger
	// news has one entry when members are different.
	news chan struct{}

	mu      sync.Mutex
	members map[model.Key]*member
}

// member is a workload that has registered.
type member struct {
	model.Registration
	streams int
	left    time.Time // when the last stream ended
	well    bool
	// bad: its agent has said last that it is not well, or about to end. A workload that nobody
	// asks is well else.
	bad bool
	// health says so of a workload that somebody wrote; nil: it was not yet asked for.
	health *model.Health
}

// New returns a source; grace is Grace in earnest.
func New(s Snapshots, grace time.Duration, log *slog.Logger) *Source {
	return &Source{
		snapshots: s, grace: grace, log: log.With("component", "source/registration"),
		news: make(chan struct{}, 1), members: map[model.Key]*member{},
	}
}

// Name implements source.Source.
func (*Source) Name() string { return Name }

// Connected implements fleet.Registrar.
func (s *Source) Connected(r model.Registration) {
	s.change(r.Key(), func(m *member) *member {
		if m == nil {
			s.log.Info("a workload has registered", "workload", r.Key().Title())
			m = &member{}
		}
		m.Registration = r
		if m.streams++; m.streams == 1 {
			m.bad = false
		}
		return m
	})
}

// Disconnected implements fleet.Registrar.
func (s *Source) Disconnected(k model.Key) {
	s.change(k, func(m *member) *member {
		if m != nil {
			if m.streams--; m.streams == 0 {
				m.left = time.Now()
			}
		}
		return m
	})
}

// Health implements fleet.Registrar.
func (s *Source) Health(k model.Key, failure string) {
	s.change(k, func(m *member) *member {
		if m != nil && (m.well != (failure == "") || m.bad != (failure != "")) {
			m.well, m.bad = failure == "", failure != ""
			s.log.Info("a workload's health is another", "workload", k.Title(), "failure", failure)
		}
		return m
	})
}

func (s *Source) change(k model.Key, f func(*member) *member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := f(s.members[k]); m != nil {
		s.members[k] = m
	}
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// Run implements source.Source.
func (s *Source) Run(ctx context.Context, out chan<- model.Delta) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var last map[model.Key]uint64 // hashes of what was sent; nil: nothing yet
	for {
		changed := s.snapshots.Changed()
		d, next := s.delta()
		now := map[model.Key]uint64{}
		for _, o := range d.Upserts {
			now[o.Head().Key] = o.Head().Hash
		}
		if last == nil || !maps.Equal(now, last) {
			last = now
			if err := source.Send(ctx, out, d); err != nil {
				return err
			}
		}
		timer.Reset(next)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.news:
		case <-changed:
		case <-timer.C:
		}
	}
}

// delta is all that is registered, and how long until somebody's time is up.
func (s *Source) delta() (model.Delta, time.Duration) {
	d := model.Delta{Source: Name, Full: true, Why: "workloads that register themselves"}
	next := time.Hour
	snap := s.snapshots.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, m := range s.members {
		if m.streams == 0 {
			rest := s.grace - time.Since(m.left)
			if rest <= 0 {
				delete(s.members, k)
				continue
			}
			next = min(next, rest)
		}
		if snap == nil {
			continue
		}
		if m.Entry != "" {
			w, _ := snap.Objects.Get(k).(*model.Workload)
			if m.well && w != nil && w.Checked && (m.ServiceAccount == "" || w.ServiceAccount == "" || m.ServiceAccount == w.ServiceAccount) {
				if m.health == nil {
					m.health = &model.Health{Meta: model.Meta{Key: model.Key{Kind: model.KindHealth, Namespace: k.Namespace, Name: k.Name}, Hash: 1}}
				}
				d.Upserts = append(d.Upserts, m.health)
			}
			continue
		}
		g, _ := snap.Objects.Get(model.Key{Kind: model.KindWorkloadGroup, Namespace: m.Namespace, Name: m.Group}).(*model.WorkloadGroup)
		if g != nil {
			d.Upserts = append(d.Upserts, workload(k, m, g))
		}
	}
	slices.SortFunc(d.Upserts, func(a, b model.Object) int { return strings.Compare(a.Head().Key.String(), b.Head().Key.String()) })
	return d, next
}

// workload makes the workload that a member of a group is.
func workload(k model.Key, m *member, g *model.WorkloadGroup) *model.Workload {
	w := g.Template
	w.Meta = model.Meta{Key: k, Origin: g.Origin, Of: g.Key, Annotations: g.Template.Annotations, Lines: g.Lines}
	w.Name, w.Namespace = k.Name, k.Namespace
	w.Addresses = []netip.Addr{m.Address}
	w.Labels = map[string]string{}
	maps.Copy(w.Labels, g.Template.Labels)
	maps.Copy(w.Labels, m.Labels)
	w.App = w.Labels["app"]
	if w.App == "" {
		w.App = m.Group
	}
	w.Meta.Labels = w.Labels
	if m.Network != "" {
		w.Network = m.Network
	}
	if m.Locality != (model.Locality{}) {
		w.Locality = m.Locality
	}
	w.Ready, w.Mesh, w.Engine = !m.bad && (!g.Probed || m.well), true, m.Engine
	w.Hash = document.Mix(g.Hash, fmt.Sprint(k, w.Addresses, w.Labels, w.Network, w.Locality, w.Ready, w.Engine))
	return &w
}
