// Package refetch is the part that sources of documents have in common which they fetch from
// addresses that objects name: keys of tokens, trust bundles.
//
// A document is fetched when somebody asks for it, and again after the time that its kind
// says. What was fetched last stays while that fails, which a Finding says, and is tried again
// sooner. It is saved, so that a control plane that starts does not have proxies refuse what is
// good. One that is asked for no more is forgotten when it would be fetched next.
//
// It knows neither what documents are nor how they are fetched, and bounds neither how many
// are fetched at a time nor how long that takes.
package refetch

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/weftmesh/weft/base/backoff"
	"github.com/weftmesh/weft/base/wholefile"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source"
)

// How soon a fetch that has failed is tried again: at first, and at most; and how often all is
// looked at though nothing is due.
const (
	FirstRetry   = time.Second
	LongestRetry = time.Minute
	longestPause = time.Hour
)

// Snapshots is where it stands who asks for what.
type Snapshots interface {
	Load() *model.Snapshot
	Changed() <-chan struct{}
}

// Get fetches a document and says when it is to be fetched again. It may run beside anything.
type Get func(ctx context.Context) (document string, refresh time.Duration, err error)

// Kind is what documents are. K says where one is fetched from. All but what Fetch returns is
// called by Run, one after the other.
type Kind[K comparable] struct {
	// Source is the source's name, File the path where documents are saved; "": nowhere.
	Source, File string
	// First are objects that need no fetch, and FirstWhy the reason of the first delta: "" has it
	// be that there is something saved, if there is.
	First    []model.Object
	FirstWhy string
	// Plural is what documents are called, One what precedes the title of one, and Failed says
	// that one cannot be fetched: "keys of tokens", "keys of ", "keys of tokens cannot be fetched".
	Plural, One, Failed string
	// Saved is what saved ones are called.
	Saved string
	// Title says in words where a document is from, Object is what others get to know of it, and Key
	// that object's key.
	Title  func(K) string
	Object func(from K, document string) model.Object
	Key    func(K) model.Key
	// Wanted is what is asked for by a snapshot, which has a mesh.
	Wanted func(*model.Snapshot) map[K]bool
	// Fetch prepares a fetch.
	Fetch func(*model.Snapshot, K) Get
	// Refresh is when to look again at a saved document that nobody asks for yet.
	Refresh func(*model.Mesh) time.Duration
	// Findings says what failures mean to those who ask, by the last call of Wanted; in a fixed
	// order.
	Findings func(map[K]Failure) []model.Finding
	// Marshal makes a value for JSON of documents, Unmarshal reads them again: those that can be
	// used.
	Marshal   func(map[K]string) any
	Unmarshal func([]byte) (map[K]string, error)
}

// Failure is why a document could not be fetched, and whether there is an older one.
type Failure struct {
	Why string
	Old bool
}

// Loop fetches. Make it with New and Run it once.
type Loop[K comparable] struct {
	kind      Kind[K]
	snapshots Snapshots
	log       *slog.Logger
	entries   map[K]*entry
	results   chan result[K]
	wg        sync.WaitGroup
}

// entry is what is known of one document.
type entry struct {
	document string // last good
	due      time.Time
	busy     bool
	failed   string // why the last fetch failed
	retry    backoff.Backoff
}

type result[K comparable] struct {
	from     K
	document string
	refresh  time.Duration
	err      error
}

// New returns a loop.
func New[K comparable](k Kind[K], s Snapshots, log *slog.Logger) *Loop[K] {
	return &Loop[K]{kind: k, snapshots: s, log: log.With("component", "source/"+k.Source), entries: map[K]*entry{}, results: make(chan result[K])}
}

func newEntry(document string) *entry {
	return &entry{document: document, retry: backoff.Backoff{Min: FirstRetry, Max: LongestRetry}}
}

// Run tells what it has and fetches the rest until ctx ends; it returns ctx's error.
func (l *Loop[K]) Run(ctx context.Context, out chan<- model.Delta) error {
	ctx, cancel := context.WithCancel(ctx)
	defer l.wg.Wait()
	defer cancel()
	first := model.Delta{Source: l.kind.Source, Full: true, Upserts: l.kind.First, Why: l.kind.FirstWhy}
	for from, document := range l.saved() {
		l.entries[from] = newEntry(document)
		first.Upserts = append(first.Upserts, l.kind.Object(from, document))
		if first.Why == "" {
			first.Why = "saved " + l.kind.Saved
		}
	}
	if err := source.Send(ctx, out, first); err != nil {
		return err
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		changed := l.snapshots.Changed()
		if err := l.look(ctx, out, timer); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-timer.C:
		case r := <-l.results:
			if err := l.take(ctx, out, r); err != nil {
				return err
			}
		}
	}
}

