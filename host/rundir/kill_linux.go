package rundir

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// killMarked kills every process that carries the mesh's mark, until there is
// none, and returns what it killed.
func killMarked(dir string) (killed []string, err error) {
	mark := []byte(Marker + "=" + dir + "\x00")
	deadline := time.Now().Add(10 * time.Second)
	seen := map[int]bool{}
	for {
		alive := 0
		for _, pid := range processes() {
			name, err := killIfMarked(pid, mark)
			if err != nil {
				return killed, err
			}
			if name == "" {
				continue
			}
			alive++
			if !seen[pid] {
				seen[pid] = true
				killed = append(killed, fmt.Sprintf("process %d (%s)", pid, name))
			}
		}
		if alive == 0 {
			return killed, nil
		}
		if time.Now().After(deadline) {
			return killed, errors.New("processes of the mesh do not end: are they stuck in the kernel?")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func processes() []int {
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	var out []int
	for _, n := range names {
		if pid, err := strconv.Atoi(filepath.Base(n)); err == nil && pid != os.Getpid() {
			out = append(out, pid)
		}
	}
	return out
}

// killIfMarked looks and kills through one file descriptor, so that the number
// cannot become another process's in between. name is empty when it is none of
// ours or dead.
func killIfMarked(pid int, mark []byte) (name string, err error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return "", nil // gone
	}
	defer unix.Close(fd)
	proc := "/proc/" + strconv.Itoa(pid)
	env, err := os.ReadFile(proc + "/environ")
	if err != nil || !bytes.Contains(append([]byte{0}, append(env, 0)...), append([]byte{0}, mark...)) {
		return "", nil // another user's, or not of this mesh, or a zombie
	}
	comm, _ := os.ReadFile(proc + "/comm")
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		if errors.Is(err, unix.ESRCH) {
			return "", nil
		}
		return "", fmt.Errorf("kill process %d: %w", pid, err)
	}
	return string(bytes.TrimSpace(comm)), nil
}
