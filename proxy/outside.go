package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"

	"github.com/weftmesh/weft/proxy/listener"
	"github.com/weftmesh/weft/proxy/transport"
	"github.com/weftmesh/weft/wire"
)

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

func environment(name string) string { return os.Getenv(name) }

// newDialer dials inside with the mark, and the rest through the supervisor.
func (r *runtime) newDialer() transport.Dialer {
	direct := transport.Direct{Mark: r.boot.Mark}
	if r.opt.HandSocket == "" || len(r.opt.Inside) == 0 {
		return direct
	}
	return transport.Split{
		Inside: direct, Mesh: r.opt.Inside,
		Outside: transport.Outside{Client: wire.HandClient{Path: r.opt.HandSocket}},
	}
}

// listen binds sockets; nil: as the listener package does.
func (r *runtime) listen() func(context.Context, *listener.Listener, listener.Address) (net.Listener, error) {
	if !r.opt.HostListeners || r.opt.HandSocket == "" {
		return nil
	}
	hand := wire.HandClient{Path: r.opt.HandSocket}
	return func(ctx context.Context, l *listener.Listener, a listener.Address) (net.Listener, error) {
		if a.Path != "" || a.Addr.Addr().IsLoopback() {
			return listener.Listen(ctx, l, a)
		}
		var inside net.Listener
		if len(r.opt.Inside) > 0 { // otherwise the host's network is the only one
			var err error
			if inside, err = listener.Listen(ctx, l, a); err != nil {
				return nil, err
			}
		}
		loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
		if a.Addr.Addr().Is6() {
			loopback = netip.IPv6Loopback()
		}
		outside, note, err := hand.Listen(ctx, netip.AddrPortFrom(loopback, a.Addr.Port()))
		if err != nil {
			if inside != nil {
				inside.Close()
			}
			return nil, err
		}
		if note != "" {
			r.log.Info("listener on the host", "listener", l.Name, "address", outside.Addr().String(), "note", note)
		}
		if inside == nil {
			return outside, nil
		}
		return newMerged(inside, outside), nil
	}
}

// merged accepts from two sockets: inside of the mesh's network and on the host.
type merged struct {
	net.Listener // the one inside, whose address it has
	other        net.Listener
	conns        chan net.Conn
	done         chan struct{}
	once         sync.Once
	wg           sync.WaitGroup

	mu  sync.Mutex
	err error // of the first Accept that failed
}

func newMerged(a, b net.Listener) *merged {
	m := &merged{Listener: a, other: b, conns: make(chan net.Conn), done: make(chan struct{})}
	for _, l := range []net.Listener{a, b} {
		m.wg.Go(func() { m.accept(l) })
	}
	return m
}

func (m *merged) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			m.mu.Lock()
			m.err = errors.Join(m.err, err)
			m.mu.Unlock()
			m.once.Do(func() { close(m.done) })
			return
		}
		select {
		case m.conns <- c:
		case <-m.done:
			c.Close()
			return
		}
	}
}

// Accept implements net.Listener.
func (m *merged) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.done:
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.err == nil {
			return nil, net.ErrClosed
		}
		return nil, m.err
	}
}

// Close implements net.Listener.
func (m *merged) Close() error {
	m.once.Do(func() { close(m.done) })
	err := errors.Join(m.Listener.Close(), m.other.Close())
	m.wg.Wait()
	return err
}
