package handover

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
)

// Sockets are the listening sockets of this process by name, and those that it
// got from the one before and has not asked for yet. The zero value is ready;
// a nil one just makes sockets. Safe for concurrent use.
type Sockets struct {
	mu sync.Mutex
	// Guarded by mu.
	inherited map[string]*os.File
	held      map[string]syscall.Conn
	own       *net.UnixListener // that of the path
}

// Listen returns the inherited listener of that name, or the one that fresh makes.
func (s *Sockets) Listen(name string, fresh func() (net.Listener, error)) (net.Listener, error) {
	if s == nil {
		return fresh()
	}
	listen := fresh
	if f := s.claim(name); f != nil {
		defer f.Close()
		listen = func() (net.Listener, error) { return net.FileListener(f) }
	}
	got, err := listen()
	if err != nil {
		return nil, err
	}
	s.hold(name, got)
	return got, nil
}

// ListenPacket is Listen for datagrams.
func (s *Sockets) ListenPacket(name string, fresh func() (net.PacketConn, error)) (net.PacketConn, error) {
	if s == nil {
		return fresh()
	}
	pc := fresh
	if f := s.claim(name); f != nil {
		defer f.Close()
		pc = func() (net.PacketConn, error) { return net.FilePacketConn(f) }
	}
	got, err := pc()
	if err != nil {
		return nil, err
	}
	s.hold(name, got)
	return got, nil
}

func (s *Sockets) claim(name string) *os.File {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.inherited[name]
	delete(s.inherited, name)
	return f
}

// hold notes a socket that can be handed on. One that has been closed since is
// left out then.
func (s *Sockets) hold(name string, socket any) {
	sc, ok := socket.(syscall.Conn)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil {
		s.held = map[string]syscall.Conn{}
	}
	s.held[name] = sc
}

// inherit adds a socket of the process before.
func (s *Sockets) inherit(name string, f *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inherited == nil {
		s.inherited = map[string]*os.File{}
	}
	if old := s.inherited[name]; old != nil {
		old.Close()
	}
	s.inherited[name] = f
}

// Unclaimed are the names of inherited sockets that nobody has asked for.
func (s *Sockets) Unclaimed() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.inherited))
}

// Drop closes what nobody has asked for: the configuration has it no more.
func (s *Sockets) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.inherited {
		f.Close()
	}
	clear(s.inherited)
}

// ownFiles says whether the files of unix sockets are this process's to remove.
func (s *Sockets) ownFiles(yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.held {
		if u, ok := c.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(yes)
		}
	}
}

// each calls f with every socket that is open.
func (s *Sockets) each(f func(name string, fd int) error) error {
	s.mu.Lock()
	held := maps.Clone(s.held)
	s.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(held)) {
		raw, err := held[name].SyscallConn()
		var ferr error
		if err == nil {
			// Not File, whose Fd would make the shared socket a blocking one.
			err = raw.Control(func(fd uintptr) { ferr = f(name, int(fd)) })
		}
		if ferr != nil {
			return fmt.Errorf("socket %s: %w", name, ferr)
		}
		if err != nil && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("socket %s: %w", name, err)
		}
	}
	return nil
}