// look fetches what is due by the snapshot in force, and forgets what nobody asks for.
func (l *Loop[K]) look(ctx context.Context, out chan<- model.Delta, timer *time.Timer) error {
	snap := l.snapshots.Load()
	if snap == nil || snap.Mesh == nil {
		return nil
	}
	before := l.findings()
	wanted := l.kind.Wanted(snap)
	for from := range wanted {
		if l.entries[from] == nil {
			l.entries[from] = newEntry("")
		}
	}
	now := time.Now()
	next := now.Add(longestPause)
	var gone []model.Key
	for from, e := range l.entries {
		switch {
		case e.busy:
			continue
		case e.due.After(now):
		case wanted[from]:
			l.start(ctx, from, e, l.kind.Fetch(snap, from))
			continue
		case e.due.IsZero(): // saved, and not asked for yet
			e.due = now.Add(l.kind.Refresh(snap.Mesh))
		default:
			delete(l.entries, from)
			gone = append(gone, l.kind.Key(from))
			continue
		}
		if e.due.Before(next) {
			next = e.due
		}
	}
	timer.Reset(next.Sub(now))
	if len(gone) > 0 {
		l.save()
	}
	findings := l.findings()
	if len(gone) == 0 && slices.Equal(before, findings) {
		return nil
	}
	return source.Send(ctx, out, model.Delta{Source: l.kind.Source, Deletes: gone, Findings: findings, Why: l.kind.Plural})
}

// start starts a fetch.
func (l *Loop[K]) start(ctx context.Context, from K, e *entry, get Get) {
	e.busy = true
	l.wg.Go(func() {
		r := result[K]{from: from}
		r.document, r.refresh, r.err = get(ctx)
		select {
		case l.results <- r:
		case <-ctx.Done():
		}
	})
}

// take notes the outcome of a fetch and tells of it.
func (l *Loop[K]) take(ctx context.Context, out chan<- model.Delta, r result[K]) error {
	e := l.entries[r.from]
	e.busy = false
	d := model.Delta{Source: l.kind.Source}
	if r.err != nil {
		e.due = time.Now().Add(e.retry.Next())
		if e.failed == r.err.Error() {
			return nil
		}
		e.failed = r.err.Error()
		l.log.Warn(l.kind.Failed, "from", l.kind.Title(r.from), "error", r.err)
		d.Why = l.kind.Failed
	} else {
		e.retry.Reset()
		e.due = time.Now().Add(r.refresh)
		if e.failed == "" && e.document == r.document {
			return nil
		}
		if e.document != r.document {
			d.Upserts = []model.Object{l.kind.Object(r.from, r.document)}
		}
		e.failed, e.document = "", r.document
		l.save()
		d.Why = l.kind.One + l.kind.Title(r.from)
	}
	d.Findings = l.findings()
	return source.Send(ctx, out, d)
}

// findings is what cannot be fetched, for everybody who asks for it.
func (l *Loop[K]) findings() []model.Finding {
	failed := map[K]Failure{}
	for from, e := range l.entries {
		if e.failed != "" {
			failed[from] = Failure{Why: e.failed, Old: e.document != ""}
		}
	}
	return l.kind.Findings(failed)
}

// saved reads what was saved. A file that cannot be read is as good as none.
func (l *Loop[K]) saved() map[K]string {
	if l.kind.File == "" {
		return nil
	}
	raw, err := os.ReadFile(l.kind.File)
	var out map[K]string
	if err == nil {
		out, err = l.kind.Unmarshal(raw)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.log.Warn("the saved "+l.kind.Plural+" cannot be read", "error", err)
	}
	return out
}

// save writes all that is known, whole or not at all.
func (l *Loop[K]) save() {
	if l.kind.File == "" {
		return
	}
	all := map[K]string{}
	for from, e := range l.entries {
		if e.document != "" {
			all[from] = e.document
		}
	}
	raw, err := json.MarshalIndent(l.kind.Marshal(all), "", " ")
	if err != nil {
		panic("BUG: saved " + l.kind.Plural + ": " + err.Error())
	}
	if err := wholefile.Write(l.kind.File, raw, 0o600); err != nil {
		l.log.Warn("the "+l.kind.Plural+" cannot be saved", "error", err)
	}
}
