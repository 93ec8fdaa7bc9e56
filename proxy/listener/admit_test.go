package listener

import (
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/weftmesh/weft/base/overload"
	"github.com/weftmesh/weft/proxy/filter/runtime"
)

// admitted gives m a connection as another process would; the client's side is
// returned.
func admitted(t *testing.T, m *Manager, name string) net.Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	theirs, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	f, err := theirs.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Admit(f, Moved{Listener: name}); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestAdmittedTakesSeat: a connection from another process stays, also past the bounds,
// and counts for them until it ends.
func TestAdmittedTakesSeat(t *testing.T) {
	one := func() *runtime.Key {
		layer, err := runtime.NewLayer("l", map[string]any{"most": 1.0})
		if err != nil {
			t.Fatal(err)
		}
		return runtime.New(layer).Key("most")
	}()
	over := overload.New(overload.Config{MaxConnections: 1}, slog.New(slog.DiscardHandler)).State()
	for _, c := range []struct {
		name string
		o    Options
		own  *runtime.Key
		over func(*Stats) uint64
	}{
		{"listener", Options{}, one, func(s *Stats) uint64 { return s.Overflow.Load() }},
		{"all", Options{MaxConns: one}, nil, func(s *Stats) uint64 { return s.GlobalOverflow.Load() }},
		{"overload", Options{Overload: over}, nil, func(s *Stats) uint64 { return s.GlobalOverflow.Load() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := start(t, c.o)
			addr := freePort(t)
			l := tcpListener("a", addr, &FilterChain{Name: "a", Version: "1", Terminal: newGreeter("a")})
			l.MaxConns = c.own
			setAll(t, m, l)
			kept := [...]net.Conn{admitted(t, m, "a"), admitted(t, m, "a")}
			refused, err := net.Dial("tcp", addr.String())
			if err != nil {
				t.Fatal(err)
			}
			_ = refused.SetDeadline(time.Now().Add(patience))
			if n, err := io.Copy(io.Discard, refused); n != 0 || isTimeout(err) {
				t.Errorf("read %d bytes, %v: want it closed", n, err)
			}
			refused.Close()
			st := m.All()[0].Stats
			for end := time.Now().Add(patience); c.over(st) == 0 && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
			if n := c.over(st); n != 1 {
				t.Errorf("%d were too many, want 1", n)
			}
			for _, k := range kept {
				_ = k.SetDeadline(time.Now().Add(patience))
				if n, err := io.ReadFull(k, make([]byte, 2)); err != nil {
					t.Errorf("an admitted connection: read %d bytes, %v", n, err)
				}
				k.Close()
			}
			for end := time.Now().Add(patience); st.open.Load() > 0 && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
			again := dial(t, tcp(addr))
			if got := again.line(); got != "a" {
				t.Errorf("a connection after they have ended got %q", got)
			}
		})
	}
}
