package handover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/weftmesh/weft/wire"
)

// Inheritance is what a new process got from the one that it replaces.
type Inheritance struct {
	// Before describes the process that accepts until Ready.
	Before wire.HandoverStatus
	// State is the warm state by name.
	State map[string]json.RawMessage

	sockets *Sockets
	conn    *wire.HandoverConn
}

// retryPause is between two attempts while another process is taking over.
const retryPause = 50 * time.Millisecond

// errBusy: the owner said that it is worth trying again.
var errBusy = errors.New("another process is taking over at this moment")

// Begin finds out who serves path. If a process does, it hands over its sockets;
// else path belongs to this process, whose Server listens there, and the
// Inheritance is nil. ctx bounds the conversation.
func Begin(ctx context.Context, path string, self wire.HandoverStatus, into *Sockets) (*Inheritance, error) {
	for {
		in, err := begin(ctx, path, self, into)
		if !errors.Is(err, errBusy) {
			return in, err
		}
		t := time.NewTimer(retryPause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, fmt.Errorf("take over at %s: %w", path, err)
		}
	}
}

func begin(ctx context.Context, path string, self wire.HandoverStatus, into *Sockets) (*Inheritance, error) {
	unlock, err := lock(path)
	if err != nil {
		return nil, err
	}
	conn, err := wire.DialHandover(ctx, path)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		defer unlock()
		return nil, into.ownPath(func() (net.Listener, error) { return listenOwn(ctx, path) })
	case err != nil:
		unlock()
		return nil, fmt.Errorf("take over at %s: %w", path, err)
	}
	unlock()
	defer conn.CloseWith(ctx)()
	in := &Inheritance{sockets: into, conn: conn, State: map[string]json.RawMessage{}}
	err = in.receive(self)
	if err == nil {
		err = into.ownPath(func() (net.Listener, error) {
			return nil, errors.New("the running proxy did not hand over the path itself")
		})
	}
	if err != nil {
		in.Abandon()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("take over at %s: %w", path, err)
	}
	return in, nil
}

// ownName is the name of the socket at the path itself.
const ownName = "handover"

// ownPath takes or makes the socket of the path.
func (s *Sockets) ownPath(fresh func() (net.Listener, error)) error {
	ln, err := s.Listen(ownName, fresh)
	if err != nil {
		return err
	}
	own, ok := ln.(*net.UnixListener)
	if !ok {
		ln.Close()
		return fmt.Errorf("handover: the path is a socket of type %T", ln)
	}
	s.own = own
	return nil
}

func listenOwn(ctx context.Context, path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("handover: %w", err)
	}
	// On Linux a socket is bound with the mode it has: nobody else can connect at any time.
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), 0o600) })
	}}
	ln, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("handover: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return nil, fmt.Errorf("handover: %w", err)
	}
	return ln, nil
}

// receive does the conversation up to end.
func (in *Inheritance) receive(self wire.HandoverStatus) error {
	if err := in.conn.Send(wire.HandoverMessage{Op: wire.HandoverTake, Protocol: wire.HandoverVersion, Status: &self, Connections: true}); err != nil {
		return fmt.Errorf("%w: %w", errBusy, err) // it has just handed over to somebody else
	}
	for first := true; ; first = false {
		m, f, err := in.conn.Receive()
		if err != nil && first {
			return fmt.Errorf("%w: %w", errBusy, err)
		}
		if err != nil {
			return err
		}
		switch m.Op {
		case wire.HandoverWelcome:
			if m.Status != nil {
				in.Before = *m.Status
			}
		case wire.HandoverSocket:
			in.sockets.inherit(m.Name, f)
		case wire.HandoverState:
			in.State[m.Name] = m.Body
		case wire.HandoverEnd:
			return nil
		case wire.HandoverRefused:
			if m.Retry {
				return errBusy
			}
			return errors.New("the running proxy refused: " + m.Error)
		}
	}
}

// Abandon gives up before Ready; the other process goes on as if nothing had been.
func (in *Inheritance) Abandon() {
	in.conn.Close()
	in.sockets.Drop()
	if own := in.sockets.own; own != nil {
		own.Close()
	}
}

// Ready says that this process accepts. When it returns the other one has
// stopped, and has told what it had counted. From then on the Server s listens
// to it, and follows what it counts until it ends. bound is how long it may go
// on; 0: as it was told itself. An error says that the other process has died:
// there is nobody to wait for, and the sockets are this process's all the same.
func (in *Inheritance) Ready(s *Server, bound time.Duration) error {
	in.sockets.Drop()
	in.sockets.ownFiles(true)
	p := s.predecessor(in.conn, in.Before)
	err := in.conn.Send(wire.HandoverMessage{Op: wire.HandoverReady, Bound: bound})
	for err == nil {
		var m wire.HandoverMessage
		if m, err = p.receive(); err == nil && m.Op == wire.HandoverDone {
			s.wg.Go(p.follow)
			return nil
		}
	}
	p.end()
	return fmt.Errorf("take over: the running proxy has gone: %w", err)
}
