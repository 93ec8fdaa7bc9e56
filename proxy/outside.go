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

// listen binds sockets, or takes over those of the process before.
func (r *runtime) listen() func(context.Context, *listener.Listener, listener.Address) (net.Listener, error) {
	if !r.opt.HostListeners || r.opt.HandSocket == "" {
		return r.listenInside
	}
	hand := wire.HandClient{Path: r.opt.HandSocket}
	return func(ctx context.Context, l *listener.Listener, a listener.Address) (net.Listener, error) {
		if a.Path != "" || a.Addr.Addr().IsLoopback() {
			return r.listenInside(ctx, l, a)
		}
		var inside net.Listener
		if len(r.opt.Inside) > 0 { // otherwise the host's network is the only one
			var err error
			if inside, err = r.listenInside(ctx, l, a); err != nil {
				return nil, err
			}
		}
		loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
		if a.Addr.Addr().Is6() {
			loopback = netip.IPv6Loopback()
		}
		var note string
		outside, err := r.gen.sockets.Listen(forOutside+a.String(), func() (ln net.Listener, err error) {
			ln, note, err = hand.Listen(ctx, netip.AddrPortFrom(loopback, a.Addr.Port()))
			return ln, err
		})
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
	begin        sync.Once // by the first Accept
	accepted     chan accepted
	close        func() error
}

type accepted struct {
	net.Conn
	err error
}

func newMerged(a, b net.Listener) *merged {
	m := &merged{Listener: a, other: b, accepted: make(chan accepted)}
	m.close = sync.OnceValue(func() error { return errors.Join(a.Close(), b.Close()) })
	return m
}

// start accepts from both. What was accepted before Close comes out of Accept
// after it: nothing is lost.
func (m *merged) start() {
	var wg sync.WaitGroup
	for _, l := range []net.Listener{m.Listener, m.other} {
		wg.Go(func() {
			for {
				c, err := l.Accept()
				if errors.Is(err, net.ErrClosed) {
					return
				}
				m.accepted <- accepted{c, err}
			}
		})
	}
	go func() {
		wg.Wait()
		close(m.accepted)
	}()
}

// Accept implements net.Listener.
func (m *merged) Accept() (net.Conn, error) {
	m.begin.Do(m.start)
	a, ok := <-m.accepted
	if !ok {
		return nil, net.ErrClosed
	}
	return a.Conn, a.err
}

// Close implements net.Listener. Whoever calls Accept goes on until it fails.
func (m *merged) Close() error { return m.close() }
