package rundir_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/host/rundir"
)

func TestOpenLocksAndCloseRemoves(t *testing.T) {
	root := rundir.RootAt(shortDir(t))
	d, err := root.Open("shop")
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(d.Path); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v: want mode 0700", fi, err)
	}
	if diff := cmp.Diff([]string{"shop"}, root.List()); diff != "" {
		t.Error(diff)
	}
	if _, err := root.Open("shop"); !errors.Is(err, rundir.ErrRunning) {
		t.Errorf("opened twice: %v", err)
	}
	if _, err := root.Clean("shop"); !errors.Is(err, rundir.ErrRunning) {
		t.Errorf("cleaned while it runs: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(d.Path)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the root is left: %v", err)
	}
	if got, err := root.Clean("shop"); len(got) != 0 || err != nil {
		t.Errorf("clean of nothing: %q, %v", got, err)
	}
}

// shortDir is a place for run directories: paths of sockets must be short.
func shortDir(t *testing.T) string {
	t.Helper()
	d, err := os.MkdirTemp("", "w")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(d) })
	return filepath.Join(d, "weft")
}

func TestPathTooLongForSockets(t *testing.T) {
	root := rundir.RootAt(filepath.Join(shortDir(t), strings.Repeat("x", 60)))
	if _, err := root.Open("shop-with-a-name"); err == nil || !strings.Contains(err.Error(), "shorter") {
		t.Errorf("%v", err)
	}
}

func TestNames(t *testing.T) {
	root := rundir.RootAt(t.TempDir())
	for _, name := range []string{"", "..", "a/b", ".x", strings.Repeat("x", 64)} {
		if _, err := root.Open(name); err == nil {
			t.Errorf("%q: opened", name)
		}
		if _, err := root.Clean(name); err == nil {
			t.Errorf("%q: cleaned", name)
		}
	}
}

func TestForeignRootIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weft")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := rundir.RootAt(path).Open("x"); err == nil {
		t.Error("a root that others may write to was taken")
	}
}

func TestCleanKillsOnlyWhatIsMarked(t *testing.T) {
	root := rundir.RootAt(shortDir(t))
	dir := root.Dir("shop")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	sleep := func(mark string) (*exec.Cmd, chan error) {
		c := exec.Command("sleep", "60")
		c.Env = append(os.Environ(), rundir.Marker+"="+mark)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- c.Wait() }()
		return c, done
	}
	ours, oursDone := sleep(dir)
	other, otherDone := sleep(dir + "2")
	defer func() { other.Process.Kill(); <-otherDone }()
	removed, err := root.Clean("shop")
	if err != nil {
		t.Fatal(err)
	}
	if len(removed) != 2 || !strings.HasPrefix(removed[0], "process ") || !strings.Contains(removed[0], "sleep") {
		t.Errorf("removed %q", removed)
	}
	<-oursDone
	if ws := ours.ProcessState.Sys().(syscall.WaitStatus); ws.Signal() != syscall.SIGKILL {
		t.Errorf("ours: %v", ours.ProcessState)
	}
	if err := other.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the other was killed too: %v", err)
	}
	d, err := root.Open("shop")
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
}
