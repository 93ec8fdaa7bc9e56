package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/host/capture"
	"github.com/weftmesh/weft/host/netns"
)

// Info tells what the hub found.
func (h *Hub) Info() Info { return h.info }

// PID is the hub's process number in the supervisor's namespace.
func (h *Hub) PID() int { return h.cmd.Process.Pid }

// Done is closed when the hub has ended and nothing of it is left.
func (h *Hub) Done() <-chan struct{} { return h.done }

// Close kills the hub and all that runs in it, and returns when it is gone.
func (h *Hub) Close() {
	_ = h.cmd.Process.Kill()
	h.waited.Wait()
}

// AddNetwork makes a workload's namespaces, network and capture rules.
func (h *Hub) AddNetwork(ctx context.Context, n Network) error {
	_, err := h.call(ctx, opNetwork, n, nil)
	return err
}

// SetCapture replaces the capture rules of a workload.
func (h *Hub) SetCapture(ctx context.Context, network string, c capture.Config) error {
	_, err := h.call(ctx, opCapture, captureBody{network, c}, nil)
	return err
}

// RemoveNetwork kills what runs in a workload's network and gives it up.
func (h *Hub) RemoveNetwork(ctx context.Context, network string) error {
	_, err := h.call(ctx, opRemove, nameBody{network}, nil)
	return err
}

// Process is a program that runs in a workload's namespaces.
type Process struct {
	hub  *Hub
	key  uint64
	pid  int
	exit Exit // valid when done is closed
	done chan struct{}
}

// Exec starts a program.
func (h *Hub) Exec(ctx context.Context, e Exec) (*Process, error) {
	if e.Stdout == nil || e.Stderr == nil {
		return nil, errors.New("BUG: hub: exec without stdout or stderr")
	}
	p := &Process{hub: h, done: make(chan struct{})}
	h.mu.Lock()
	if h.gone != nil {
		h.mu.Unlock()
		return nil, h.gone
	}
	h.next++
	p.key = h.next
	h.procs[p.key] = p
	h.mu.Unlock()
	var ans execAnswer
	files, err := h.call(ctx, opExec, execBody{Key: p.key, Exec: e}, &ans, e.Stdout, e.Stderr)
	defer closeAll(files)
	if err != nil {
		h.mu.Lock()
		delete(h.procs, p.key)
		h.mu.Unlock()
		return nil, err
	}
	p.pid = ans.PID
	if len(files) == 1 {
		if pid := numberHere(files[0]); pid > 0 {
			p.pid = pid
		}
	}
	return p, nil
}

// numberHere returns the process number that a pidfd stands for in our own
// PID namespace; 0: unknown.
func numberHere(pidfd *os.File) int {
	raw, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(int(pidfd.Fd())))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		if v, ok := strings.CutPrefix(line, "Pid:"); ok {
			pid, _ := strconv.Atoi(strings.TrimSpace(v))
			return max(pid, 0)
		}
	}
	return 0
}

// PID is the process number in the supervisor's namespace.
func (p *Process) PID() int { return p.pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit tells how it ended; call it after Done only.
func (p *Process) Exit() Exit { return p.exit }

// Signal sends a signal to the process, or to its whole group.
func (p *Process) Signal(ctx context.Context, sig syscall.Signal, group bool) error {
	_, err := p.hub.call(ctx, opSignal, signalBody{Key: p.key, Signal: int(sig), Group: group}, nil)
	return err
}

// Dial connects from inside a namespace, with a socket made there.
func (h *Hub) Dial(ctx context.Context, s Socket) (net.Conn, error) {
	b := socketBody{Network: s.Network, Family: unix.AF_INET, Type: unix.SOCK_STREAM}
	to := netip.AddrPortFrom(s.To.Addr().Unmap(), s.To.Port())
	if to.Addr().Is6() {
		b.Family = unix.AF_INET6
	}
	switch s.Proto {
	case "tcp":
	case "udp":
		b.Type = unix.SOCK_DGRAM
	default:
		return nil, fmt.Errorf("BUG: hub: dial over %q", s.Proto)
	}
	// Capture leaves alone what comes from the sidecar's inbound source; only
	// the workload's own addresses can be reached from it.
	if s.Program && !to.Addr().IsLoopback() {
		b.Source, _ = netns.InboundSource()
		if to.Addr().Is6() {
			_, b.Source = netns.InboundSource()
		}
	}
	files, err := h.call(ctx, opSocket, b, nil)
	if err != nil {
		return nil, err
	}
	if len(files) != 1 {
		closeAll(files)
		return nil, fmt.Errorf("hub: %d sockets, want one", len(files))
	}
	f := files[0]
	defer f.Close()
	if err := connect(ctx, f, to); err != nil {
		return nil, &net.OpError{Op: "dial", Net: s.Proto, Addr: net.TCPAddrFromAddrPort(to), Err: err}
	}
	return net.FileConn(f)
}

// connect connects a non-blocking socket of another namespace.
func connect(ctx context.Context, f *os.File, to netip.AddrPort) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var sa unix.Sockaddr
	if to.Addr().Is4() {
		sa = &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	} else {
		sa = &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	}
	stop := context.AfterFunc(ctx, func() { f.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	begun := false
	var failed error
	err = rc.Write(func(fd uintptr) bool {
		if !begun {
			begun = true
			failed = unix.Connect(int(fd), sa)
			if !errors.Is(failed, unix.EINPROGRESS) && !errors.Is(failed, unix.EINTR) {
				return true
			}
			failed = nil
			return false
		}
		n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil {
			failed = err
		} else if n != 0 {
			failed = os.NewSyscallError("connect", syscall.Errno(n))
		} else if _, err := unix.Getpeername(int(fd)); err != nil {
			return false // woken without a result
		}
		return true
	})
	if failed != nil {
		return failed
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// lineLog logs what the hub says on its standard error, line by line.
type lineLog struct {
	log *slog.Logger
	buf []byte
}

// Write implements io.Writer.
func (l *lineLog) Write(b []byte) (int, error) {
	l.buf = append(l.buf, b...)
	for {
		i := bytes.IndexByte(l.buf, '\n')
		if i < 0 {
			return len(b), nil
		}
		l.log.Warn("hub", "says", string(l.buf[:i]))
		l.buf = l.buf[i+1:]
	}
}
