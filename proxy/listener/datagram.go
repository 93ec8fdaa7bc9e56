package listener

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weftmesh/weft/base/datagram"
	"github.com/weftmesh/weft/proxy/filter"
)

// datagramBatch is how many datagrams are read at once.
const datagramBatch = 16

// packetSocket is a bound UDP socket with the loop that reads it. It outlives the
// listeners that use it one after the other.
type packetSocket struct {
	key      socketKey
	sock     *datagram.Socket
	listener atomic.Pointer[active]
	running  bool // guarded by the manager's mu
}

// ListenUDP binds a UDP address of a listener in the network namespace of the
// process. It is what a Manager does by itself.
func ListenUDP(ctx context.Context, l *Listener, a Address) (net.PacketConn, error) {
	network := "udp4"
	if a.Addr.Addr().Is6() {
		network = "udp6"
		if l.IPv4Compat {
			network = "udp"
		}
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var serr error
		err := c.Control(func(fd uintptr) { serr = socketOptions(int(fd), l, network != "udp4") })
		return errors.Join(err, serr)
	}}
	return lc.ListenPacket(ctx, network, a.Addr.String())
}

// openPacket binds a socket; its loop is started by runPacket.
func (m *Manager) openPacket(l *Listener, a Address) (*packetSocket, error) {
	pc, err := m.listenUDP(m.bindCtx, l, a)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", a, err)
	}
	uc, ok := pc.(*net.UDPConn)
	if !ok {
		_ = pc.Close()
		return nil, fmt.Errorf("listen on %s: got a %T", a, pc)
	}
	sock, err := datagram.New(uc)
	if err != nil {
		_ = uc.Close()
		return nil, fmt.Errorf("listen on %s: %w", a, err)
	}
	return &packetSocket{key: l.key(a), sock: sock}, nil
}

// runPacket starts the loop once the manager runs. The caller holds mu.
func (m *Manager) runPacket(s *packetSocket) {
	m.startLoop(&s.running, func(ctx context.Context) {
		if m.hold != nil {
			select {
			case <-m.hold:
			case <-ctx.Done():
				return
			}
		}
		m.take(s)
	})
}

// take reads a socket until it is closed or interrupted.
func (m *Manager) take(s *packetSocket) {
	var pool *datagram.Pool
	var r *datagram.Reader
	size, lost := 0, uint32(0)
	for {
		if n := s.listener.Load().udp.room(); n != size {
			size, pool = n, datagram.NewPool(n, datagramBatch)
			r = datagram.NewReader(s.sock, pool)
		}
		b, err := r.Read()
		switch {
		case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
			return
		case err != nil:
			continue // of what was sent: it concerns nobody here
		}
		a := s.listener.Load()
		for i := range b.Len() {
			if b.Truncated(i) {
				a.stats.DatagramsDropped.Add(1)
			}
		}
		if n, ok := b.Lost(); ok && n != lost {
			a.stats.DatagramsDropped.Add(uint64(n - lost))
			lost = n
		}
		a.udp.Filter.Take(s.sock, b)
		pool.Put(b)
	}
}

// room is how large a datagram, or several as one, may be.
func (u *UDP) room() int {
	if u.GRO {
		return datagram.MaxSize
	}
	return u.Size
}

// keepUDP returns what already does what u says, or u, to which the sessions go over.
func (a *active) keepUDP(u *UDP) *UDP {
	switch {
	case a == nil || a.udp == nil || u == nil:
		return u
	case u.Version != "" && u.Version == a.udp.Version:
		return a.udp
	}
	u.Filter.Succeed(a.udp.Filter)
	return u
}

// leaveUDP ends the sessions of a version that was replaced, after a while, or
// at once where nobody reads their socket any more. The caller holds mu.
func (m *Manager) leaveUDP(f filter.Datagrams, replaced bool) {
	f.Drain()
	if !replaced || f.Active() == 0 {
		f.Close()
		return
	}
	if m.ending[f] == nil {
		m.ending[f] = time.AfterFunc(m.drainTime, func() { m.endUDP(f) })
	}
}

func (m *Manager) endUDP(f filter.Datagrams) {
	f.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.ending, f)
}

// commitUDP is the part of commit that is about datagrams.
func (u *update) commitUDP() {
	m := u.m
	for key, s := range m.packets {
		if a := u.wanted[key]; a != nil {
			s.listener.Store(a)
			m.runPacket(s)
			continue
		}
		_ = s.sock.Close()
		delete(m.packets, key)
	}
	for _, a := range u.old.list {
		if a.udp == nil {
			continue
		}
		now := u.next.byName[a.Name]
		switch {
		case now == nil || now.udp == nil:
			m.leaveUDP(a.udp.Filter, false)
		case now.udp != a.udp:
			m.leaveUDP(a.udp.Filter, true)
		}
	}
}

// stopUDP closes all that has to do with datagrams. The caller holds mu.
func (m *Manager) stopUDP() {
	for f, t := range m.ending {
		t.Stop()
		f.Close()
	}
	clear(m.ending)
	for _, l := range m.table.Load().list {
		if l.udp != nil {
			l.udp.Filter.Close()
		}
	}
	for _, s := range m.packets {
		_ = s.sock.Close()
	}
	clear(m.packets)
}

// sessions is how many there are of datagrams. The caller holds mu.
func (m *Manager) sessions() (n int64) {
	for _, l := range m.table.Load().list {
		if l.udp != nil {
			n += l.udp.Filter.Active()
		}
	}
	for f := range m.ending {
		if !m.inEffect(f) {
			n += f.Active()
		}
	}
	return n
}

// inEffect tells whether a listener has f, which may be draining all the same.
func (m *Manager) inEffect(f filter.Datagrams) bool {
	return slices.ContainsFunc(m.table.Load().list, func(a *active) bool { return a.udp != nil && a.udp.Filter == f })
}

// MoveSessions gives the sessions of all UDP listeners away, each with the address
// that it came to and the socket of its own, for AdoptSession in another
// process. Retire has been called.
func (m *Manager) MoveSessions(yield func(address string, state []byte, upstream *net.UDPConn)) {
	m.mu.Lock()
	sockets := make([]*packetSocket, 0, len(m.packets))
	for _, s := range m.packets {
		sockets = append(sockets, s)
	}
	m.mu.Unlock()
	for _, s := range sockets {
		s.listener.Load().udp.Filter.Move(func(state []byte, up *net.UDPConn) { yield(s.key.Address.String(), state, up) })
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopUDP()
}

// AdoptSession goes on with a session that came to an address. Nothing has been
// read from its socket yet (Options.Hold).
func (m *Manager) AdoptSession(address string, state []byte, upstream *net.UDPConn) error {
	m.mu.Lock()
	var s *packetSocket
	for key, p := range m.packets {
		if key.Address.String() == address {
			s = p
		}
	}
	m.mu.Unlock()
	if s == nil {
		_ = upstream.Close()
		return fmt.Errorf("a session of %s: there is no such listener any more", address)
	}
	return s.listener.Load().udp.Filter.Adopt(s.sock, state, upstream)
}
