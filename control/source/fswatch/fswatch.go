// Package fswatch runs a function whenever something in a set of folders may
// have changed: soon after the file system says so, and now and then in case it
// said nothing.
//
// A lone change is told at once when the system says that it is whole: a file that
// its writer has closed, or that was moved into its place. What is being written is
// waited for, and a burst is one call; a storm without end is a call now and then.
package fswatch

import (
	"context"
	"log/slog"
	"time"
)

// Delays. What is whole is told after soon, within which what belongs to it most
// often comes; anything else within quiet after its last event, and a burst that does
// not end within most.
const (
	soon  = time.Millisecond
	quiet = 40 * time.Millisecond
	most  = 200 * time.Millisecond
	// apart is how many times what a look took is left between two.
	apart = 4
	// rescan is how often everything is looked at, unless that takes more than one
	// in share of the time; rarely that is, where it finds nothing time after time: the
	// system's notices are to be relied on there.
	rescan = 2 * time.Second
	rarely = 16 * time.Second
	share  = 200
	// poll is how often to look when the system gives no notice at all.
	poll = 200 * time.Millisecond
)

// Notice is what may have changed since the last look.
type Notice struct {
	// All: anything may have.
	All bool
	// Paths that have, if not All, and whether they are whole.
	Paths map[string]bool
}

// Look is the outcome of one scan.
type Look struct {
	// Dirs are the folders to watch from then on; those that do not exist are left
	// to the next rescan.
	Dirs []string
	// Again, when not 0, is how soon to look again although nothing may happen:
	// something was left because it was not settled yet. Left are the paths, if these
	// are all; nil: everything is to be looked at.
	Again time.Duration
	Left  []string
	// Found: something is other than it was at the last look.
	Found bool
}

// event is one notice of the system: of a path, or that some were lost.
type event struct {
	path        string
	whole, lost bool
}

// watcher gives notice of what happens in folders.
type watcher interface {
	// add and remove watch a folder and end that.
	add(dir string) error
	remove(dir string)
	// events is closed when there will be no more.
	events() <-chan event
	close()
}

// Run calls scan, now and after each change, until ctx ends, whose error it
// returns, or until scan fails.
func Run(ctx context.Context, log *slog.Logger, scan func(Notice) (Look, error)) error {
	w, err := newWatcher()
	if err != nil {
		log.Warn("no notice of file changes, looking every "+poll.String()+" instead", "error", err)
		return polling(ctx, scan)
	}
	defer w.close()
	r := &runner{watcher: w, watched: map[string]bool{}, scan: scan}
	return r.run(ctx)
}

func polling(ctx context.Context, scan func(Notice) (Look, error)) error {
	t := time.NewTicker(poll)
	defer t.Stop()
	for {
		if _, err := scan(Notice{All: true}); err != nil {
			return err
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

type runner struct {
	watcher watcher
	watched map[string]bool
	scan    func(Notice) (Look, error)

	notice Notice    // since the last look
	first  time.Time // event of the burst that is going on
	hurry  bool      // something whole is in it: it is not waited for more
	last   time.Time // look
	took   time.Duration
	every  time.Duration // until the next rescan
}

func (r *runner) run(ctx context.Context) error {
	wait := time.NewTimer(time.Hour)
	defer wait.Stop()
	all := time.NewTimer(rescan)
	defer all.Stop()
	look := func() error {
		wait.Stop()
		whole := r.notice.All
		seen, took, err := r.look()
		if seen.Again > 0 {
			wait.Reset(seen.Again)
			r.left(seen.Left)
		}
		if whole {
			all.Reset(max(r.every, share*took))
		}
		return err
	}
	r.notice.All, r.every = true, rescan
	if err := look(); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-r.watcher.events():
			if !ok {
				return polling(ctx, r.scan)
			}
			if d := r.noted(e); d >= 0 {
				wait.Reset(d)
			}
			continue
		case <-wait.C:
		case <-all.C:
			r.every = min(2*r.every, rarely) // unless it finds something
			r.notice.All = true
		}
		if err := look(); err != nil {
			return err
		}
	}
}

// noted takes an event in and says after which time to look; below 0: when it was
// to be anyway.
func (r *runner) noted(e event) time.Duration {
	now := time.Now()
	if r.first.IsZero() {
		r.first = now
	}
	if e.lost {
		r.notice.All = true
	} else {
		r.notice.add(e.path, e.whole)
	}
	switch {
	case r.hurry:
		return -1
	case e.whole:
		// In a storm looks keep a distance, the larger the more they take.
		r.hurry = true
		return max(soon, min(most, max(quiet, apart*r.took))-now.Sub(r.last))
	}
	return min(quiet, max(0, most-now.Sub(r.first)))
}

// left notes what the last look left for another one.
func (r *runner) left(paths []string) {
	r.notice.All = r.notice.All || paths == nil
	for _, p := range paths {
		r.notice.add(p, r.notice.Paths[p])
	}
}

func (n *Notice) add(path string, whole bool) {
	if n.Paths == nil {
		n.Paths = map[string]bool{}
	}
	n.Paths[path] = whole
}

// look scans and brings the watched folders up to date. A folder that is new
// may have got files before it was watched: then it is scanned again.
func (r *runner) look() (seen Look, took time.Duration, err error) {
	n := r.notice
	r.notice, r.first, r.hurry = Notice{}, time.Time{}, false
	start := time.Now()
	for range 8 {
		if seen, err = r.scan(n); err != nil {
			return seen, 0, err
		}
		if n.All && seen.Found {
			r.every = rescan
		}
		if !n.All && seen.Dirs == nil || !r.watch(seen.Dirs) {
			break
		}
		n = Notice{All: true}
	}
	r.last = time.Now()
	r.took = r.last.Sub(start)
	return seen, r.took, nil
}

func (r *runner) watch(dirs []string) (added bool) {
	want := make(map[string]bool, len(dirs))
	for _, d := range dirs {
		want[d] = true
		if r.watched[d] {
			continue
		}
		if err := r.watcher.add(d); err != nil {
			continue // not there, or no more watches: the rescan sees to it
		}
		r.watched[d], added = true, true
	}
	for d := range r.watched {
		if !want[d] {
			r.watcher.remove(d)
			delete(r.watched, d)
		}
	}
	return added
}
