// Package store keeps the objects that users apply to a running mesh: one file
// each in an overlay folder, which the file source reads and which wins over the
// user's own folder. Deleting an object that the folder has writes a Deleted
// document in its place.
//
// A store changes only its own folder. Every change is a whole file, replaced
// atomically; what a decoder refuses is never written.
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
	// exists tells whether the mesh has an object.
	exists func(model.Key) bool

	mu sync.Mutex
}

// New makes a store on a folder, which is made when something is applied.
func New(dir string, dec *document.Decoder, exists func(model.Key) bool) *Store {
	return &Store{dir: dir, dec: dec, exists: exists}
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
		a := console.Applied{Object: r.Key, Findings: r.Findings, Result: "invalid"}
		if !r.Bad && len(r.Objects) > 0 {
			result, err := s.put(r, name)
			a.Result = result
			if err != nil {
				a.Result = "invalid"
				a.Findings = append(a.Findings, model.Finding{Severity: model.Error, Object: r.Key, Message: err.Error()})
			}
		}
		out = append(out, a)
	}
	return out
}

func (s *Store) decode(data []byte, name string) []document.Result {
	return s.dec.Decode(data, document.Input{Source: "apply", File: name, Dir: filepath.Dir(name)})
}

// put writes one document. An origin comment keeps messages about it, and the
// folder that a Process is relative to, those of the file that it came from.
func (s *Store) put(r document.Result, name string) (string, error) {
	text := fmt.Appendf(nil, "%s\n%s\n", document.OriginComment(name, r.Line), bytes.TrimSpace(unmark(r)))
	result := "created"
	if s.exists(r.Key) {
		result = "configured"
	}
	if old, err := os.ReadFile(s.file(r.Key)); err == nil && bytes.Equal(body(old), body(text)) {
		return "unchanged", nil
	}
	return result, s.write(r.Key, text)
}

// unmark returns the text from the document's first line on, without the
// separator, so that lines are counted from the object.
func unmark(r document.Result) []byte {
	text := r.Text
	for {
		line, rest, ok := bytes.Cut(text, []byte("\n"))
		trimmed := bytes.TrimSpace(line)
		if !ok || len(trimmed) > 0 && trimmed[0] != '#' && !bytes.HasPrefix(trimmed, []byte("---")) {
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
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("applied objects: %w", err)
	}
	// The temporary file's name has another ending: the source passes it over.
	tmp := s.file(k) + ".tmp"
	if err := os.WriteFile(tmp, text, 0o600); err != nil {
		return fmt.Errorf("applied objects: %w", err)
	}
	if err := os.Rename(tmp, s.file(k)); err != nil {
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
	if !s.exists(k) {
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
		return console.Applied{Object: k, Result: "invalid", Findings: []model.Finding{{Severity: model.Error, Object: k, Message: err.Error()}}}
	}
	return console.Applied{Object: k, Result: "deleted"}
}

// Raw implements console.Store.
func (s *Store) Raw(k model.Key, o model.Origin) ([]byte, error) {
	if text, err := os.ReadFile(s.file(k)); err == nil {
		return body(text), nil
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
			return bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(r.Text), []byte("---"))), nil
		}
	}
	return nil, fmt.Errorf("%s no longer holds the object: the mesh goes on with what it held", o.File)
}
