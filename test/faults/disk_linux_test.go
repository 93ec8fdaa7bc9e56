package faults

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/weftmesh/weft/control/identity"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/file"
	"github.com/weftmesh/weft/control/store"
	"github.com/weftmesh/weft/wire"
)

// inside names the folder on which the test is to mount a small disk, in a namespace.
const inside = "WEFT_FAULTS_DISK"

// TestDiskFull runs TestInsideDiskFull where it may mount: in namespaces of its own.
func TestDiskFull(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestInsideDiskFull$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if uid := os.Getuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestInsideDiskFull")) {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestInsideDiskFull: on a full disk the control plane says what is wrong, leaves
// nothing half written and what there was alone, and goes on when there is room.
func TestInsideDiskFull(t *testing.T) {
	dir := os.Getenv(inside)
	if dir == "" {
		t.Skip("TestDiskFull runs it")
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("weft", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	state, overlay := filepath.Join(dir, "state"), filepath.Join(dir, "overlay")
	for _, d := range []string{state, overlay} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	objects := store.New(overlay, file.NewDecoder(), func(model.Key) model.Object { return nil })
	apply := func(port int) string { return objects.Apply([]byte(service("applied", port)), "x.yaml")[0].Result }
	if r := apply(80); r != "created" {
		t.Fatalf("applied: %s", r)
	}
	files := startAgent(t, dir)
	running, runs := filepath.Join(dir, "running.json"), wire.ProcessState{Replicas: []wire.Replica{{Name: "web-0", Namespace: "shop"}}}
	if err := runs.WriteFile(running); err != nil {
		t.Fatal(err)
	}
	free := fill(t, dir)
	if err := (wire.ProcessState{Replicas: make([]wire.Replica, 500)}).WriteFile(running); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Errorf("what runs, on a full disk: %v", err)
	}
	raw, err := os.ReadFile(running)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := wire.ParseProcessState(raw); err != nil || len(s.Replicas) != 1 {
		t.Errorf("what ran before is not there any more: %+v, %v", s, err)
	}
	files.full(t)
	if _, err := identity.Load(state); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Errorf("a root on a full disk: %v", err)
	}
	if r := apply(81); r != "failed" {
		t.Errorf("applied on a full disk: %s", r)
	}
	for _, d := range []string{state, overlay} {
		list, err := os.ReadDir(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			raw, err := os.ReadFile(filepath.Join(d, e.Name()))
			if err != nil || !bytes.Contains(raw, []byte("port: 80")) {
				t.Errorf("left behind: %s %q %v", e.Name(), raw, err)
			}
		}
	}
	free()
	files.room(t)
	if _, err := identity.Load(state); err != nil {
		t.Errorf("a root when there is room: %v", err)
	}
	if r := apply(82); r != "created" && r != "configured" {
		t.Errorf("applied when there is room: %s", r)
	}
}

// fill takes all that is left of a disk; free gives it back.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "full")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !strings.Contains(fmt.Sprint(err), "no space") {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}
