package handover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/weftmesh/weft/base/backoff"
	"github.com/weftmesh/weft/wire"
)

// Options of a Server. All are required.
type Options struct {
	Path    string
	Sockets *Sockets
	// Status describes this process, without Draining.
	Status func() wire.HandoverStatus
	// State is the warm state for a successor, by name.
	State func() map[string]json.RawMessage
	// Counts are the statistics of this process and, from its Ledger, of all before.
	Counts func() Counts
	// Retire has the process stop accepting, on all sockets, and returns when it
	// has. bound is how long it may go on then; 0: as it was told itself. From its
	// call on connections may be given away by Give.
	Retire func(bound time.Duration)
	// Move gives what a retired process moves instead of letting it end, one by one,
	// each with a socket. Adopt takes such in, in the successor, before Ready returns;
	// the file is its to close.
	Move  func(give func(name string, state []byte, fd int) error)
	Adopt func(name string, state []byte, f *os.File)
	// Admit takes a connection of a process before, of which body tells what is
	// known; the file is Admit's to close. It does not block.
	Admit func(f *os.File, body json.RawMessage)
	// Quit: the successor has been told to end, and so is this process.
	Quit func()
	// Ledger is where predecessors are counted.
	Ledger *Ledger
	Log    *slog.Logger
}

// Server is the owner of the path, and later a predecessor of the next owner.
type Server struct {
	Options
	wg sync.WaitGroup // conversations and links

	mu sync.Mutex
	// Guarded by mu.
	taking bool       // a new process is warming up
	gone   bool       // handed over
	next   *successor // nil: not handed over
	before map[*predecessor]struct{}
}

// NewServer makes a Server. Run it once this process accepts.
func NewServer(o Options) *Server {
	return &Server{Options: o, before: map[*predecessor]struct{}{}}
}

// Run answers at the path until this process has handed over, tells its
// successor what it counts after that, and returns when ctx ends: when the
// process has no connections any more, or must end. quit tells whether it ends
// because it was told to: then those before it are to do the same.
func (s *Server) Run(ctx context.Context, quit func() bool) error {
	talk, hush := context.WithCancel(context.WithoutCancel(ctx))
	defer hush()
	taken := make(chan *successor, 1)
	stop := context.AfterFunc(ctx, func() { s.Sockets.own.Close() })
	defer stop()
	s.accept(talk, taken)
	s.mu.Lock()
	gone := s.gone
	s.mu.Unlock()
	if gone {
		(<-taken).tell(ctx)
	}
	hush()
	s.dismiss(quit())
	s.wg.Wait()
	return nil
}

// accept answers until the socket is closed: at the end, or by a handover.
func (s *Server) accept(ctx context.Context, taken chan<- *successor) {
	retry := backoff.Backoff{Min: 5 * time.Millisecond, Max: time.Second}
	for {
		uc, err := s.Sockets.own.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, most likely
			if retry.Wait(ctx) != nil {
				return
			}
			continue
		}
		retry.Reset()
		s.wg.Go(func() {
			if next := s.answer(ctx, wire.NewHandoverConn(uc)); next != nil {
				taken <- next
			}
		})
	}
}

// answer is one conversation. It returns the successor if there is one now.
func (s *Server) answer(ctx context.Context, c *wire.HandoverConn) *successor {
	keep := false
	defer func() {
		if !keep {
			c.Close()
		}
	}()
	defer c.CloseWith(ctx)()
	m, f, err := c.Receive()
	if err != nil || f != nil {
		return nil
	}
	switch m.Op {
	case wire.HandoverStatusOp:
		st := s.status()
		_ = c.Send(wire.HandoverMessage{Op: wire.HandoverStatusOp, Status: &st})
	case wire.HandoverTake, wire.HandoverAttach:
		if m.Protocol != wire.HandoverVersion || m.Status == nil {
			_ = c.Send(wire.HandoverMessage{Op: wire.HandoverRefused, Error: fmt.Sprintf(
				"it speaks version %d of the handover protocol, this one %d: upgrade by way of a release that speaks both", wire.HandoverVersion, m.Protocol)})
			return nil
		}
		if m.Op == wire.HandoverAttach {
			keep = s.adopt(c, *m.Status)
			return nil
		}
		next := s.hand(c, m)
		keep = next != nil
		return next
	}
	return nil
}

