// Package handsocket is the supervisor's side of the hand-socket protocol
// (wire.HandClient): it makes sockets in the host's network namespace and hands
// them to proxies that live in namespaces without a way out.
//
// It listens on the host's loopback only, and offers a port HandPortShift
// higher when the one asked for may not be bound or is taken. Only processes of
// the same user, and root, are served. What is done with a socket once handed
// over is none of its business.
package handsocket

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/weftmesh/weft/wire"
)

// dialTimeout bounds a dial whose asker sets no bound of its own.
const dialTimeout = 30 * time.Second

// Server answers hand-socket requests at Path.
type Server struct {
	// Path is the unix socket; a file that is there is replaced.
	Path string
	Log  *slog.Logger
	// Refuse are addresses inside the mesh: a dial outside for one of them is
	// a mistake, and could reach a stranger.
	Refuse []netip.Prefix
	// Listened, if set, is told of every listening socket that was handed out.
	Listened func(Listening)
	// ResolvConf names the host's resolver file; "": /etc/resolv.conf.
	ResolvConf string

	// listening admits one request for a listening socket at a time; handed are the
	// addresses of those that were handed out.
	listening sync.Mutex
	handed    map[netip.AddrPort]bool
}

// Listening is one listening socket that was handed out.
type Listening struct {
	Asked, Got netip.AddrPort
	// Note says for a person why Got differs from Asked; "": it does not.
	Note string
}

// Run serves until ctx ends. It returns after all requests have been answered
// or dropped.
func (s *Server) Run(ctx context.Context) error {
	ln, err := s.Listen()
	if err != nil {
		return err
	}
	return s.Serve(ctx, ln)
}

// Listen makes the unix socket, for callers that must know it is there.
func (s *Server) Listen() (*net.UnixListener, error) {
	if err := os.Remove(s.Path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("hand socket: %w", err)
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.Path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("hand socket: %w", err)
	}
	if err := os.Chmod(s.Path, 0o600); err != nil {
		ln.Close()
		return nil, fmt.Errorf("hand socket: %w", err)
	}
	return ln, nil
}

// Serve serves on ln until ctx ends.
func (s *Server) Serve(ctx context.Context, ln *net.UnixListener) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	for {
		uc, err := ln.AcceptUnix()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("hand socket: %w", err)
		}
		wg.Go(func() {
			defer uc.Close()
			if err := s.answer(ctx, uc); err != nil && ctx.Err() == nil {
				s.Log.Debug("hand-socket request dropped", "error", err)
			}
		})
	}
}

// answer serves one connection, which brings one request.
func (s *Server) answer(ctx context.Context, uc *net.UnixConn) error {
	if err := sameUser(uc); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	uc.SetReadDeadline(time.Now().Add(dialTimeout))
	unblock := context.AfterFunc(ctx, func() { uc.SetReadDeadline(time.Unix(1, 0)) })
	defer unblock()
	r := bufio.NewReaderSize(uc, wire.HandMaxMessage)
	line, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	req, err := wire.ParseHandRequest(line)
	if err != nil {
		return send(uc, wire.HandAnswer{Error: err.Error()}, nil)
	}
	// Whoever closes has taken the request back.
	var wg sync.WaitGroup
	defer wg.Wait()
	defer uc.SetReadDeadline(time.Unix(1, 0))
	wg.Go(func() {
		_, _ = r.ReadByte()
		cancel()
	})
	ans, f, err := s.do(ctx, req)
	if err != nil {
		ans = &wire.HandAnswer{Error: text(err), Refused: errors.Is(err, syscall.ECONNREFUSED)}
		var ne net.Error
		ans.Timeout = errors.As(err, &ne) && ne.Timeout() || errors.Is(err, context.DeadlineExceeded)
	}
	if f != nil {
		defer f.Close()
	}
	return send(uc, *ans, f)
}

// text is the error without what the asker knows already.
func text(err error) string {
	var oe *net.OpError
	if errors.As(err, &oe) && oe.Err != nil {
		return oe.Err.Error()
	}
	return err.Error()
}

func send(uc *net.UnixConn, ans wire.HandAnswer, f *os.File) error {
	line, err := json.Marshal(ans)
	if err != nil {
		panic("BUG: hand-socket answer: " + err.Error())
	}
	line = append(line, '\n')
	if f == nil {
		_, err = uc.Write(line)
		return err
	}
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var werr error
	err = rc.Control(func(fd uintptr) {
		_, _, werr = uc.WriteMsgUnix(line, syscall.UnixRights(int(fd)), nil)
	})
	return errors.Join(err, werr)
}

func (s *Server) do(ctx context.Context, req wire.HandRequest) (*wire.HandAnswer, *os.File, error) {
	switch req.Op {
	case wire.HandResolve:
		addrs, err := s.resolve(ctx, req.Host)
		if err != nil {
			return nil, nil, err
		}
		return &wire.HandAnswer{Addresses: addrs}, nil, nil
	case wire.HandDial:
		return s.dial(ctx, req)
	default:
		return s.listen(req)
	}
}

func (s *Server) resolve(ctx context.Context, host string) ([]string, error) {
	if strings.EqualFold(strings.TrimSuffix(host, "."), wire.HandHostName) {
		return []string{wire.HandHostAddress().String()}, nil
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	out := make([]string, 0, len(addrs))
	for _, a := range addrs {
		if t := a.Unmap().String(); !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out, nil
}

func (s *Server) dial(ctx context.Context, req wire.HandRequest) (*wire.HandAnswer, *os.File, error) {
	targets, err := s.targets(req.Address)
	if err != nil {
		return nil, nil, err
	}
	var nc net.Conn
	for _, t := range targets {
		var d net.Dialer
		if nc, err = d.DialContext(ctx, req.Network, t.String()); err == nil {
			break
		}
	}
	if err != nil {
		return nil, nil, err
	}
	defer nc.Close()
	f, err := nc.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		return nil, nil, err
	}
	return &wire.HandAnswer{Address: nc.LocalAddr().String()}, f, nil
}

// targets are the addresses to try for the one asked for.
func (s *Server) targets(address string) ([]netip.AddrPort, error) {
	if address == wire.HandNameserver {
		return s.nameservers()
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	a := to.Addr().Unmap()
	if a == wire.HandHostAddress() {
		return []netip.AddrPort{
			netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), to.Port()),
			netip.AddrPortFrom(netip.IPv6Loopback(), to.Port()),
		}, nil
	}
	if a.IsLoopback() || a.IsUnspecified() {
		return nil, fmt.Errorf("a loopback address is the workload's own: the host's services are at %s", wire.HandHostName)
	}
	for _, p := range s.Refuse {
		if p.Contains(a) {
			return nil, fmt.Errorf("%s is inside the mesh (%s), not outside", a, p)
		}
	}
	return []netip.AddrPort{netip.AddrPortFrom(a, to.Port())}, nil
}

// nameservers reads the host's resolver file.
func (s *Server) nameservers() ([]netip.AddrPort, error) {
	file := s.ResolvConf
	if file == "" {
		file = "/etc/resolv.conf"
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the host's nameserver: %w", err)
	}
	var out []netip.AddrPort
	for line := range strings.Lines(string(raw)) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil {
			out = append(out, netip.AddrPortFrom(a, 53))
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s names no nameserver", file)
	}
	return out, nil
}
