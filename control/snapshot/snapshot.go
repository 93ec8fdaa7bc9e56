// Package snapshot merges what the sources send into one immutable
// *model.Snapshot and publishes it.
//
// A lone change is published at once; a storm is coalesced: 10 ms after its
// last delta, or four times what the last snapshot took to make, at most 100 ms after
// its first. A delta that changes no content
// (equal hashes) publishes nothing. What only the whole mesh can tell is filled
// in here: allocated service addresses, the mesh's default visibility and trust
// domain. When two sources have the same object, the one named first wins.
//
// Slices of a kind that did not change are shared with the previous snapshot.
// The package judges nothing: Options.Check does.
package snapshot

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/weftmesh/weft/base/watch"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/wire"
)

// Delays of publishing.
const (
	quiet = 10 * time.Millisecond
	most  = 100 * time.Millisecond
	// apart is how many times what a snapshot took is left to the next.
	apart = 4
	// patience bounds the wait for the first word of every expected source.
	patience = 5 * time.Second
)

// Options of a Publisher.
type Options struct {
	// Sources are the names of the sources, the winning one first. The first
	// snapshot waits until each has sent its Full delta, 5 s at most; for those in
	// Essential as long as it takes: proxies that come back must not be told that what
	// these have is gone, only because there is much of it to read.
	Sources, Essential []string
	// Attach makes what the objects of Gateway API and Ingress amount to; nil: nothing.
	Attach func(s *model.Snapshot, last *model.APIOutcome) *model.APIOutcome
	// Check finds what is wrong across objects; nil: nothing.
	Check func(*model.Snapshot) []model.Finding
	Addresses
	Log *slog.Logger
}

// Addresses say which addresses services are given.
type Addresses struct {
	// Families are the IP families of allocated addresses; nil: 4 and 6.
	Families []int
	// Range is where they are; zero: wire.DefaultVIPRange.
	Range wire.VIPRange
	// Captured: only traffic to Range enters sidecars, so that every service needs an
	// address there, whatever it has besides.
	Captured bool
	// Book remembers what was allocated beyond this process; nil: nothing does.
	Book *Book
}

// Publisher receives deltas and publishes snapshots.
type Publisher struct {
	opts Options
	in   chan model.Delta
	cell watch.Cell[*model.Snapshot]
	asks chan chan<- []model.Delta

	// The rest belongs to Run.
	merge   *merger
	waiting map[string]bool
}

// New returns a Publisher. Until the first snapshot the cell holds nil.
func New(opts Options) *Publisher {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	opts.Log = opts.Log.With("component", "snapshot")
	p := &Publisher{opts: opts, in: make(chan model.Delta, 64), asks: make(chan chan<- []model.Delta), merge: newMerger(opts), waiting: map[string]bool{}}
	for _, s := range opts.Sources {
		p.waiting[s] = true
	}
	return p
}

// In is where sources send to.
func (p *Publisher) In() chan<- model.Delta { return p.in }

// Cell holds the newest snapshot.
func (p *Publisher) Cell() *watch.Cell[*model.Snapshot] { return &p.cell }

// Said is all that the sources have said so far, the winning source first: what
// Make makes the newest snapshot of, or the one that is about to come. It waits for
// Run, and fails with ctx's error.
func (p *Publisher) Said(ctx context.Context) ([]model.Delta, error) {
	answer := make(chan []model.Delta, 1)
	select {
	case p.asks <- answer:
		return <-answer, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Run merges and publishes until ctx ends, whose error it returns.
func (p *Publisher) Run(ctx context.Context) error {
	giveUp := time.NewTimer(patience)
	defer giveUp.Stop()
	wait := time.NewTimer(time.Hour)
	wait.Stop()
	defer wait.Stop()
	var first, last time.Time // first delta not yet published; last publication
	pause := quiet
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-giveUp.C:
			for s := range p.waiting {
				if slices.Contains(p.opts.Essential, s) {
					p.opts.Log.Warn("a source has not answered yet, waiting for it", "source", s)
					continue
				}
				delete(p.waiting, s)
				p.opts.Log.Warn("a source has not answered, going on without", "source", s)
			}
		case answer := <-p.asks:
			answer <- p.merge.said()
			continue
		case <-wait.C:
		case d := <-p.in:
			p.merge.apply(d)
			if d.Full {
				delete(p.waiting, d.Source)
			}
			p.drain()
			now := time.Now()
			if first.IsZero() {
				first = now
			}
			if now.Sub(last) < most {
				wait.Reset(max(0, min(pause, most-now.Sub(first))))
				continue
			}
		}
		if len(p.waiting) > 0 || first.IsZero() && p.cell.Load() != nil {
			continue
		}
		start := time.Now()
		if s := p.merge.snapshot(p.cell.Load()); s != nil {
			p.cell.Store(s)
		}
		wait.Stop()
		first, last = time.Time{}, time.Now()
		pause = max(quiet, apart*last.Sub(start))
	}
}

// drain applies what is there already, so that it needs no publication of its own.
func (p *Publisher) drain() {
	for {
		select {
		case d := <-p.in:
			p.merge.apply(d)
			if d.Full {
				delete(p.waiting, d.Source)
			}
		default:
			return
		}
	}
}
