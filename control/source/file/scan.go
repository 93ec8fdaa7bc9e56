package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// A file that was written just now may not be whole yet, and one that is empty or
// gone just now most likely waits for its new content: editors truncate a file, or
// move it away, before they write. All are left until a look that is asked for.
const (
	settle      = 25 * time.Millisecond
	settleEmpty = 250 * time.Millisecond
)

// unsettled tells how much of a while is left since a change; 0: nothing.
func unsettled(since time.Time, while time.Duration) time.Duration {
	age := time.Since(since)
	if age < 0 || age >= while { // the future is another machine's clock
		return 0
	}
	return while - age
}

// Bounds: beyond them something else than configuration was given.
const (
	maxFile  = 8 << 20
	maxFiles = 20_000
)

// entry is what is known of one file.
type entry struct {
	path    string
	overlay bool
	root    int // where it was found, in Source.roots
	size    int64
	mod     time.Time
	read    time.Time
	sum     uint64
	results []document.Result
	trouble []model.Finding // the file as a whole
	missing time.Time       // since when it is not there; zero: it is
}

// scanned is the outcome of one look at all folders.
type scanned struct {
	dirs    []string
	order   []*entry // the overlay first, then paths as given, files by name
	changed []string // base names, for people
	trouble []model.Finding
	again   time.Duration // how soon to look at what was left; 0: nothing was
	// glance: only some files were looked at, of which these are other than before, and
	// those left.
	glance   bool
	replaced []replaced
	left     []string
}

// from says where a file was found, and whether it is known to be whole.
type from struct {
	root           int
	overlay, whole bool
}

// later notes that something is to be looked at again after d.
func (s *scanned) later(d time.Duration) {
	if s.again == 0 || d < s.again {
		s.again = d
	}
}

// roots are where files are looked for, the overlay first.
func (s *Source) roots() []string {
	if s.opts.Overlay == "" {
		return s.opts.Paths
	}
	return append([]string{s.opts.Overlay}, s.opts.Paths...)
}

// scan reads what changed since the last time.
func (s *Source) scan() scanned {
	var out scanned
	next := map[string]*entry{}
	for i, root := range s.roots() {
		s.walk(root, from{root: i, overlay: i == 0 && s.opts.Overlay != ""}, &out, next)
	}
	for p, e := range s.files {
		if next[p] != nil {
			continue
		}
		if e.missing.IsZero() {
			e.missing = time.Now()
		}
		if rest := unsettled(e.missing, settleEmpty); rest > 0 {
			out.later(rest)
			next[p] = e
			at := len(out.order)
			if e.overlay {
				at = 0 // it has to come before what it covers
			}
			out.order = slices.Insert(out.order, at, e)
		} else {
			out.changed = append(out.changed, filepath.Base(e.path)+" removed")
		}
	}
	s.files = next
	// No two entries are one that was read anew.
	out.glance = s.sent && slices.Equal(out.order, s.order) && slices.Equal(out.trouble, s.trouble) && len(out.changed) == 0
	s.order, s.trouble = out.order, out.trouble
	return out
}

// walk visits one folder or file.
func (s *Source) walk(root string, at from, out *scanned, next map[string]*entry) {
	info, err := os.Stat(root)
	switch {
	case err != nil && at.overlay && errors.Is(err, fs.ErrNotExist):
		out.dirs = append(out.dirs, filepath.Dir(root))
		return
	case err != nil:
		s.keep(root, at.overlay, err, out, next)
		return
	case !info.IsDir():
		out.dirs = append(out.dirs, filepath.Dir(root))
		s.file(root, info, out, next, at)
		return
	}
	ignored := ignore(root)
	begin, real := followed(root)
	if real != root {
		out.dirs = append(out.dirs, filepath.Dir(root)) // where it may come to lead elsewhere
	}
	err = filepath.WalkDir(begin, func(p string, d fs.DirEntry, err error) error {
		p = filepath.Clean(p)
		if err != nil {
			s.keep(p, at.overlay, err, out, next)
			return nil
		}
		base := d.Name()
		rel, _ := filepath.Rel(root, p)
		if p != root && (strings.HasPrefix(base, ".") || ignored(filepath.ToSlash(rel))) || base == vendored {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			out.dirs = append(out.dirs, filepath.Join(real, rel))
			return nil
		}
		if !config(base) {
			return nil
		}
		if len(out.order) >= maxFiles {
			return fmt.Errorf("more than %d YAML files", maxFiles)
		}
		info, err := os.Stat(p) // follows links, as ConfigMap volumes have them
		if err != nil {
			s.keep(p, at.overlay, err, out, next)
		} else if !info.IsDir() {
			s.file(p, info, out, next, at)
		}
		return nil
	})
	if err != nil {
		out.trouble = append(out.trouble, unreadable(root, err))
	}
}

