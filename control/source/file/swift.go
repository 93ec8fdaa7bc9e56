package file

import (
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/weft"
)

// swift is what is in force after some files were read anew, in the making.
type swift struct {
	*Source
	delta model.Delta
	next  map[model.Key]slot
	gone  map[model.Key]bool
}

// quick decides what is in force after some files were read anew, added or removed, where
// that is plain: documents that are all good, before and after, and concern no other
// file. Not ok: all have to be looked at.
func (s *Source) quick(list []replaced) (d model.Delta, ok bool) {
	q := &swift{Source: s, delta: model.Delta{Source: Name, Findings: s.findings}, next: map[model.Key]slot{}, gone: map[model.Key]bool{}}
	for _, r := range list {
		switch {
		case r.old == nil:
			ok = q.add(r.now)
		case r.now == nil:
			ok = q.remove(r.old)
		default:
			ok = q.replace(r)
		}
		if !ok {
			return d, false
		}
	}
	for k := range q.gone {
		delete(s.objects, k)
	}
	for k, sl := range q.next {
		s.objects[k] = sl
	}
	model.SortObjects(q.delta.Upserts)
	slices.SortFunc(q.delta.Deletes, func(a, b model.Key) int { return strings.Compare(a.String(), b.String()) })
	return q.delta, true
}

// replace takes in a file with the same documents as before.
func (q *swift) replace(r replaced) bool {
	if r.old.overlay || len(r.old.trouble)+len(r.now.trouble) > 0 || len(r.old.results) != len(r.now.results) || q.faulty[r.now.path] {
		return false
	}
	for i := range r.now.results {
		was, is := &r.old.results[i], &r.now.results[i]
		have, there := q.objects[is.Key]
		_, covered := q.covered[is.Key]
		_, twice := q.next[is.Key]
		if moved := len(is.Objects) > 0 && there && is.Objects[0].Head().Origin != have.objects[0].Head().Origin; moved && len(q.findings) > 0 {
			return false // a finding about another object may say where this one is
		}
		if is.Bad || was.Key != is.Key || len(is.Findings) > 0 || covered || twice || !there || have.file != r.now.path || have.overlay ||
			len(is.Objects) == 0 || len(is.Objects) != len(have.objects) {
			return false
		}
		for j, o := range is.Objects {
			if _, mark := o.(*weft.Tombstone); mark || o.Head().Key != have.objects[j].Head().Key {
				return false
			}
			if old := q.emitted[o.Head().Key]; old == nil || old != o && !same(old.Head(), o.Head()) {
				q.delta.Upserts = append(q.delta.Upserts, o)
			}
		}
		q.next[is.Key] = slot{objects: is.Objects, file: r.now.path}
	}
	return true
}

// add takes in a file whose documents are nowhere else.
func (q *swift) add(e *entry) bool {
	if e.overlay || len(e.trouble) > 0 || q.faulty[e.path] {
		return false
	}
	for i := range e.results {
		r := &e.results[i]
		_, there := q.objects[r.Key]
		_, twice := q.next[r.Key]
		if r.Bad || len(r.Findings) > 0 || there || twice || q.covers[r.Key] != "" {
			return false
		}
		if len(r.Objects) == 0 {
			continue
		}
		for _, o := range r.Objects {
			if _, mark := o.(*weft.Tombstone); mark || q.emitted[o.Head().Key] != nil {
				return false
			}
			q.delta.Upserts = append(q.delta.Upserts, o)
		}
		q.next[r.Key] = slot{objects: r.Objects, file: e.path}
	}
	return true
}

// remove takes out a file whose documents are nowhere else.
func (q *swift) remove(e *entry) bool {
	if e.overlay || len(e.trouble)+len(q.findings) > 0 {
		return false
	}
	for i := range e.results {
		r := &e.results[i]
		have, there := q.objects[r.Key]
		if len(r.Objects) == 0 && !r.Bad {
			continue
		}
		if r.Bad || !there || have.file != e.path || q.covers[r.Key] != "" || q.gone[r.Key] {
			return false
		}
		q.gone[r.Key] = true
		for _, o := range have.objects {
			if q.emitted[o.Head().Key] == nil {
				return false
			}
			q.delta.Deletes = append(q.delta.Deletes, o.Head().Key)
		}
	}
	return true
}
