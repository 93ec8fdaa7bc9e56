package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weftmesh/weft/base/wholefile"
	"github.com/weftmesh/weft/control/model"
)

// Book keeps on disk which addresses services were given, so that they have the same
// when the control plane starts again: programs go on with what a name resolved to.
// It is safe for concurrent use.
type Book struct {
	path string
	log  *slog.Logger
	wake chan struct{} // one slot: there is something to write

	mu    sync.Mutex
	given map[model.Key][]netip.Prefix
}

// kept is one line of the file.
type kept struct {
	Service   model.Key      `json:"service"`
	Addresses []netip.Prefix `json:"addresses"`
}

// between is how long what is new is collected before it is written.
const between = time.Second

// OpenBook reads the book of a folder. One that cannot be read is said so and begun anew.
func OpenBook(dir string, log *slog.Logger) *Book {
	b := &Book{path: filepath.Join(dir, "addresses.json"), log: log.With("component", "snapshot"), wake: make(chan struct{}, 1), given: map[model.Key][]netip.Prefix{}}
	raw, err := os.ReadFile(b.path)
	var lines []kept
	if err == nil {
		err = json.Unmarshal(raw, &lines)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.log.Warn("the addresses that services had are not known, they may get others", "file", b.path, "error", err)
		return b
	}
	for _, l := range lines {
		b.given[l.Service] = l.Addresses
	}
	return b
}

func (b *Book) allocated() map[model.Key][]netip.Prefix {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.given
}

// note takes in what is allocated now.
func (b *Book) note(now map[model.Key]allocation) {
	given := make(map[model.Key][]netip.Prefix, len(now))
	for k, al := range now {
		if len(al.vips) > 0 {
			given[k] = al.vips
		}
	}
	b.mu.Lock()
	b.given = given
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Run writes what is new, and once more at the end, until ctx ends.
func (b *Book) Run(ctx context.Context) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
		case <-ctx.Done():
			b.save()
			return nil
		}
		select {
		case <-b.wake:
		case <-ctx.Done():
			b.save()
			return nil
		}
		b.write()
		pause.Reset(between)
	}
}

// save writes what has not been written.
func (b *Book) save() {
	select {
	case <-b.wake:
		b.write()
	default:
	}
}

func (b *Book) write() {
	var lines []kept
	for k, vips := range b.allocated() { // a map that nobody changes
		lines = append(lines, kept{k, vips})
	}
	slices.SortFunc(lines, func(x, y kept) int { return strings.Compare(x.Service.String(), y.Service.String()) })
	raw, err := json.Marshal(lines)
	if err != nil {
		panic("BUG: snapshot: " + err.Error())
	}
	if err := os.MkdirAll(filepath.Dir(b.path), 0o700); err != nil {
		b.log.Warn("addresses of services could not be written", "error", err)
		return
	}
	if err := wholefile.Write(b.path, raw, 0o600); err != nil {
		b.log.Warn("addresses of services could not be written", "error", err)
	}
}
