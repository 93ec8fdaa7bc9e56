package process

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// Local starts programs plainly on this machine, each in a process group of
// its own. On Linux a program dies with its supervisor; its descendants do
// where they are in its group and it ends in good order.
type Local struct{}

type localInstance struct {
	cmd  *exec.Cmd
	done chan struct{}
	exit Exit

	mu    sync.Mutex
	ended bool // reaped: its number may be another's
}

// Start implements Starter.
func (Local) Start(_ context.Context, c Command) (Instance, error) {
	if len(c.Argv) == 0 {
		return nil, errors.New("no command")
	}
	cmd := exec.Command(c.Argv[0], c.Argv[1:]...)
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Dir = c.Dir
	cmd.Stdout, cmd.Stderr = c.Stdout, c.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(cmd.SysProcAttr)
	i := &localInstance{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The parent whose death is signalled is the thread, so this one waits
		// for the program and is nobody else's.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			i.wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return i, nil
}

func (i *localInstance) wait() {
	_ = i.cmd.Wait() // the state says all
	// What is left of its group dies with it; nobody can have got its number
	// in this instant.
	_ = syscall.Kill(-i.cmd.Process.Pid, syscall.SIGKILL)
	i.mu.Lock()
	i.ended = true
	i.mu.Unlock()
	ws, _ := i.cmd.ProcessState.Sys().(syscall.WaitStatus)
	i.exit = Exit{Code: ws.ExitStatus()}
	if ws.Signaled() {
		i.exit = Exit{Code: -1, Signal: ws.Signal()}
	}
	close(i.done)
}

// Dial implements Starter.
func (Local) Dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, to.String())
}

func (i *localInstance) PID() int              { return i.cmd.Process.Pid }
func (i *localInstance) Done() <-chan struct{} { return i.done }
func (i *localInstance) Exit() Exit            { return i.exit }

func (i *localInstance) Signal(_ context.Context, sig syscall.Signal, group bool) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ended {
		return nil
	}
	pid := i.cmd.Process.Pid
	if group {
		pid = -pid
	}
	if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}
