// Package store keeps the objects that users apply to a running mesh: one file
// each in an overlay folder, which the file source reads and which wins over the
// user's own folder. Deleting an object that the folder has writes a Deleted
// document in its place.
//
// A store changes only its own folder. Every change is a whole file, replaced
// atomically; what a decoder refuses is never written, nor what the mesh has
// already, word for word.
package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// Store is an overlay folder. It is safe for concurrent use.
type Store struct {
	dir string
	dec *document.Decoder
	// find returns an object of the mesh, or nil.
	find func(model.Key) model.Object

	mu sync.Mutex
}

// New makes a store on a folder, which is made when something is applied; "":
// there is none, and every change fails. find returns what the mesh has for a
// document's key, or nil.
func New(dir string, dec *document.Decoder, find func(model.Key) model.Object) *Store {
	return &Store{dir: dir, dec: dec, find: find}
}

// file is where an object is kept. Names are checked by the decoder, so they
// hold no separators; lower case keeps kinds and Windows apart.
func (s *Store) file(k model.Key) string {
	return filepath.Join(s.dir, strings.ToLower(string(k.Kind))+"_"+k.Namespace+"_"+k.Name+".yaml")
}

// Apply implements console.Store.
func (s *Store) Apply(data []byte, name string) []console.Applied {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []console.Applied{}
	for _, r := range s.decode(data, name) {
		a := console.Applied{Object: r.Key, Findings: r.Findings}
		var err error
		switch {
		case r.Bad:
			a.Result = "invalid"
		case len(r.Objects) == 0:
			a.Result = "ignored"
		default:
			a.Result, err = s.put(r, name)
		}
		if err != nil {
			a = failed(a, err)
		}
		out = append(out, a)
	}
	return out
}

// failed adds why an object could not be kept.
func failed(a console.Applied, err error) console.Applied {
	a.Result = "failed"
	a.Findings = append(a.Findings, model.Finding{Severity: model.Error, Object: a.Object, Message: err.Error()})
	return a
}

func (s *Store) decode(data []byte, name string) []document.Result {
	return s.dec.Decode(data, document.Input{Source: "apply", File: name, Dir: filepath.Dir(name)})
}

// put writes one document. An origin comment keeps messages about it, and the
// folder that a Process is relative to, those of the file that it came from.
func (s *Store) put(r document.Result, name string) (string, error) {
	text := fmt.Appendf(nil, "%s\n%s\n", document.OriginComment(name, r.Line), bytes.TrimSpace(unmark(r)))
	there := s.find(r.Key)
	old, err := os.ReadFile(s.file(r.Key))
	switch {
	case err == nil && bytes.Equal(body(old), body(text)), err != nil && there != nil && s.inForce(r, there):
		return "unchanged", nil
	case there != nil:
		return "configured", s.write(r.Key, text)
	}
	return "created", s.write(r.Key, text)
}

// inForce tells whether a document is word for word what the mesh has read from
// the user's folder: to keep a copy would hide what is written there later.
func (s *Store) inForce(r document.Result, there model.Object) bool {
	raw, err := s.Raw(there.Head().Key, there.Head().Origin)
	return err == nil && raw != nil && bytes.Equal(raw, bytes.TrimSpace(unmark(r)))
}

// unmark returns the text from the document's first line on, without the
// separator and comments before it, so that lines are counted from the object.
func unmark(r document.Result) []byte {
	text := r.Text
	for {
		line, rest, ok := bytes.Cut(text, []byte("\n"))
		line = bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(line), []byte("---")))
		if !ok || len(line) > 0 && line[0] != '#' {
			return text
		}
		text = rest
	}
}

// body is a stored text without its origin comment.
func body(text []byte) []byte {
	_, rest, _ := bytes.Cut(text, []byte("\n"))
	return rest
}

func (s *Store) write(k model.Key, text []byte) error {
	if s.dir == "" {
		return errors.New("this control plane keeps no applied objects: start it with --overlay")
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("applied objects: %w", err)
	}
	// The temporary file's name has another ending: the source passes it over.
	tmp := s.file(k) + ".tmp"
	err := os.WriteFile(tmp, text, 0o600)
	if err == nil {
		err = os.Rename(tmp, s.file(k))
	}
	if err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("applied objects: %w", err)
	}
	return nil
}

// Remove deletes the objects of documents.
func (s *Store) Remove(data []byte, name string) []console.Applied {
	out := []console.Applied{}
	for _, r := range s.decode(data, name) {
		if r.Key.Kind == "" || r.Key.Name == "" {
			out = append(out, console.Applied{Object: r.Key, Result: "invalid", Findings: r.Findings})
			continue
		}
		out = append(out, s.Delete(r.Key))
	}
	return out
}

// Delete implements console.Store.
func (s *Store) Delete(k model.Key) console.Applied {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k.Kind == model.KindNamespace {
		k.Namespace = ""
	}
	if s.find(k) == nil {
		return console.Applied{Object: k, Result: "not found"}
	}
	namespace := k.Namespace
	if namespace == "" {
		namespace = document.DefaultNamespace
	}
	// What is applied and not in the folder would be gone with its file alone; the
	// mark does both and needs no look into the folder.
	text := fmt.Sprintf("apiVersion: weft.dev/v1alpha1\nkind: Deleted\nmetadata: {name: %q, namespace: %q}\nspec: {objectKind: %s}\n", k.Name, namespace, k.Kind)
	if err := s.write(k, []byte(text)); err != nil {
		return failed(console.Applied{Object: k}, err)
	}
	return console.Applied{Object: k, Result: "deleted"}
}

// Raw implements console.Store.
func (s *Store) Raw(k model.Key, o model.Origin) ([]byte, error) {
	doc := k
	if k.Kind == model.KindMeshConfig {
		doc.Kind = model.KindConfigMap // as it is applied; see console.Find
	}
	if text, err := os.ReadFile(s.file(doc)); err == nil {
		return bytes.TrimSpace(body(text)), nil
	}
	if o.File == "" {
		return nil, nil // nobody wrote it: a running instance
	}
	data, err := os.ReadFile(o.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has been removed: the mesh goes on with what it held", o.File)
	}
	if err != nil {
		return nil, fmt.Errorf("object as written: %w", err)
	}
	for _, r := range s.decode(data, o.File) {
		// One document may be several objects, or one of another kind (MeshConfig).
		if r.Key == k || slices.ContainsFunc(r.Objects, func(x model.Object) bool { return x.Head().Key == k }) {
			return bytes.TrimSpace(unmark(r)), nil
		}
	}
	return nil, fmt.Errorf("%s no longer holds the object: the mesh goes on with what it held", o.File)
}
