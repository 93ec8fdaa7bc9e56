package file

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
	"github.com/weftmesh/weft/control/source/weft"
)

// slot is what is in force for one document.
type slot struct {
	objects []model.Object
	file    string
	overlay bool
}

// failure is where the bad version of an object stands.
type failure struct {
	origin  model.Origin
	overlay bool
}

// pass is the work of one assemble.
type pass struct {
	old    map[model.Key]slot
	next   map[model.Key]slot
	hidden map[model.Key]bool // by a Deleted document
	// covers holds the overlay's file for each document that it is about, and
	// covered what the folder's version of it was when that was last looked at.
	covers  map[model.Key]string
	covered map[model.Key]uint64
	// outdated are the covered documents that have been written anew in the
	// folder, and the overlay's files: the newest word is the one that counts.
	outdated map[model.Key]string
	failed   map[model.Key]failure
	torn     map[string]bool // files with a document that could not be identified
	findings []model.Finding
}

// assemble decides what is in force and tells the difference to before.
func (s *Source) assemble(seen scanned) (model.Delta, bool) {
	if seen.glance {
		if d, ok := s.quick(seen.replaced); ok {
			d.Why = s.why(&d, seen)
			for _, o := range d.Upserts {
				s.emitted[o.Head().Key] = o
			}
			for _, k := range d.Deletes {
				delete(s.emitted, k)
			}
			return d, len(d.Upserts)+len(d.Deletes) > 0
		}
	}
	p := &pass{
		old: s.objects, next: map[model.Key]slot{}, hidden: map[model.Key]bool{},
		covers: map[model.Key]string{}, covered: map[model.Key]uint64{}, outdated: map[model.Key]string{},
		failed: map[model.Key]failure{}, torn: map[string]bool{}, findings: seen.trouble,
	}
	for _, e := range seen.order {
		p.findings = append(p.findings, e.trouble...)
		for i := range e.results {
			p.add(e, &e.results[i], s.covered)
		}
	}
	p.lastGood()
	for k, was := range s.covered {
		// What cannot be read at the moment is compared when it can.
		if _, seen := p.covered[k]; !seen && p.covers[k] != "" {
			p.covered[k] = was
		}
	}
	s.objects, s.covers, s.covered = p.next, p.covers, p.covered
	s.forget(p.outdated)
	slices.SortStableFunc(p.findings, func(a, b model.Finding) int {
		return cmp.Or(strings.Compare(a.Origin.File, b.Origin.File), a.Origin.Line-b.Origin.Line, strings.Compare(a.Field, b.Field))
	})
	return s.difference(p, seen)
}

// forget removes the overlay's files of documents. One that cannot be removed
// is passed over as long as the control plane runs.
func (s *Source) forget(outdated map[model.Key]string) {
	for k, path := range outdated {
		if err := os.Remove(path); err != nil {
			s.opts.Log.Warn("an applied object that was written anew in the folder cannot be removed", "path", path, "error", err)
			continue
		}
		delete(s.files, path)
		delete(s.covered, k)
	}
}

// add puts the outcome of one document where it belongs. before is what the
// documents that the overlay covers were the last time.
func (p *pass) add(e *entry, r *document.Result, before map[model.Key]uint64) {
	p.findings = append(p.findings, r.Findings...)
	if r.Bad {
		if r.Key.Name == "" {
			p.torn[e.path] = true
		} else if _, taken := p.next[r.Key]; !taken && !p.hidden[r.Key] {
			at := model.Origin{Source: Name, File: e.path, Line: r.Line}
			if len(r.Findings) > 0 { // all may be suppressed
				at = r.Findings[0].Origin
			}
			p.failed[r.Key] = failure{origin: at, overlay: e.overlay}
		}
		return
	}
	if len(r.Objects) == 0 {
		return
	}
	if t, ok := r.Objects[0].(*weft.Tombstone); ok {
		if e.overlay {
			p.hidden[t.Target] = true
			p.covers[t.Target] = e.path
		} else {
			p.findings = append(p.findings, model.Finding{
				Code: document.CodeRefused, Severity: model.Error, Object: r.Key, Origin: t.Origin,
				Message: "is for the overlay of a running mesh", Remedy: "remove the object itself",
			})
		}
		return
	}
	have, taken := p.next[r.Key]
	over, covered := p.covers[r.Key]
	switch {
	case covered && !e.overlay:
		if !p.rewritten(r, before) {
			return
		}
		p.outdated[r.Key] = over
		delete(p.covers, r.Key)
		delete(p.hidden, r.Key)
	case taken:
		first := have.objects[0].Head().Origin
		p.findings = append(p.findings, model.Finding{
			Code: document.CodeDuplicate, Severity: model.Error, Object: r.Key, Origin: r.Objects[0].Head().Origin,
			Message: "is there twice: it stands in " + first.String() + " too, which is used", Remedy: "remove one, or rename it",
		})
		return
	}
	p.next[r.Key] = slot{objects: r.Objects, file: e.path, overlay: e.overlay}
	if e.overlay {
		p.covers[r.Key] = e.path
	}
}