// followed is where to begin to walk through a folder, and the folder that is then walked
// through: for a symbolic link the one that it leads to.
func followed(root string) (begin, real string) {
	if info, err := os.Lstat(root); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		return root, root
	}
	real, err := filepath.EvalSymlinks(root)
	if err != nil {
		return root, root
	}
	return root + string(filepath.Separator), real
}

// vendored is a folder of what others have written.
const vendored = "node_modules"

// keep leaves everything at or below a path as it was, since it cannot be read.
func (s *Source) keep(p string, overlay bool, err error, out *scanned, next map[string]*entry) {
	if errors.Is(err, fs.ErrNotExist) && p != "" && !slices.Contains(s.opts.Paths, p) {
		return // removed between listing and looking
	}
	out.trouble = append(out.trouble, unreadable(p, err))
	var kept []*entry
	for name, e := range s.files {
		if e.overlay == overlay && (name == p || strings.HasPrefix(name, p+string(filepath.Separator))) {
			kept = append(kept, e)
		}
	}
	slices.SortFunc(kept, func(a, b *entry) int { return strings.Compare(a.path, b.path) })
	for _, e := range kept {
		next[e.path] = e
		out.order = append(out.order, e)
	}
}

func unreadable(p string, err error) model.Finding {
	reason := err
	var pe *fs.PathError
	if errors.As(err, &pe) {
		reason = pe.Err
	}
	return model.Finding{
		Code: document.CodeText, Severity: model.Error, Origin: model.Origin{Source: Name, File: p},
		Message: "cannot be read: " + reason.Error(), Remedy: "check that it is there and its permissions; what was read before stays in force",
	}
}

// file decodes one file if it changed.
func (s *Source) file(p string, info fs.FileInfo, out *scanned, next map[string]*entry, at from) {
	if next[p] != nil {
		return // given twice
	}
	old := s.files[p]
	if old != nil {
		old.missing = time.Time{}
	}
	// A file written within a tick of the file system's clock after it was read
	// may look the same and not be it.
	settled := old != nil && old.read.Sub(old.mod) > 100*time.Millisecond
	if settled && old.size == info.Size() && old.mod.Equal(info.ModTime()) {
		next[p] = old
		out.order = append(out.order, old)
		return
	}
	leave := func(d time.Duration) {
		out.later(d)
		if old != nil {
			next[p] = old
			out.order = append(out.order, old)
		}
	}
	while := settle
	if info.Size() == 0 && old != nil {
		while = settleEmpty
	}
	if rest := unsettled(info.ModTime(), while); s.sent && rest > 0 && (!at.whole || info.Size() == 0) {
		leave(rest)
		return
	}
	e := &entry{path: p, overlay: at.overlay, root: at.root, size: info.Size(), mod: info.ModTime(), read: time.Now()}
	data, err := read(p)
	if errors.Is(err, fs.ErrNotExist) {
		return // removed between looking and opening
	}
	if s.sent && err == nil && !untouched(p, info, len(data)) {
		leave(settle)
		return
	}
	if err != nil {
		e.trouble = []model.Finding{unreadable(p, err)}
		if old != nil {
			e.results, e.sum = old.results, old.sum
		}
		// Look again next time: the time stamps say nothing about permissions.
		e.read = e.mod
	} else if e.sum = xxhash.Sum64(data); old != nil && old.sum == e.sum && old.trouble == nil {
		old.size, old.mod, old.read = e.size, e.mod, e.read
		e = old
	} else {
		var before []document.Result
		change := " added"
		if old != nil {
			before, change = old.results, " changed"
		}
		e.results = s.dec.Again(data, input(p), before)
		out.changed = append(out.changed, filepath.Base(p)+change)
	}
	next[p] = e
	out.order = append(out.order, e)
}

// untouched tells whether a file is still the one that was looked at, and whether
// that much of it was read: it may be truncated between a look and the reading.
func untouched(p string, seen fs.FileInfo, n int) bool {
	now, err := os.Stat(p)
	return err == nil && int64(n) == seen.Size() && now.Size() == seen.Size() && now.ModTime().Equal(seen.ModTime())
}

func read(p string) ([]byte, error) {
	f, err := os.Open(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		return nil, fmt.Errorf("it is larger than %d MiB", maxFile>>20)
	}
	return data, err
}

// ignoring is the file that says which others do not count.
const ignoring = ".weftignore"

// ignore reads the folder's .weftignore.
func ignore(root string) func(rel string) bool {
	data, err := os.ReadFile(filepath.Join(root, ignoring))
	if err != nil {
		return func(string) bool { return false }
	}
	var patterns []string
	for line := range strings.Lines(string(data)) {
		if line = strings.Trim(strings.TrimSpace(line), "/"); line != "" && line[0] != '#' {
			patterns = append(patterns, line)
		}
	}
	return func(rel string) bool {
		for _, p := range patterns {
			whole, _ := path.Match(p, rel)
			last, _ := path.Match(p, path.Base(rel))
			if whole || last && !strings.Contains(p, "/") {
				return true
			}
		}
		return false
	}
}
