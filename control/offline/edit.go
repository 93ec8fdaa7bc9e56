package offline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/snapshot"
	"github.com/weftmesh/weft/control/source/file"
)

// Edit is a change of what is written.
type Edit struct {
	// Files is what is written anew (file.Read). An object that is bad there is not
	// changed, as `weft apply` would not.
	Files model.Delta
	// Whole: Files is all that is written; what it does not have is gone.
	Whole bool
	// Delete names documents that are removed.
	Delete []model.Key
}

// With is the mesh after an edit. Services and made-up workloads keep their
// addresses. What a supervisor that runs would start or end for it is not in it. An
// error means that a document to be removed is not there.
func (m *Mesh) With(e Edit) (*Mesh, error) {
	if !m.imagined {
		e.Files.Upserts = seal(e.Files.Upserts) // as those of a control plane's state are
	}
	if e.Files.Source == "" {
		e.Files.Source = file.Name // nothing new
	}
	p := m.parts
	p.Addresses = snapshot.Allocated(m.Snapshot)
	var before model.Delta // of the files
	var others []model.Delta
	for _, d := range p.Deltas {
		if d.Source == e.Files.Source {
			before = d
		} else if d.Source != imagined || !m.imagined {
			others = append(others, d)
		}
	}
	files := e.Files
	if !e.Whole {
		files = overlay(before, e.Files)
	}
	all := append([]model.Delta{files}, others...)
	for _, k := range e.Delete {
		if !remove(all, k) {
			return nil, fmt.Errorf("there is no %s to be removed", k.Title())
		}
	}
	if m.imagined {
		all = imagine(all[0], p.Settings, m.Snapshot.Workloads)
	}
	p.Deltas = all
	out := build(p, m.cache)
	out.imagined = m.imagined
	return out, nil
}

func seal(list []model.Object) []model.Object {
	out := slices.Clone(list)
	for i, o := range out {
		if s, ok := o.(*model.Secret); ok {
			out[i] = s.Sealed()
		}
	}
	return out
}

// overlay lays documents over what is written.
func overlay(before, edit model.Delta) model.Delta {
	anew := map[model.Key]bool{}
	for _, o := range edit.Upserts {
		anew[document(o.Head().Key)] = true
	}
	out := model.Delta{Source: edit.Source, Full: true, Upserts: slices.Clone(edit.Upserts)}
	for _, o := range before.Upserts {
		if !anew[document(o.Head().Key)] {
			out.Upserts = append(out.Upserts, o)
		}
	}
	for _, f := range before.Findings {
		if !anew[f.Object] {
			out.Findings = append(out.Findings, f)
		}
	}
	out.Findings = append(out.Findings, edit.Findings...)
	model.SortObjects(out.Upserts)
	return out
}

// document is the key of the document that an object was made of: a ServiceEntry is
// an object for each host, called "name/host".
func document(k model.Key) model.Key {
	if k.Kind == model.KindServiceEntry {
		k.Name, _, _ = strings.Cut(k.Name, "/")
	}
	return k
}

// remove takes the objects of a document out of deltas.
func remove(all []model.Delta, k model.Key) (found bool) {
	for i := range all {
		rest := slices.DeleteFunc(slices.Clone(all[i].Upserts), func(o model.Object) bool { return document(o.Head().Key) == k })
		found = found || len(rest) < len(all[i].Upserts)
		all[i].Upserts = rest
		all[i].Findings = slices.DeleteFunc(slices.Clone(all[i].Findings), func(f model.Finding) bool { return f.Object == k })
	}
	return found
}
