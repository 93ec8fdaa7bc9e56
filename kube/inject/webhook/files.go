package webhook

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/weftmesh/weft/kube/inject"
)

// Files are an injector whose settings and mesh configuration are files, which may change
// at any time: a ConfigMap that is mounted. What is wrong in a new version is logged, and the
// last good one stays.
type Files struct {
	settings, mesh string
	log            *slog.Logger

	mu   sync.Mutex
	last *inject.Injector
	seen [2]stamp
}

// stamp tells versions of a file apart.
type stamp struct {
	at   time.Time
	size int64
}

// NewFiles reads the files for the first time. An empty path means the defaults.
func NewFiles(settings, mesh string, log *slog.Logger) (*Files, error) {
	f := &Files{settings: settings, mesh: mesh, log: log}
	f.seen = f.stamps()
	var err error
	f.last, err = f.read()
	return f, err
}

// Injector is that of the files as they are now.
func (f *Files) Injector() *inject.Injector {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := f.stamps(); now != f.seen {
		f.seen = now
		next, err := f.read()
		if err != nil {
			f.log.Error("new injection settings cannot be used: the last ones stay", "error", err)
			return f.last
		}
		f.last = next
		f.log.Info("injection settings have changed")
	}
	return f.last
}

func (f *Files) stamps() (out [2]stamp) {
	for i, path := range []string{f.settings, f.mesh} {
		if s, err := os.Stat(path); err == nil {
			out[i] = stamp{s.ModTime(), s.Size()}
		}
	}
	return out
}

func (f *Files) read() (*inject.Injector, error) {
	s, mesh := inject.Defaults(), inject.DefaultMesh()
	if f.settings != "" {
		raw, err := os.ReadFile(f.settings)
		if err != nil {
			return nil, err
		}
		if s, err = inject.ParseSettings(raw); err != nil {
			return nil, fmt.Errorf("%s: %w", f.settings, err)
		}
	}
	if f.mesh != "" {
		raw, err := os.ReadFile(f.mesh)
		if err != nil {
			return nil, err
		}
		if mesh, err = inject.ParseMesh(raw); err != nil {
			return nil, fmt.Errorf("%s: %w", f.mesh, err)
		}
	}
	return inject.New(s, mesh)
}
