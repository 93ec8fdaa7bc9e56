// Package fswatch runs a function whenever something in a set of folders may
// have changed: soon after the file system says so, and now and then in case it
// said nothing.
//
// It coalesces: a burst of events (an editor that truncates, writes and renames)
// is one call. It does not say what changed; the function looks for itself.
package fswatch

import (
	"context"
	"log/slog"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Delays. An edit is seen within quiet after its last event, and a burst that
// does not end within most.
const (
	quiet  = 40 * time.Millisecond
	most   = 200 * time.Millisecond
	rescan = 2 * time.Second
	// poll is how often to look when the system gives no notice at all.
	poll = 200 * time.Millisecond
)

// Look is the outcome of one scan.
type Look struct {
	// Dirs are the folders to watch from then on; those that do not exist are left
	// to the next rescan.
	Dirs []string
	// Again, when not 0, is how soon to look again although nothing may happen:
	// something was left because it was not settled yet.
	Again time.Duration
}

// Run calls scan, now and after each change, until ctx ends, whose error it
// returns, or until scan fails.
func Run(ctx context.Context, log *slog.Logger, scan func() (Look, error)) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		log.Warn("no notice of file changes, looking every "+poll.String()+" instead", "error", err)
		return polling(ctx, scan)
	}
	defer w.Close()
	r := &runner{watcher: w, watched: map[string]bool{}, log: log, scan: scan}
	return r.run(ctx)
}

func polling(ctx context.Context, scan func() (Look, error)) error {
	t := time.NewTicker(poll)
	defer t.Stop()
	for {
		if _, err := scan(); err != nil {
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
	watcher *fsnotify.Watcher
	watched map[string]bool
	log     *slog.Logger
	scan    func() (Look, error)
}

func (r *runner) run(ctx context.Context) error {
	again, err := r.look()
	if err != nil {
		return err
	}
	tick := time.NewTicker(rescan)
	defer tick.Stop()
	wait := time.NewTimer(time.Hour)
	wait.Stop()
	defer wait.Stop()
	var first time.Time // of the burst that is going on
	for {
		if again > 0 {
			wait.Reset(again)
			again = 0
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case _, ok := <-r.watcher.Events:
			if !ok {
				return polling(ctx, r.scan)
			}
			now := time.Now()
			if first.IsZero() {
				first = now
			}
			wait.Reset(min(quiet, max(0, most-now.Sub(first))))
			continue
		case err := <-r.watcher.Errors:
			if err != nil {
				r.log.Warn("notice of file changes is incomplete, looking again", "error", err)
			}
		case <-wait.C:
		case <-tick.C:
		}
		first = time.Time{}
		if again, err = r.look(); err != nil {
			return err
		}
	}
}

// look scans and brings the watched folders up to date. A folder that is new
// may have got files before it was watched: then it is scanned again.
func (r *runner) look() (again time.Duration, err error) {
	for range 8 {
		seen, err := r.scan()
		if err != nil {
			return 0, err
		}
		again = seen.Again
		if !r.watch(seen.Dirs) {
			break
		}
	}
	return again, nil
}

func (r *runner) watch(dirs []string) (added bool) {
	want := make(map[string]bool, len(dirs))
	for _, d := range dirs {
		want[d] = true
		if r.watched[d] {
			continue
		}
		if err := r.watcher.Add(d); err != nil {
			continue // not there, or no more watches: the rescan sees to it
		}
		r.watched[d], added = true, true
	}
	for d := range r.watched {
		if !want[d] {
			r.watcher.Remove(d) //nolint:errcheck // it may be gone already
			delete(r.watched, d)
		}
	}
	return added
}
