package listener

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weftmesh/weft/base/overload"
)

// socket is a bound socket with its accept loop. It outlives the listeners
// that use it one after the other.
type socket struct {
	key      socketKey
	ln       net.Listener
	listener atomic.Pointer[active]
	running  bool // guarded by the manager's mu
}

// socketKey is what makes a socket another one.
type socketKey struct {
	Address
	transparent, freebind, v4 bool
	backlog                   int
}

func (l *Listener) key(a Address) socketKey {
	return socketKey{a, l.Transparent, l.Freebind, l.IPv4Compat, l.Backlog}
}

// Listen binds one address of a listener in the network namespace of the
// process. It is what a Manager does by itself.
func Listen(ctx context.Context, l *Listener, a Address) (net.Listener, error) {
	lc := net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(false) // redirected and spliced sockets are plain TCP
	if a.Path != "" {
		return listenUnix(ctx, &lc, a)
	}
	network := "tcp4"
	if a.Addr.Addr().Is6() {
		network = "tcp6"
		if l.IPv4Compat {
			network = "tcp"
		}
	}
	lc.Control = func(_, _ string, c syscall.RawConn) error {
		var serr error
		err := c.Control(func(fd uintptr) { serr = socketOptions(int(fd), l, network != "tcp4") })
		return errors.Join(err, serr)
	}
	ln, err := lc.Listen(ctx, network, a.Addr.String())
	if err != nil {
		return nil, err
	}
	if l.Backlog > 0 {
		setBacklog(ln, l.Backlog)
	}
	return ln, nil
}

// setBacklog lets the kernel queue more or fewer connections: listening again
// changes just that.
func setBacklog(ln net.Listener, n int) {
	sc, ok := ln.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := sc.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = syscall.Listen(int(fd), n) })
	}
}

func listenUnix(ctx context.Context, lc *net.ListenConfig, a Address) (net.Listener, error) {
	ln, err := lc.Listen(ctx, "unix", a.Path)
	if errors.Is(err, syscall.EADDRINUSE) && deadSocket(a.Path) {
		if err := os.Remove(a.Path); err != nil {
			return nil, err
		}
		ln, err = lc.Listen(ctx, "unix", a.Path)
	}
	if err != nil {
		return nil, err
	}
	if a.Mode != 0 {
		if err := os.Chmod(a.Path, a.Mode); err != nil {
			ln.Close()
			return nil, err
		}
	}
	return ln, nil
}

// deadSocket tells whether a socket file is left over from a process that has gone.
func deadSocket(path string) bool {
	nc, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		nc.Close()
		return false
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// open binds a socket; its accept loop is started by run.
func (m *Manager) open(l *Listener, a Address) (*socket, error) {
	ln, err := m.listen(m.bindCtx, l, a)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", a, err)
	}
	return &socket{key: l.key(a), ln: ln}, nil
}

// run starts the accept loop once the manager runs. The caller holds mu.
func (m *Manager) run(s *socket) {
	m.startLoop(&s.running, func(ctx context.Context) { m.accept(ctx, s) })
}

// startLoop runs a socket's loop, once, if the manager runs. The caller holds mu.
func (m *Manager) startLoop(running *bool, loop func(context.Context)) {
	if m.ctx == nil || *running {
		return
	}
	*running = true
	ctx := m.ctx
	m.loops.Add(1)
	m.wg.Go(func() {
		defer m.loops.Done()
		loop(ctx)
	})
}

// accept is the accept loop.
func (m *Manager) accept(ctx context.Context, s *socket) {
	var pause time.Duration
	for {
		if !m.calm(ctx, s) {
			return
		}
		nc, err := s.ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
				return
			}
			// Out of descriptors, most likely: the connection stays in the queue.
			l := s.listener.Load()
			l.stats.AcceptErrors.Add(1)
			if pause == 0 {
				m.log.Warn("cannot accept a connection: check the limit of open files", "listener", l.Name, "error", err)
			}
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			if !sleep(ctx, pause) {
				return
			}
			continue
		}
		pause = 0
		l := s.listener.Load()
		seat, ok := m.admit(l, nc)
		if !ok {
			continue
		}
		s.tune(nc)
		m.arriving.Add(1)
		m.wg.Go(func() {
			defer m.arriving.Add(-1)
			m.serve(ctx, &arrival{m: m, l: l, nc: nc, raw: nc, seat: seat})
		})
	}
}

// calm waits while no connections are to be taken; the kernel queues them. The one that
// is being waited for when that begins is still taken. false: ctx has ended.
func (m *Manager) calm(ctx context.Context, s *socket) bool {
	for m.overload.Saturated(overload.StopConnections) && !s.listener.Load().BypassOverload {
		if !sleep(ctx, calmEvery) {
			return false
		}
	}
	return true
}

// calmEvery is how often a stopped listener looks whether it may go on.
const calmEvery = 100 * time.Millisecond

// tune sets the options of an accepted socket.
func (s *socket) tune(nc net.Conn) {
	k := s.listener.Load().KeepAlive
	if tc, ok := nc.(*net.TCPConn); ok && k.Enable {
		_ = tc.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: k.Idle, Interval: k.Interval, Count: k.Probes})
	}
}

// sleep waits; false: ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
