package file

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/fswatch"
	"github.com/weftmesh/weft/control/source/weft"
)

// replaced is a file that was read anew.
type replaced struct{ old, now *entry }

// look reads what changed since the last time: of some files where it is known that
// no others have, of all else.
func (s *Source) look(n fswatch.Notice) scanned {
	if out, ok := s.glance(n); ok {
		return out
	}
	return s.scan()
}

// glance reads only the files that a notice names. Not ok: it names something else
// than files that are known, or something of no interest.
func (s *Source) glance(n fswatch.Notice) (out scanned, ok bool) {
	if n.All || !s.sent {
		return out, false
	}
	infos := map[string]fs.FileInfo{}
	for p := range n.Paths {
		info, err := os.Lstat(p)
		switch {
		case err != nil || !info.Mode().IsRegular() || s.files[p] != nil && !s.files[p].missing.IsZero():
			return out, false
		case s.files[p] != nil:
			infos[p] = info
		case config(p) || strings.HasPrefix(filepath.Base(p), "."):
			return out, false // a new file, or one that says which count
		}
	}
	out.order, out.trouble = s.order, s.trouble
	out.glance = true
	for p, info := range infos {
		old := s.files[p]
		var one scanned
		next := map[string]*entry{}
		s.file(p, info, &one, next, from{overlay: old.overlay, whole: n.Paths[p]})
		if one.again > 0 {
			out.left(one.again)
		}
		now := next[p]
		if now == nil {
			return scanned{}, false // it has gone meanwhile
		}
		if now == old {
			continue
		}
		s.files[p] = now
		out.order = slices.Clone(out.order)
		out.order[slices.Index(out.order, old)] = now
		out.changed = append(out.changed, one.changed...)
		out.replaced = append(out.replaced, replaced{old, now})
	}
	s.order = out.order
	return out, true
}

// config tells whether a file is one that counts by its name.
func config(path string) bool {
	ext := filepath.Ext(path)
	return ext == ".yaml" || ext == ".yml"
}

// quick decides what is in force after some files were read anew, where that is
// plain: the same documents, all good before and after, that concern no other file.
// Not ok: all have to be looked at.
func (s *Source) quick(list []replaced) (d model.Delta, ok bool) {
	d = model.Delta{Source: Name, Findings: s.findings}
	next := map[model.Key]slot{}
	for _, r := range list {
		if r.old.overlay || len(r.old.trouble)+len(r.now.trouble) > 0 || len(r.old.results) != len(r.now.results) || s.faulty[r.now.path] {
			return d, false
		}
		for i := range r.now.results {
			was, is := &r.old.results[i], &r.now.results[i]
			have, there := s.objects[is.Key]
			_, covered := s.covered[is.Key]
			_, twice := next[is.Key]
			if moved := len(is.Objects) > 0 && there && is.Objects[0].Head().Origin != have.objects[0].Head().Origin; moved && len(s.findings) > 0 {
				return d, false // a finding about another object may say where this one is
			}
			if is.Bad || was.Key != is.Key || len(is.Findings) > 0 || covered || twice || !there || have.file != r.now.path || have.overlay ||
				len(is.Objects) == 0 || len(is.Objects) != len(have.objects) {
				return d, false
			}
			for j, o := range is.Objects {
				if _, mark := o.(*weft.Tombstone); mark || o.Head().Key != have.objects[j].Head().Key {
					return d, false
				}
				if old := s.emitted[o.Head().Key]; old == nil || !same(old.Head(), o.Head()) {
					d.Upserts = append(d.Upserts, o)
				}
			}
			next[is.Key] = slot{objects: is.Objects, file: r.now.path}
		}
	}
	for k, sl := range next {
		s.objects[k] = sl
	}
	model.SortObjects(d.Upserts)
	return d, true
}
