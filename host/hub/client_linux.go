package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/host/netns"
)

// Options says how to start a hub.
type Options struct {
	// Executable is what to run with Command as its argument; "": this one.
	Executable string
	Layout     netns.Layout
	Log        *slog.Logger
	// Env is put on top of our environment for the hub and all it runs.
	Env []string
	// UserNamespace takes a user namespace although we are root.
	UserNamespace bool
}

// Hub is the supervisor's side. It is safe for concurrent use.
type Hub struct {
	cmd  *exec.Cmd
	pipe *pipe
	log  *slog.Logger
	info Info
	user bool

	mu    sync.Mutex
	next  uint64
	wait  map[uint64]chan reply
	procs map[uint64]*Process
	gone  error // set when done is closed

	done   chan struct{} // the hub has ended
	waited sync.WaitGroup
}

type reply struct {
	m     message
	files []*os.File
}

// Start starts a hub. As root it takes no user namespace, unless the other
// namespaces cannot be had without one. An error that is ErrNoNamespaces says
// that this system refuses.
func Start(ctx context.Context, o Options) (*Hub, error) {
	if o.Executable == "" {
		exe, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("hub: own executable: %w", err)
		}
		o.Executable = exe
	}
	if os.Geteuid() == 0 && !o.UserNamespace {
		h, err := start(ctx, o, false)
		if err == nil || !errors.Is(err, ErrNoNamespaces) {
			return h, err
		}
	}
	return start(ctx, o, true)
}

func start(ctx context.Context, o Options, user bool) (*Hub, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("hub: socket pair: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "hub")
	defer theirs.Close()
	p, err := newPipe(os.NewFile(uintptr(fds[0]), "hub"))
	if err != nil {
		return nil, err
	}
	h := &Hub{pipe: p, log: o.Log, user: user, wait: map[uint64]chan reply{}, procs: map[uint64]*Process{}, done: make(chan struct{})}
	h.cmd = exec.Command(o.Executable, Command)
	h.cmd.Env = append(os.Environ(), o.Env...)
	h.cmd.ExtraFiles = []*os.File{theirs}
	h.cmd.Stderr = &lineLog{log: o.Log}
	h.cmd.SysProcAttr = attributes(user)
	if err := h.launch(); err != nil {
		p.uc.Close()
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EUSERS) {
			return nil, fmt.Errorf("%w: %w%s", ErrNoNamespaces, err, remedy())
		}
		return nil, fmt.Errorf("hub: %w", err)
	}
	h.waited.Go(h.read)
	if _, err := h.call(ctx, opInit, initBody{Layout: o.Layout, User: user}, &h.info); err != nil {
		h.Close()
		if user {
			return nil, fmt.Errorf("%w: %w%s", ErrNoNamespaces, err, remedy())
		}
		return nil, fmt.Errorf("hub: %w", err)
	}
	return h, nil
}

func attributes(user bool) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
		Setsid:     true, // Ctrl-C is the supervisor's
	}
	if user {
		a.Cloneflags |= unix.CLONE_NEWUSER
		// The user stays himself: programs see their own user and files.
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
		a.AmbientCaps = []uintptr{
			unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_NET_BIND_SERVICE, unix.CAP_KILL, unix.CAP_SYS_PTRACE,
		}
	}
	return a
}

// remedy tells what on this system may forbid namespaces.
func remedy() string {
	for _, c := range []struct{ file, bad, text string }{
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "AppArmor forbids it to ordinary users: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or be root"},
		{"/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1 allows it to ordinary users"},
		{"/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces is 0"},
	} {
		if raw, err := os.ReadFile(c.file); err == nil && len(raw) > 0 && string(raw[:1]) == c.bad && (len(raw) == 1 || raw[1] == '\n') {
			return " (" + c.text + ")"
		}
	}
	return ""
}

// launch starts the hub on a thread that lives as long as it: the kernel sends
// the parent-death signal when the thread ends, not the process.
func (h *Hub) launch() error {
	started := make(chan error, 1)
	h.waited.Go(func() {
		// The thread is not unlocked, so it is this goroutine's alone and ends with it.
		runtime.LockOSThread()
		err := h.cmd.Start()
		started <- err
		if err != nil {
			close(h.done)
			return
		}
		err = h.cmd.Wait()
		h.fail(err)
	})
	return <-started
}

// fail settles everything that waits: the hub has ended.
func (h *Hub) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		err = errors.New("ended")
	}
	h.gone = fmt.Errorf("the hub of the mesh's namespaces is gone: %w", err)
	for _, p := range h.procs {
		p.exit = Exit{Code: -1, Signal: int(unix.SIGKILL)}
		close(p.done)
	}
	clear(h.procs)
	close(h.done)
	h.pipe.uc.Close()
}

func (h *Hub) read() {
	for {
		m, files, err := h.pipe.receive()
		if err != nil {
			return
		}
		if m.Op == evExit {
			var b exitBody
			if err := json.Unmarshal(m.Body, &b); err != nil {
				h.log.Error("exit event not understood", "error", err)
				continue
			}
			h.exited(b)
			continue
		}
		h.mu.Lock()
		ch := h.wait[m.ID]
		delete(h.wait, m.ID)
		h.mu.Unlock()
		if ch == nil { // its caller gave up
			closeAll(files)
			continue
		}
		m.Body = append([]byte(nil), m.Body...)
		ch <- reply{m, files}
	}
}

func (h *Hub) exited(b exitBody) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := h.procs[b.Key]; p != nil {
		delete(h.procs, b.Key)
		p.exit = b.Exit
		close(p.done)
	}
}

// call does one request. Files that come with the answer are the caller's.
func (h *Hub) call(ctx context.Context, op string, body, out any, files ...*os.File) ([]*os.File, error) {
	ch := make(chan reply, 1)
	h.mu.Lock()
	if h.gone != nil {
		h.mu.Unlock()
		return nil, h.gone
	}
	h.next++
	id := h.next
	h.wait[id] = ch
	h.mu.Unlock()
	if err := h.pipe.send(message{ID: id, Op: op}, body, files...); err != nil {
		h.forget(id, ch)
		return nil, fmt.Errorf("hub: %s: %w", op, err)
	}
	select {
	case r := <-ch:
		if r.m.Error != "" {
			closeAll(r.files)
			return nil, errors.New(r.m.Error)
		}
		if out != nil {
			if err := json.Unmarshal(r.m.Body, out); err != nil {
				closeAll(r.files)
				return nil, fmt.Errorf("hub: answer to %s: %w", op, err)
			}
		}
		return r.files, nil
	case <-h.done:
		h.forget(id, ch)
		return nil, h.gone
	case <-ctx.Done():
		h.forget(id, ch)
		return nil, context.Cause(ctx)
	}
}

// forget drops a request whose answer may have come meanwhile.
func (h *Hub) forget(id uint64, ch chan reply) {
	h.mu.Lock()
	_, waiting := h.wait[id]
	delete(h.wait, id)
	h.mu.Unlock()
	if !waiting {
		select {
		case r := <-ch:
			closeAll(r.files)
		default:
		}
	}
}
