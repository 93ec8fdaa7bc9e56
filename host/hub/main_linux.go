package hub

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/host/capture"
	"github.com/weftmesh/weft/host/netns"
)

// socketFD is where the hub finds its end of the socket pair.
const socketFD = 3

// Main is the hub. It returns the exit code when the supervisor is gone.
func Main() int {
	// Handlers, not SIG_IGN: programs would inherit that. A Ctrl-C is the
	// supervisor's to act on.
	sink := make(chan os.Signal, 8)
	signal.Notify(sink, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	unix.CloseOnExec(socketFD)
	p, err := newPipe(os.NewFile(socketFD, "hub"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "weft hub:", err)
		return 1
	}
	s := &server{pipe: p, loads: map[string]*workload{}, procs: map[uint64]child{}, keys: map[int]uint64{}, spawned: make(chan struct{}, 1)}
	if err := s.run(); err != nil {
		fmt.Fprintln(os.Stderr, "weft hub:", err)
		return 1
	}
	return 0
}

type server struct {
	pipe *pipe
	net  *thread // in the hub's own namespaces
	info Info
	user bool

	mu    sync.Mutex
	loads map[string]*workload
	ports int

	procMu  sync.Mutex // held over fork and its registration
	procs   map[uint64]child
	keys    map[int]uint64
	spawned chan struct{} // one slot: there are children again
}

type child struct {
	pid     int
	network string
}

// run answers requests until the supervisor closes its end or dies.
func (s *server) run() error {
	go s.reap()
	for {
		m, files, err := s.pipe.receive()
		if err != nil {
			return nil // supervisor gone: so is everything else, by our exit
		}
		if m.Op == opInit {
			s.answer(m, files)
			continue
		}
		go s.answer(m, files)
	}
}

func (s *server) answer(m message, files []*os.File) {
	body, out, err := s.handle(m, files)
	closeAll(files)
	reply := message{ID: m.ID}
	if err != nil {
		reply.Error = err.Error()
	}
	var attach []*os.File
	if out != nil {
		attach = []*os.File{out}
		defer out.Close()
	}
	if err := s.pipe.send(reply, body, attach...); err != nil {
		fmt.Fprintln(os.Stderr, "weft hub: answer:", err)
	}
}

func (s *server) handle(m message, files []*os.File) (body any, out *os.File, err error) {
	switch m.Op {
	case opInit:
		var b initBody
		if err := json.Unmarshal(m.Body, &b); err != nil {
			return nil, nil, err
		}
		err := s.init(b)
		return s.info, nil, err
	case opNetwork:
		var b Network
		if err := json.Unmarshal(m.Body, &b); err != nil {
			return nil, nil, err
		}
		return nil, nil, s.addNetwork(b)
	case opCapture:
		var b captureBody
		if err := json.Unmarshal(m.Body, &b); err != nil {
			return nil, nil, err
		}
		w, err := s.workload(b.Name)
		if err != nil {
			return nil, nil, err
		}
		return nil, nil, w.thread.do(func() error { return capture.Install(b.Capture) })
	case opRemove:
		var b nameBody
		if err := json.Unmarshal(m.Body, &b); err != nil {
			return nil, nil, err
		}
		return nil, nil, s.removeNetwork(b.Name)
	case opExec:
		var b execBody
		if err := json.Unmarshal(m.Body, &b); err != nil {
			return nil, nil, err
		}
		pid, pidfd, err := s.exec(b, files)
		return execAnswer{PID: pid}, pidfd, err
	case opSignal:
		var b signalBody
		if err := json.Unmarshal(m.Body, &b); err != nil {
			return nil, nil, err
		}
		return nil, nil, s.signal(b)
	case opSocket:
		var b socketBody
		if err := json.Unmarshal(m.Body, &b); err != nil {
			return nil, nil, err
		}
		f, err := s.socket(b)
		return nil, f, err
	}
	return nil, nil, fmt.Errorf("unknown operation %q: are supervisor and hub the same executable?", m.Op)
}

// init prepares the hub's own namespaces.
func (s *server) init(b initBody) error {
	s.user = b.User
	s.net = newThread()
	return s.net.do(func() error {
		// From now on nothing that is mounted here is seen by anybody else.
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("%w: make mounts private: %w", ErrNoNamespaces, err)
		}
		if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			s.info.Notes = append(s.info.Notes, "/proc shows the host's process numbers: mounting a fresh one is refused here ("+err.Error()+")")
		}
		v6, err := netns.Hub(b.Layout)
		s.info.IPv6 = v6
		if !v6 {
			s.info.Notes = append(s.info.Notes, "the kernel has no IPv6: workloads have IPv4 addresses only")
		}
		return err
	})
}

// thread is an OS thread that functions run on, one at a time. It is the
// holder of whatever namespaces they enter.
type thread struct {
	jobs chan func()
	quit chan struct{} // closed: no more jobs
}

func newThread() *thread {
	t := &thread{jobs: make(chan func()), quit: make(chan struct{})}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		// Programs must not inherit what the hub may do.
		_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
		for {
			select {
			case f := <-t.jobs:
				f()
			case <-t.quit:
				return
			}
		}
	}()
	return t
}

func (t *thread) do(f func() error) error {
	done := make(chan error, 1)
	select {
	case t.jobs <- func() { done <- f() }:
		return <-done
	case <-t.quit:
		return errGone
	}
}

func (t *thread) close() { close(t.quit) }

var errGone = errors.New("no such network: was it removed?")

func (s *server) workload(name string) (*workload, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.loads[name]
	if w == nil || !w.ready {
		return nil, fmt.Errorf("workload %s: %w", name, errGone)
	}
	return w, nil
}
