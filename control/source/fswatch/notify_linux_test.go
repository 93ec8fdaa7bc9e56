package fswatch

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

// TestNotice drives the system's own notice: a file that is moved into a watched
// folder, and one that is written, are named, and whole.
func TestNotice(t *testing.T) {
	dir, beside := t.TempDir(), t.TempDir()
	done := errors.New("enough")
	moved, written := filepath.Join(dir, "moved"), filepath.Join(dir, "written")
	seen := map[string]bool{}
	looks := 0
	err := Run(t.Context(), slog.New(slog.DiscardHandler), func(n Notice) (Look, error) {
		looks++
		for p, whole := range n.Paths {
			seen[p] = seen[p] || whole
		}
		switch {
		case n.All && looks == 2: // the folder is watched by now
			from := filepath.Join(beside, "moved")
			if err := errors.Join(os.WriteFile(from, []byte("x"), 0o600), os.Rename(from, moved), os.WriteFile(written, []byte("y"), 0o600)); err != nil {
				return Look{}, err
			}
		case seen[moved] && seen[written]:
			return Look{}, done
		case looks > 200:
			return Look{}, errors.New("no notice came")
		}
		return Look{Dirs: []string{dir}}, nil
	})
	if !errors.Is(err, done) {
		t.Errorf("Run returned %v, seen %v in %d looks", err, seen, looks)
	}
}
