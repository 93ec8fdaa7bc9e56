package file

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/control/source/fswatch"
)

// replaced is a file that was read anew, added (no old one), or removed (nothing now).
type replaced struct{ old, now *entry }

// look reads what changed since the last time: of some files where it is known that
// no others have, of all else.
func (s *Source) look(n fswatch.Notice) scanned {
	if out, ok := s.glance(n); ok {
		return out
	}
	return s.scan()
}

// touch is one file that a notice names.
type touch struct {
	path string
	old  *entry      // nil: it is new
	info fs.FileInfo // nil: it is gone
	at   from
}

// glance reads only the files that a notice names. Not ok: it names something else
// than files.
func (s *Source) glance(n fswatch.Notice) (out scanned, ok bool) {
	if n.All || !s.sent {
		return out, false
	}
	var list []touch
	for p, whole := range n.Paths {
		t, ok := s.touched(p)
		if !ok {
			return out, false
		}
		if t.at.whole = whole; t.path != "" {
			list = append(list, t)
		}
	}
	if len(s.order)+len(list) > maxFiles {
		return out, false
	}
	out.trouble, out.glance = s.trouble, true
	for _, t := range list {
		if t.info == nil {
			s.gone(t, &out)
		} else if !s.reread(t, &out) {
			s.order = nil // what was read has not been told yet
			return scanned{}, false
		}
	}
	out.order = s.order
	return out, true
}

// touched tells what a path is that may be another than it was; without a path: nothing
// of interest. Not ok: something that concerns other files too.
func (s *Source) touched(p string) (t touch, ok bool) {
	info, err := os.Lstat(p)
	old := s.files[p]
	hidden := strings.HasPrefix(filepath.Base(p), ".")
	switch {
	case filepath.Base(p) == ignoring:
		return t, false
	case err != nil && !errors.Is(err, fs.ErrNotExist), err == nil && !info.Mode().IsRegular():
		return t, false
	case err != nil && old == nil: // it may have been a folder
		below := p + string(filepath.Separator)
		for name := range s.files {
			if strings.HasPrefix(name, below) {
				return t, false
			}
		}
		return t, !hidden // which may have been a link
	case err != nil:
		// What others say of its documents may become something else.
		return touch{path: p, old: old, at: from{overlay: old.overlay, root: old.root}}, !old.overlay && len(s.findings) == 0
	case old != nil:
		return touch{path: p, old: old, info: info, at: from{overlay: old.overlay, root: old.root}}, old.missing.IsZero()
	case hidden || !config(p):
		return t, true
	}
	at, of, ok := s.home(p)
	if !ok || !of {
		return t, ok
	}
	return touch{path: p, info: info, at: at}, true
}

// home finds out where a new file belongs; of: it counts. Not ok: that is not plain.
func (s *Source) home(p string) (at from, of, ok bool) {
	found := 0
	for i, root := range s.roots() {
		rel, err := filepath.Rel(root, p)
		if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
			continue
		}
		if info, err := os.Lstat(root); err != nil || !info.IsDir() {
			return at, false, false // a link, or a file that is given by its name
		}
		found++
		at, of = from{root: i, overlay: i == 0 && s.opts.Overlay != ""}, !passed(root, rel)
	}
	return at, of, found == 1 && !at.overlay
}

// passed tells whether a walk through root does not come to a file.
func passed(root, rel string) bool {
	ignored := ignore(root)
	parts := strings.Split(rel, string(filepath.Separator))
	for i, part := range parts {
		if strings.HasPrefix(part, ".") || part == vendored || ignored(strings.Join(parts[:i+1], "/")) {
			return true
		}
	}
	return false
}

// reread reads one file anew, or for the first time; false: it has gone meanwhile.
func (s *Source) reread(t touch, out *scanned) bool {
	var one scanned
	next := map[string]*entry{}
	s.file(t.path, t.info, &one, next, t.at)
	if one.again > 0 {
		out.later(one.again)
		out.left = append(out.left, t.path)
	}
	now := next[t.path]
	switch {
	case now == nil:
		return t.old == nil && one.again > 0
	case now == t.old:
		return true
	case t.old != nil:
		s.order[slices.Index(s.order, t.old)] = now
	default:
		s.order = slices.Insert(s.order, s.place(now), now)
	}
	s.files[t.path] = now
	out.changed = append(out.changed, one.changed...)
	out.replaced = append(out.replaced, replaced{t.old, now})
	return true
}

// place is where a walk would come to a new file.
func (s *Source) place(e *entry) int {
	i := slices.IndexFunc(s.order, func(o *entry) bool {
		return !o.missing.IsZero() && !o.overlay || cmp.Or(o.root-e.root, walked(o.path, e.path)) > 0
	})
	if i < 0 {
		return len(s.order)
	}
	return i
}

// walked is the order in which a walk comes to files.
func walked(a, b string) int {
	for i := range min(len(a), len(b)) {
		x, y := a[i], b[i]
		switch {
		case x == y:
			continue
		case x == filepath.Separator:
			return -1
		case y == filepath.Separator:
			return 1
		}
		return cmp.Compare(x, y)
	}
	return len(a) - len(b)
}

// gone takes a file out that is not there, once it has not been for long enough: until
// then it comes last.
func (s *Source) gone(t touch, out *scanned) {
	e := t.old
	first := e.missing.IsZero()
	if first {
		e.missing = time.Now()
	}
	rest := unsettled(e.missing, settleEmpty)
	if first || rest == 0 {
		i := slices.Index(s.order, e)
		s.order = slices.Delete(s.order, i, i+1)
	}
	if rest > 0 {
		out.later(rest)
		out.left = append(out.left, t.path)
		if first {
			s.order = append(s.order, e)
		}
		return
	}
	delete(s.files, t.path)
	out.changed = append(out.changed, filepath.Base(t.path)+" removed")
	out.replaced = append(out.replaced, replaced{old: e})
}

// config tells whether a file is one that counts by its name.
func config(path string) bool {
	ext := filepath.Ext(path)
	return ext == ".yaml" || ext == ".yml"
}
