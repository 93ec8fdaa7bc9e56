package runtime

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/fsnotify/fsnotify"
)

// Disk is where a layer of files is: a file is a value, its path, with dots
// between the parts, the name. A new tree is put there by moving a symbolic link
// over Root; the files themselves are not watched.
type Disk struct {
	// Root is the symbolic link, Path the folder of the values under it.
	Root, Path string
}

// maxDepth bounds folders in folders, as in Envoy.
const maxDepth = 16

// read reads the values; nil: there is no such folder.
func (d Disk) read() (map[string]Value, error) {
	if s, err := os.Stat(d.Path); err != nil || !s.IsDir() {
		return nil, nil //nolint:nilerr // a layer whose folder is not there yet is none
	}
	values := map[string]Value{}
	return values, readFolder(values, d.Path, "", 1)
}

func readFolder(values map[string]Value, folder, prefix string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s: folders are nested more than %d deep", folder, maxDepth)
	}
	list, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, e := range list {
		full := filepath.Join(folder, e.Name())
		mode := e.Type()
		if mode&fs.ModeSymlink != 0 {
			s, err := os.Stat(full)
			if err != nil {
				return err
			}
			mode = s.Mode()
		}
		switch {
		case mode.IsDir():
			if err := readFolder(values, full, prefix+e.Name()+".", depth+1); err != nil {
				return err
			}
		case mode.IsRegular():
			b, err := os.ReadFile(full)
			if err != nil {
				return err
			}
			values[prefix+e.Name()] = Parse(fileText(string(b)))
		}
	}
	return nil
}

// fileText is a file without lines that are comments, and without space at its end.
func fileText(s string) string {
	var lines []string
	for line := range strings.SplitSeq(s, "\n") {
		if !strings.HasPrefix(line, "#") && line != "" {
			lines = append(lines, line)
		}
	}
	return strings.TrimRight(strings.Join(lines, "\n"), " \t\r\n\v\f")
}

// loadDisks reads all layers of files anew. One that is bad keeps what it had.
func (s *Store) loadDisks(log *slog.Logger) {
	for i := range s.layers { // their number and their places do not change
		d := s.layers[i].disk
		if d == nil {
			continue
		}
		values, err := d.read()
		if err != nil {
			s.mu.Lock()
			s.stats.Errors++
			s.mu.Unlock()
			log.Warn("runtime: a layer of files cannot be read; its last values stay", "path", d.Path, "error", err)
			continue
		}
		s.mu.Lock()
		s.layers[i].values, s.layers[i].absent = values, values == nil
		s.refreshLocked()
		s.mu.Unlock()
	}
}

// Run follows the layers of files until ctx ends.
func (s *Store) Run(ctx context.Context, log *slog.Logger) error {
	roots := map[string]bool{}
	for i := range s.layers {
		if d := s.layers[i].disk; d != nil {
			roots[filepath.Clean(d.Root)] = true
		}
	}
	if len(roots) == 0 {
		return nil
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("runtime: %w", err)
	}
	defer w.Close()
	for r := range roots {
		if err := w.Add(filepath.Dir(r)); err != nil {
			log.Warn("runtime: the folder of a layer's link cannot be watched", "path", r, "error", err)
		}
	}
	s.loadDisks(log) // what has changed before the watch began
	for {
		select {
		case e := <-w.Events:
			if e.Has(fsnotify.Create) && roots[filepath.Clean(e.Name)] {
				s.loadDisks(log)
			}
		case err := <-w.Errors:
			log.Warn("runtime: watching files", "error", err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
