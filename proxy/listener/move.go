package listener

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/filter"
)

// Moved is what is known of a connection that goes to another process: all that
// cannot be found out from its socket.
type Moved struct {
	// Listener is the name of its listener.
	Listener string         `json:"listener"`
	Local    netip.AddrPort `json:"local"`
	Remote   netip.AddrPort `json:"remote"`
	Direct   netip.AddrPort `json:"direct"`
	ALPN     []string       `json:"alpn,omitempty"` // as the inspectors saw it
	Start    time.Time      `json:"start"`
	filter.Resumed
}

// moves are connections on their way to another process. They count as busy until
// they are there.
type moves struct {
	m    *Manager
	give func(*os.File, Moved) error
	wake chan struct{} // holds one

	mu sync.Mutex
	// Guarded by mu.
	queue []movedFile
}

type movedFile struct {
	f *os.File
	c Moved
}

// startMoves lets connections go. The caller holds mu of m.
func (m *Manager) startMoves(give func(*os.File, Moved) error) {
	mv := &moves{m: m, give: give, wake: make(chan struct{}, 1)}
	m.moves.Store(mv)
	ctx := m.ctx
	m.wg.Go(func() { mv.run(ctx) })
}

// put enqueues a connection.
func (mv *moves) put(f *os.File, c Moved) {
	mv.m.arriving.Add(1)
	mv.mu.Lock()
	mv.queue = append(mv.queue, movedFile{f, c})
	mv.mu.Unlock()
	select {
	case mv.wake <- struct{}{}:
	default:
	}
}

// run gives away what is put, until ctx ends.
func (mv *moves) run(ctx context.Context) {
	for {
		select {
		case <-mv.wake:
		case <-ctx.Done():
			mv.each(func(p movedFile) { p.f.Close() })
			return
		}
		mv.each(mv.send)
	}
}

func (mv *moves) each(do func(movedFile)) {
	for {
		mv.mu.Lock()
		list := mv.queue
		mv.queue = nil
		mv.mu.Unlock()
		if len(list) == 0 {
			return
		}
		for _, p := range list {
			do(p)
			mv.m.arriving.Add(-1)
		}
	}
}

// send gives one away, or takes it back.
func (mv *moves) send(p movedFile) {
	if mv.m.moves.Load() == mv {
		err := mv.give(p.f, p.c)
		if err == nil {
			p.f.Close()
			return
		}
		mv.m.moves.Store(nil)
		mv.m.log.Info("idle connections stay until their next response", "why", err)
	}
	_ = mv.m.Admit(p.f, p.c) // has closed it, if there is nobody for it
}

// movable tells whether all that matters about the connection is in its socket and
// in a Moved.
func (a *arrival) movable() bool {
	return a.inner == nil && a.chain != nil && a.chain.TLS == nil && a.metadata == nil && len(a.tlvs) == 0 &&
		len(a.facts.Objects) == 0 && !a.facts.TLS
}

// Move implements filter.Mover.
func (a *arrival) Move(c stream.Conn, r filter.Resumed) bool {
	mv := a.m.moves.Load()
	if mv == nil {
		return false
	}
	d, ok := c.(interface{ Detach() *os.File })
	if !ok {
		return false
	}
	f := d.Detach()
	if f == nil {
		return false
	}
	a.moved = true
	mv.put(f, Moved{
		Listener: a.l.Name, Local: a.facts.Local, Remote: a.facts.Remote, Direct: a.facts.Direct, ALPN: a.facts.ALPN,
		Start: a.info.Start, Resumed: r,
	})
	return true
}

// Admit takes a connection that another process gave away, as if it had been
// accepted here. It does not block, and owns f.
func (m *Manager) Admit(f *os.File, c Moved) error {
	nc, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return fmt.Errorf("connection of listener %q: %w", c.Listener, err)
	}
	t := m.table.Load()
	l := t.named(c.Listener)
	if l == nil {
		l = t.find(c.Local)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if l == nil || m.stopping {
		nc.Close()
		return errors.New("there is no listener for a connection of listener " + c.Listener)
	}
	a := &arrival{m: m, l: l, nc: nc, raw: nc, resumed: &c, seat: m.keep(l)}
	a.facts = Facts{Local: c.Local, Remote: c.Remote, Direct: c.Direct, ALPN: c.ALPN}
	m.arriving.Add(1)
	if m.ctx == nil {
		m.early = append(m.early, a)
	} else {
		m.settle(a)
	}
	return nil
}

// settle resumes a connection that was admitted. The caller holds mu, and has
// counted it as arriving.
func (m *Manager) settle(a *arrival) {
	m.wg.Go(func() {
		defer m.arriving.Add(-1)
		a.resume()
	})
}

// resume brings the connection to its terminal filter.
func (a *arrival) resume() {
	if !a.choose() {
		a.nc.Close()
		a.seat.free()
		return
	}
	if a.chain.TLS != nil { // not what the client speaks
		a.nc.Close()
		a.leave()
		return
	}
	a.hand()
}
