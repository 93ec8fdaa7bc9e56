// Package rundir keeps the run directories of the meshes that a user runs: one
// directory a mesh, closed to others, locked while its supervisor lives.
//
// After a supervisor was killed, Clean ends whatever still runs and removes the
// directory. What belongs to a mesh is recognised by Marker in its environment,
// never by a number alone.
package rundir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Marker is the environment variable that everything a mesh runs carries; its
// value is the run directory.
const Marker = "WEFT_RUN_DIR"

const lockFile = "lock"

// maxPath leaves room for the sockets in a run directory: the kernel takes 107
// bytes for a socket's path.
const maxPath = 107 - len("/proxies/9999/sds.sock")

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// Root is where a user's run directories are.
type Root struct{ path string }

// DefaultRoot is $XDG_RUNTIME_DIR/weft, /run/user/UID/weft, or /tmp/weft-UID,
// the first whose parent this user owns.
func DefaultRoot() Root {
	uid := os.Geteuid()
	if d := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(d) && own(d, uid) {
		return Root{filepath.Join(d, "weft")}
	}
	if d := filepath.Join("/run/user", strconv.Itoa(uid)); own(d, uid) {
		return Root{filepath.Join(d, "weft")}
	}
	return Root{filepath.Join("/tmp", "weft-"+strconv.Itoa(uid))}
}

// RootAt is a root at another place.
func RootAt(path string) Root { return Root{path} }

// own tells whether d is a directory of the user that is closed to others' writing.
func own(d string, uid int) bool {
	fi, err := os.Lstat(d)
	if err != nil || !fi.IsDir() || fi.Mode().Perm()&0o022 != 0 {
		return false
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == uid
}

// Dir returns the run directory of the mesh with that name.
func (r Root) Dir(name string) string { return filepath.Join(r.path, name) }

// List returns the names of all that exist.
func (r Root) List() []string {
	entries, err := os.ReadDir(r.path)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() && nameForm.MatchString(e.Name()) {
			out = append(out, e.Name())
		}
	}
	slices.Sort(out)
	return out
}

// ErrRunning is the error of Open and Clean when a supervisor holds the directory.
var ErrRunning = errors.New("a mesh of this name is running")

// Dir is an open, locked run directory.
type Dir struct {
	Path string
	Name string
	lock *os.File
	// Removed is what was left of an earlier mesh and has been removed.
	Removed []string
}

// Open makes the run directory and locks it. What a killed supervisor left
// there is cleaned first.
func (r Root) Open(name string) (*Dir, error) {
	if !nameForm.MatchString(name) {
		return nil, fmt.Errorf("mesh name %q: want letters, digits, '.', '_' and '-', at most 63", name)
	}
	if p := r.Dir(name); len(p) > maxPath {
		return nil, fmt.Errorf("run directory %s: its path is longer than %d bytes, so there is no room for sockets: choose a shorter name, or set XDG_RUNTIME_DIR to a shorter path", p, maxPath)
	}
	if err := r.Make(); err != nil {
		return nil, err
	}
	d := &Dir{Path: r.Dir(name), Name: name}
	if err := os.Mkdir(d.Path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("run directory: %w", err)
	} else if err != nil {
		removed, err := r.Clean(name)
		if err != nil {
			return nil, err
		}
		d.Removed = removed
		if err := os.Mkdir(d.Path, 0o700); err != nil {
			return nil, fmt.Errorf("run directory: %w", err)
		}
	}
	lock, err := lockAt(d.Path)
	if err != nil {
		return nil, err
	}
	d.lock = lock
	if err := lock.Truncate(0); err == nil {
		_, err = fmt.Fprintln(lock, os.Getpid())
		if err != nil {
			lock.Close()
			return nil, fmt.Errorf("run directory: %w", err)
		}
	}
	return d, nil
}

// Make makes the root. It may lie in /tmp, so nobody else may own it.
func (r Root) Make() error {
	if err := os.MkdirAll(r.path, 0o700); err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	if !own(r.path, os.Geteuid()) {
		return fmt.Errorf("run directory: %s is not ours alone: who owns it, and who may write there?", r.path)
	}
	return nil
}

func lockAt(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("run directory: lock: %w", err)
		}
		raw := make([]byte, 20)
		n, _ := f.Read(raw)
		return nil, fmt.Errorf("%w (process %s, %s): `weft down` ends it", ErrRunning, strings.TrimSpace(string(raw[:n])), dir)
	}
	return f, nil
}

// Join returns a path in the directory.
func (d *Dir) Join(elem ...string) string {
	return filepath.Join(append([]string{d.Path}, elem...)...)
}

// Mark is the setting of Marker for what runs in this mesh.
func (d *Dir) Mark() string { return Marker + "=" + d.Path }

// Close removes the directory and gives up the lock. The root goes too when it
// was the last.
func (d *Dir) Close() error {
	err := os.RemoveAll(d.Path)
	_ = os.Remove(filepath.Dir(d.Path)) // fails while there are others
	return errors.Join(err, d.lock.Close())
}

// Clean ends what a mesh without a supervisor left behind and removes its
// directory. It returns what it removed, for people.
func (r Root) Clean(name string) ([]string, error) {
	if !nameForm.MatchString(name) {
		return nil, fmt.Errorf("mesh name %q: want letters, digits, '.', '_' and '-', at most 63", name)
	}
	dir := r.Dir(name)
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	lock, err := lockAt(dir)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	removed, err := killMarked(dir)
	if err != nil {
		return removed, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return removed, fmt.Errorf("run directory: %w", err)
	}
	_ = os.Remove(r.path)
	return append(removed, "directory "+dir), nil
}