// rewritten tells whether the folder's version of a covered document is another
// than it was when it was covered.
func (p *pass) rewritten(r *document.Result, before map[model.Key]uint64) bool {
	now := r.Objects[0].Head().Hash
	was, known := before[r.Key]
	if !known {
		was = now
	}
	p.covered[r.Key] = was
	return was != now
}

// lastGood keeps objects whose new version is bad, and those of files of which
// a part cannot be told apart.
func (p *pass) lastGood() {
	keys := make([]model.Key, 0, len(p.old))
	for k := range p.old {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b model.Key) int { return strings.Compare(a.String(), b.String()) })
	for _, k := range keys {
		old := p.old[k]
		bad, failed := p.failed[k]
		// A bad version in the overlay does not bring back what it covered.
		_, there := p.next[k]
		if p.hidden[k] || there && !(failed && bad.overlay && old.overlay) {
			continue
		}
		at := bad.origin
		if !failed {
			if !p.torn[old.file] {
				continue
			}
			at = old.objects[0].Head().Origin
		}
		p.next[k] = old
		p.findings = append(p.findings, document.LastGood(k, at))
	}
}

// difference makes the delta; false when there is nothing to tell.
func (s *Source) difference(p *pass, seen scanned) (model.Delta, bool) {
	d := model.Delta{Source: Name, Full: !s.sent, Findings: p.findings}
	now := make(map[model.Key]model.Object, len(s.emitted))
	for _, sl := range p.next {
		for _, o := range sl.objects {
			now[o.Head().Key] = o
		}
	}
	for k, o := range now {
		old := s.emitted[k]
		if old == nil || !same(old.Head(), o.Head()) {
			d.Upserts = append(d.Upserts, o)
		}
	}
	for k := range s.emitted {
		if now[k] == nil {
			d.Deletes = append(d.Deletes, k)
		}
	}
	model.SortObjects(d.Upserts)
	slices.SortFunc(d.Deletes, func(a, b model.Key) int { return strings.Compare(a.String(), b.String()) })
	d.Why = s.why(&d, seen)
	if s.sent && slices.Equal(s.findings, p.findings) && len(d.Upserts)+len(d.Deletes) == 0 {
		return d, false
	}
	s.emitted, s.findings, s.sent = now, p.findings, true
	s.faulty = map[string]bool{}
	for _, f := range p.findings {
		s.faulty[f.Origin.File] = true
	}
	return d, true
}

// why says what changed, for a person: the objects, or where none did (a
// comment, a mistake) the files.
func (s *Source) why(d *model.Delta, seen scanned) string {
	var what []string
	for _, o := range d.Upserts {
		m := o.Head()
		file := ""
		if m.Origin.File != "" {
			file = " (" + filepath.Base(m.Origin.File) + ")"
		}
		switch old := s.emitted[m.Key]; {
		case old == nil:
			what = append(what, m.Key.Title()+" added"+file)
		case old.Head().Hash != m.Hash:
			what = append(what, m.Key.Title()+" changed"+file)
		}
	}
	for _, k := range d.Deletes {
		what = append(what, k.Title()+" removed")
	}
	if len(what) == 0 {
		what = slices.Sorted(slices.Values(seen.changed))
	}
	if n := len(what); n > 3 {
		what = append(what[:3:3], fmt.Sprintf("%d more", n-3))
	}
	return strings.Join(what, ", ")
}

// same tells whether content and place are: a moved object is sent again, so
// that Findings about it name the right lines.
func same(a, b *model.Meta) bool {
	return a.Hash == b.Hash && a.Origin == b.Origin && a.Lines.Equal(b.Lines)
}
