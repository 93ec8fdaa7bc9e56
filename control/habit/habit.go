// Package habit keeps what the proxies of each service account asked for, on disk, so
// that one that starts has what it will use before it asks.
//
// It is a hint and no more: what it names is checked like any other question, a file
// that cannot be read or written is said so and gone on without, and names that nobody
// used for a week are forgotten. It knows names and types, and nothing of a mesh.
package habit

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	// keep is how long a name is remembered that is not used again.
	keep = 7 * 24 * time.Hour
	// most bounds the names of an account, accounts the accounts.
	most     = 256
	accounts = 20000
	// every is how often what is new is written.
	every = 30 * time.Second
)

// Book is what is remembered. It is safe for concurrent use.
type Book struct {
	path string
	log  *slog.Logger

	mu sync.Mutex
	// used is when a name was used last, in Unix seconds, by account, type and name.
	used  map[string]map[string]map[string]int64
	dirty bool
}

// Open reads the book of a folder; "": nothing is kept beyond the process.
func Open(dir string, log *slog.Logger) *Book {
	b := &Book{log: log.With("component", "habit"), used: map[string]map[string]map[string]int64{}}
	if dir == "" {
		return b
	}
	b.path = filepath.Join(dir, "used.json")
	raw, err := os.ReadFile(b.path)
	if err == nil {
		err = json.Unmarshal(raw, &b.used)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.log.Warn("what proxies used before is not known, they will ask", "file", b.path, "error", err)
		b.used = map[string]map[string]map[string]int64{}
	}
	return b
}

// Note says that a proxy of an account uses a name.
func (b *Book) Note(account, typeURL, name string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	of := b.used[account]
	if of == nil {
		if len(b.used) >= accounts {
			return
		}
		of = map[string]map[string]int64{}
		b.used[account] = of
	}
	if of[typeURL] == nil {
		of[typeURL] = map[string]int64{}
	}
	of[typeURL][name] = now.Unix()
	b.dirty = true
	if len(of[typeURL]) > 2*most {
		trim(of[typeURL], now)
	}
}

// Names are those that proxies of an account are likely to use, by type.
func (b *Book) Names(account string, now time.Time) map[string][]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[string][]string{}
	for typeURL, names := range b.used[account] {
		trim(names, now)
		out[typeURL] = slices.Sorted(maps.Keys(names))
	}
	return out
}

// Used is when the names of a type were used last by proxies of an account.
func (b *Book) Used(account, typeURL string) map[string]time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[string]time.Time{}
	for name, at := range b.used[account][typeURL] {
		out[name] = time.Unix(at, 0)
	}
	return out
}

// trim forgets what is old, and of too many those that were not used for longest.
func trim(names map[string]int64, now time.Time) {
	oldest := now.Add(-keep).Unix()
	maps.DeleteFunc(names, func(_ string, at int64) bool { return at < oldest })
	if len(names) <= most {
		return
	}
	order := slices.SortedFunc(maps.Keys(names), func(a, b string) int {
		return cmp.Or(cmp.Compare(names[b], names[a]), cmp.Compare(a, b))
	})
	for _, name := range order[most:] {
		delete(names, name)
	}
}

// Run writes what is new now and then, and at the end, until ctx ends.
func (b *Book) Run(ctx context.Context) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			b.save()
			return nil
		}
		b.save()
	}
}

func (b *Book) save() {
	if err := b.write(); err != nil {
		b.log.Warn("what proxies use could not be written", "error", err)
	}
}

// write replaces the file, if there is something new.
func (b *Book) write() error {
	b.mu.Lock()
	if !b.dirty || b.path == "" {
		b.mu.Unlock()
		return nil
	}
	b.dirty = false
	for account, of := range b.used {
		for typeURL, names := range of {
			if trim(names, time.Now()); len(names) == 0 {
				delete(of, typeURL)
			}
		}
		if len(of) == 0 {
			delete(b.used, account)
		}
	}
	raw, err := json.Marshal(b.used)
	b.mu.Unlock()
	if err != nil {
		panic("BUG: habit: " + err.Error())
	}
	if err := os.MkdirAll(filepath.Dir(b.path), 0o700); err != nil {
		return fmt.Errorf("%s: %w", b.path, err)
	}
	next := b.path + ".new"
	if err := os.WriteFile(next, raw, 0o600); err != nil {
		return err
	}
	return os.Rename(next, b.path)
}
