package hub

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sidecarCaps is what a proxy of either engine needs: SO_MARK, and binding to
// ports below 1024.
var sidecarCaps = []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_NET_BIND_SERVICE}

// exec starts a program on its workload's thread. The file returned stands for
// the process (a pidfd): its number here says nothing to the supervisor.
func (s *server) exec(b execBody, files []*os.File) (pid int, pidfd *os.File, err error) {
	if len(files) != 2 {
		return 0, nil, fmt.Errorf("exec %v: %d files attached, want stdout and stderr", b.Exec.Argv, len(files))
	}
	if len(b.Exec.Argv) == 0 {
		return 0, nil, errors.New("exec: no command")
	}
	w, err := s.workload(b.Exec.Network)
	if err != nil {
		return 0, nil, err
	}
	env := b.Exec.Env
	if env == nil {
		env = os.Environ()
	}
	env = mergeEnv(env, b.Exec.AddEnv)
	path, err := lookPath(b.Exec.Argv[0], b.Exec.Dir, env)
	if err != nil {
		return 0, nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, nil, err
	}
	defer null.Close()
	for _, f := range files { // programs expect blocking output
		if err := unix.SetNonblock(int(f.Fd()), false); err != nil {
			return 0, nil, err
		}
	}
	attr := &syscall.ProcAttr{
		Dir: b.Exec.Dir, Env: env,
		Files: []uintptr{null.Fd(), files[0].Fd(), files[1].Fd()},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	}
	if b.Exec.Sidecar && s.user {
		attr.Sys.AmbientCaps = sidecarCaps
	}
	err = w.thread.do(func() error {
		s.procMu.Lock() // so that the reaper finds it
		defer s.procMu.Unlock()
		pid, err = syscall.ForkExec(path, b.Exec.Argv, attr)
		if err != nil {
			return fmt.Errorf("start %s in %s: %w", path, b.Exec.Dir, err)
		}
		if fd, err := unix.PidfdOpen(pid, 0); err == nil { // before anybody can reap it
			pidfd = os.NewFile(uintptr(fd), "process")
		}
		s.procs[b.Key], s.keys[pid] = child{pid: pid, network: b.Exec.Network}, b.Key
		select {
		case s.spawned <- struct{}{}:
		default:
		}
		return nil
	})
	return pid, pidfd, err
}

// mergeEnv puts add over env; the later of two settings wins, and a name without
// a value removes.
func mergeEnv(env, add []string) []string {
	out := slices.Clone(env)
	for _, kv := range add {
		name, _, has := strings.Cut(kv, "=")
		out = slices.DeleteFunc(out, func(o string) bool { return strings.HasPrefix(o, name+"=") })
		if has {
			out = append(out, kv)
		}
	}
	return out
}

// lookPath finds the program as a shell in dir with that environment would.
func lookPath(name, dir string, env []string) (string, error) {
	if strings.ContainsRune(name, '/') {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return name, executable(name)
	}
	var path string
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			path = v
		}
	}
	for _, d := range filepath.SplitList(path) {
		if !filepath.IsAbs(d) {
			d = filepath.Join(dir, d)
		}
		if p := filepath.Join(d, name); executable(p) == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("%q: %w (PATH=%s)", name, exec.ErrNotFound, path)
}

func executable(p string) error {
	fi, err := os.Stat(p)
	if err != nil {
		return err
	}
	if fi.IsDir() || fi.Mode()&0o111 == 0 {
		return fmt.Errorf("%s: not executable: %w", p, fs.ErrPermission)
	}
	return nil
}

func (s *server) signal(b signalBody) error {
	s.procMu.Lock() // a process that is in the map has not been reaped: its number is its own
	defer s.procMu.Unlock()
	c, ok := s.procs[b.Key]
	if !ok {
		return nil // ended meanwhile
	}
	pid := c.pid
	if b.Group {
		pid = -pid
	}
	if err := unix.Kill(pid, syscall.Signal(b.Signal)); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal %s: %w", syscall.Signal(b.Signal), err)
	}
	return nil
}

// reap waits for every child, also orphans that process 1 inherits, and tells
// the supervisor of those it started.
func (s *server) reap() {
	for {
		var info unix.Siginfo
		// Wait for any, but leave it there until the lock is held: between fork
		// and registration a child may already be dead.
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil { // no children
			<-s.spawned
			continue
		}
		s.reapAll()
	}
}

func (s *server) reapAll() {
	s.procMu.Lock()
	defer s.procMu.Unlock()
	for {
		var ws unix.WaitStatus
		var ru unix.Rusage
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, &ru)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		key, ok := s.keys[pid]
		if !ok {
			continue
		}
		delete(s.keys, pid)
		delete(s.procs, key)
		// What is left of its group dies with it.
		_ = unix.Kill(-pid, unix.SIGKILL)
		e := Exit{Code: ws.ExitStatus(), CPU: time.Duration(ru.Utime.Nano() + ru.Stime.Nano())}
		if ws.Signaled() {
			e.Code, e.Signal = -1, int(ws.Signal())
		}
		if err := s.pipe.send(message{Op: evExit}, exitBody{Key: key, Exit: e}); err != nil {
			fmt.Fprintln(os.Stderr, "weft hub: exit event:", err)
		}
	}
}

// socket makes an unconnected socket in a namespace; the supervisor connects it.
func (s *server) socket(b socketBody) (*os.File, error) {
	t := s.net
	if b.Network != "" {
		w, err := s.workload(b.Network)
		if err != nil {
			return nil, err
		}
		t = w.thread
	}
	var fd int
	err := t.do(func() (err error) {
		fd, err = unix.Socket(b.Family, b.Type|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), "socket")
	if b.Mark != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, b.Mark); err != nil {
			f.Close()
			return nil, fmt.Errorf("mark: %w", err)
		}
	}
	if b.Source.IsValid() {
		var sa unix.Sockaddr
		if b.Source.Is4() {
			sa = &unix.SockaddrInet4{Addr: b.Source.As4()}
		} else {
			sa = &unix.SockaddrInet6{Addr: b.Source.As16()}
		}
		if err := unix.Bind(fd, sa); err != nil {
			f.Close()
			return nil, fmt.Errorf("bind to %s: %w", b.Source, err)
		}
	}
	return f, nil
}
