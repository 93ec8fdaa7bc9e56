package accesslog

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/weftmesh/weft/proxy/filter/format"
)

// Spec describes a log: Path and one of Format and JSON, an object whose strings
// are formats. Members of nested objects are written as "outer.inner".
type Spec struct {
	Path      string
	Format    string
	JSON      map[string]any
	OmitEmpty bool
}

// Set makes loggers and runs their writers, one per file. It is safe for
// concurrent use.
type Set struct {
	options format.Options

	mu      sync.Mutex
	writers map[string]*Writer
	start   func(*Writer) // set by Run
}

// NewSet makes a set; o is for all formats.
func NewSet(o format.Options) *Set {
	return &Set{options: o, writers: map[string]*Writer{}}
}

// New makes a logger.
func (s *Set) New(spec Spec) (*Logger, error) {
	w, err := s.writer(spec.Path)
	if err != nil {
		return nil, err
	}
	o := s.options
	if spec.JSON == nil {
		if !spec.OmitEmpty {
			o.Missing = "-"
		}
		return NewText(w, spec.Format, o)
	}
	fields, err := flatten("", spec.JSON)
	if err != nil {
		return nil, err
	}
	return NewJSON(w, fields, o)
}

func flatten(prefix string, object map[string]any) ([]Field, error) {
	var out []Field
	for _, name := range slices.Sorted(maps.Keys(object)) {
		switch v := object[name].(type) {
		case string:
			out = append(out, Field{prefix + name, v})
		case map[string]any:
			inner, err := flatten(prefix+name+".", v)
			if err != nil {
				return nil, err
			}
			out = append(out, inner...)
		default:
			return nil, fmt.Errorf("access log format: member %q is a %T: want a string or an object of strings", prefix+name, v)
		}
	}
	return out, nil
}

func (s *Set) writer(path string) (*Writer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.writers[path]; w != nil {
		return w, nil
	}
	w, err := Open(path)
	if err != nil {
		return nil, err
	}
	s.writers[path] = w
	if s.start != nil {
		s.start(w)
	}
	return w, nil
}

// Run writes what the loggers log until ctx ends.
func (s *Set) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	s.mu.Lock()
	s.start = func(w *Writer) { g.Go(func() error { return w.Run(ctx) }) }
	for _, w := range s.writers {
		s.start(w)
	}
	s.mu.Unlock()
	g.Go(func() error { // keeps the group open for writers that come later
		<-ctx.Done()
		s.mu.Lock()
		s.start = nil
		s.mu.Unlock()
		return nil
	})
	return g.Wait()
}
