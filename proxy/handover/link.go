package handover

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/weftmesh/weft/base/backoff"
	"github.com/weftmesh/weft/wire"
)

// predecessor is a process before this one that has connections still, as seen
// from here.
type predecessor struct {
	s *Server
	c *wire.HandoverConn
	// Guarded by the server's mu.
	status wire.HandoverStatus
}

func (s *Server) predecessor(c *wire.HandoverConn, who wire.HandoverStatus) *predecessor {
	p := &predecessor{s: s, c: c, status: who}
	s.mu.Lock()
	s.before[p] = struct{}{}
	s.mu.Unlock()
	return p
}

// receive takes the next message and notes what it tells.
func (p *predecessor) receive() (wire.HandoverMessage, error) {
	m, f, err := p.c.Receive()
	switch {
	case f != nil && err == nil && m.Op == wire.HandoverSession:
		p.s.Adopt(m.Name, m.Body, f)
		return m, nil
	case f != nil && m.Op == wire.HandoverConnection:
		p.s.Admit(f, m.Body)
	case f != nil:
		f.Close()
	}
	if err != nil {
		return m, err
	}
	if m.Status != nil {
		p.s.mu.Lock()
		p.status = *m.Status
		p.s.mu.Unlock()
	}
	if m.Op == wire.HandoverCount {
		var c Counts
		if err := json.Unmarshal(m.Body, &c); err != nil {
			return m, err
		}
		p.s.Ledger.add(p, c)
	}
	return m, nil
}

// follow goes on to the end of the process.
func (p *predecessor) follow() {
	for {
		m, err := p.receive()
		if err != nil || m.Op == wire.HandoverBye {
			break
		}
	}
	p.end()
}

func (p *predecessor) end() {
	p.c.Close()
	p.s.Ledger.forget(p)
	p.s.mu.Lock()
	delete(p.s.before, p)
	p.s.mu.Unlock()
}

// successor is the process that is told what this one counts.
type successor struct {
	s    *Server
	sent *sent

	// mu guards what follows for give; it changes on the goroutine of tell only.
	mu    sync.Mutex
	c     *wire.HandoverConn
	takes bool // connections
	lost  bool
}

// lose notes that the link is no more.
func (n *successor) lose() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lost = true
}

// give sends a connection.
func (n *successor) give(f *os.File, body json.RawMessage) error {
	n.mu.Lock()
	c, ok := n.c, n.takes && !n.lost
	n.mu.Unlock()
	if !ok {
		return errKeep
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = raw.Control(func(fd uintptr) {
		serr = c.Send(wire.HandoverMessage{Op: wire.HandoverConnection, Body: body}, int(fd))
	})
	return errors.Join(err, serr)
}

// countPeriod is how often a draining process tells what it has counted.
const countPeriod = time.Second

// seriesPerMessage keeps messages small.
const seriesPerMessage = 500

// count tells what has changed.
func (n *successor) count() error {
	c := n.sent.news(n.s.Counts())
	st := n.s.status()
	for first := true; first || !c.empty(); first = false {
		part := Counts{Stats: c.Stats, Series: c.Series[:min(len(c.Series), seriesPerMessage)]}
		c.Stats, c.Series = nil, c.Series[len(part.Series):]
		body, err := json.Marshal(part)
		if err != nil {
			return err
		}
		if err := n.c.Send(wire.HandoverMessage{Op: wire.HandoverCount, Body: body, Status: &st}); err != nil {
			return err
		}
		n.sent.told(part)
	}
	return nil
}

// tell keeps the successor, or who has taken its place, up to date until ctx ends.
func (n *successor) tell(ctx context.Context) {
	retry := backoff.Backoff{Min: 50 * time.Millisecond, Max: 5 * time.Second}
	for ctx.Err() == nil {
		if n.lost && !n.attach(ctx) {
			if retry.Wait(ctx) != nil {
				break
			}
			continue
		}
		retry.Reset()
		n.link(ctx)
	}
	if !n.lost && n.count() == nil {
		_ = n.c.Send(wire.HandoverMessage{Op: wire.HandoverBye})
	}
	n.c.Close()
}

// link tells one successor until it has gone or ctx ends.
func (n *successor) link(ctx context.Context) {
	dead := make(chan struct{})
	c := n.c
	n.s.wg.Go(func() {
		defer close(dead)
		for {
			m, f, err := c.Receive()
			if f != nil {
				f.Close()
			}
			if err != nil {
				return
			}
			if m.Op == wire.HandoverQuit {
				n.s.Quit()
			}
		}
	})
	tick := time.NewTicker(countPeriod)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if n.count() == nil {
				continue
			}
		case <-dead:
		case <-ctx.Done():
			return
		}
		n.lose()
		c.Close()
		<-dead
		return
	}
}

// attach finds the process that accepts now.
func (n *successor) attach(ctx context.Context) bool {
	c, err := wire.DialHandover(ctx, n.s.Path)
	if err != nil {
		return false
	}
	defer c.CloseWith(ctx)()
	st := n.s.status()
	err = c.Send(wire.HandoverMessage{Op: wire.HandoverAttach, Protocol: wire.HandoverVersion, Status: &st})
	var m wire.HandoverMessage
	if err == nil {
		var f *os.File
		if m, f, err = c.Receive(); f != nil {
			f.Close() // nobody asked for one
		}
		if err == nil && m.Op != wire.HandoverWelcome {
			err = errors.New("refused")
		}
	}
	if err != nil {
		c.Close()
		return false
	}
	n.mu.Lock()
	n.c, n.takes, n.lost = c, m.Connections, false
	n.mu.Unlock()
	n.sent.elsewhere()
	return true
}