func (s *Server) status() wire.HandoverStatus {
	st := s.Status()
	st.Draining = s.Before()
	return st
}

// Before are the generations before this one that have connections still.
func (s *Server) Before() (out []wire.HandoverStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.before {
		out = append(append(out, p.status), p.status.Draining...)
	}
	for i := range out {
		out[i].Draining = nil
	}
	slices.SortFunc(out, func(a, b wire.HandoverStatus) int { return a.Generation - b.Generation })
	return out
}

// adopt follows a process whose successor has died.
func (s *Server) adopt(c *wire.HandoverConn, who wire.HandoverStatus) bool {
	s.mu.Lock()
	gone := s.gone
	s.mu.Unlock()
	st := s.Status()
	if gone || c.Send(wire.HandoverMessage{Op: wire.HandoverWelcome, Protocol: wire.HandoverVersion, Status: &st, Connections: true}) != nil {
		return false
	}
	s.wg.Go(s.predecessor(c, who).follow)
	return true
}

// hand gives everything to a new process, waits until it is ready, and retires.
func (s *Server) hand(c *wire.HandoverConn, take wire.HandoverMessage) *successor {
	s.mu.Lock()
	busy := s.taking || s.gone
	s.taking = true
	s.mu.Unlock()
	if busy {
		_ = c.Send(wire.HandoverMessage{Op: wire.HandoverRefused, Error: errBusy.Error(), Retry: true})
		return nil
	}
	log := s.Log.With("version", take.Status.Version, "pid", take.Status.PID)
	log.Info("a new process wants to take over")
	ready, err := s.give(c)
	if err != nil {
		s.mu.Lock()
		s.taking = false
		s.mu.Unlock()
		log.Warn("the new process has gone before it was ready; this one goes on", "error", err)
		return nil
	}
	next := &successor{s: s, c: c, takes: take.Connections, sent: newSent()}
	s.mu.Lock()
	s.gone, s.next = true, next
	s.mu.Unlock()
	s.Sockets.ownFiles(false)
	s.Retire(ready.Bound)
	s.Move(func(name string, state []byte, fd int) error {
		return c.Send(wire.HandoverMessage{Op: wire.HandoverSession, Name: name, Body: state}, fd)
	})
	log.Info("handed over")
	if next.count() != nil || c.Send(wire.HandoverMessage{Op: wire.HandoverDone}) != nil {
		next.lose()
	}
	s.Sockets.own.Close() // the last of all: until now nobody else may be answering
	return next
}

// errKeep: who has taken over does not take connections.
var errKeep = errors.New("handover: nobody takes the connection")

// Give sends a connection to the process that has taken over, which finds out by
// body what it is; it may block. f stays the caller's to close. After an error the
// connection is the caller's as before.
func (s *Server) Give(f *os.File, body json.RawMessage) error {
	s.mu.Lock()
	next := s.next
	s.mu.Unlock()
	if next == nil {
		return errKeep
	}
	return next.give(f, body)
}

// give sends sockets and state and returns the message ready.
func (s *Server) give(c *wire.HandoverConn) (m wire.HandoverMessage, err error) {
	st := s.Status()
	if err := c.Send(wire.HandoverMessage{Op: wire.HandoverWelcome, Protocol: wire.HandoverVersion, Status: &st}); err != nil {
		return m, err
	}
	err = s.Sockets.each(func(name string, fd int) error {
		return c.Send(wire.HandoverMessage{Op: wire.HandoverSocket, Name: name}, fd)
	})
	if err != nil {
		return m, err
	}
	for name, body := range s.State() {
		if err := c.Send(wire.HandoverMessage{Op: wire.HandoverState, Name: name, Body: body}); err != nil {
			return m, err
		}
	}
	if err := c.Send(wire.HandoverMessage{Op: wire.HandoverEnd}); err != nil {
		return m, err
	}
	m, f, err := c.Receive()
	if f != nil {
		f.Close()
	}
	if err == nil && m.Op != wire.HandoverReady {
		err = fmt.Errorf("unexpected message %q", m.Op)
	}
	return m, err
}

// dismiss ends the conversations with those before. tell: they are to end too;
// otherwise they look for the one that accepts now.
func (s *Server) dismiss(tell bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.before {
		if tell {
			_ = p.c.Send(wire.HandoverMessage{Op: wire.HandoverQuit})
		}
		p.c.Close()
	}
}
