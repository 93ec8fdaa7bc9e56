package relay

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/weftmesh/weft/proxy/transport"
	"github.com/weftmesh/weft/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// supervisor answers hand-socket requests as the one outside does.
func supervisor(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hand")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			uc, err := l.AcceptUnix()
			if err != nil {
				return
			}
			if err := handOver(uc); err != nil && !errors.Is(err, syscall.EPIPE) { // who asked may have ended
				t.Errorf("supervisor: %v", err)
			}
			uc.Close()
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return path
}

func handOver(uc *net.UnixConn) error {
	line, _, err := wire.ReadHandLine(uc)
	if err != nil {
		return err
	}
	req, err := wire.ParseHandRequest(line)
	if err != nil {
		return err
	}
	var rights []byte
	ans := wire.HandAnswer{}
	var d net.Dialer
	nc, err := d.DialContext(context.Background(), req.Network, req.Address)
	if err != nil {
		ans.Error, ans.Refused = err.Error(), true
	} else {
		defer nc.Close()
		var f *os.File
		if f, err = nc.(*net.TCPConn).File(); err != nil {
			return err
		}
		defer f.Close()
		rights = syscall.UnixRights(int(f.Fd()))
	}
	raw, err := json.Marshal(ans)
	if err != nil {
		return err
	}
	_, _, err = uc.WriteMsgUnix(append(raw, '\n'), rights, nil)
	return err
}

// pair is a TCP connection, both ends.
func pair(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close(); f.Close() })
	return n.(*net.TCPConn), f.(*net.TCPConn)
}

func outward(t *testing.T) *Server {
	t.Helper()
	return &Server{Dialer: transport.Outside{Client: wire.HandClient{Path: supervisor(t)}}, Log: slog.New(slog.DiscardHandler)}
}

// carried runs the relay of one connection and returns what waits for its end.
func carried(ctx context.Context, s *Server, in net.Conn, to netip.AddrPort) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.carryTo(ctx, in, to)
	}()
	return func() { <-done }
}

// TestRelayCarriesBothWays: what was asked is answered after the asker has closed
// its half, as HTTP/1.0 clients and databases do.
func TestRelayCarriesBothWays(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		all, _ := io.ReadAll(c)
		_, _ = c.Write(append([]byte("echo "), all...))
	}()
	near, far := pair(t)
	wait := carried(t.Context(), outward(t), far, l.Addr().(*net.TCPAddr).AddrPort())
	if _, err := near.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := near.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(near); err != nil || string(got) != "echo hello" {
		t.Errorf("got %q, %v", got, err)
	}
	wait()
	<-served
}

// TestRelayResets: what cannot be reached, or was never redirected, must not look
// like an orderly end.
func TestRelayResets(t *testing.T) {
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := nobody.Addr().(*net.TCPAddr).AddrPort()
	nobody.Close()
	s := outward(t)
	for name, carry := range map[string]func(context.Context, net.Conn){
		"refused":        func(ctx context.Context, in net.Conn) { s.carryTo(ctx, in, at) },
		"not redirected": s.carry,
	} {
		t.Run(name, func(t *testing.T) {
			near, far := pair(t)
			carry(t.Context(), far)
			if _, err := near.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the engine sees %v, want a reset", err)
			}
		})
	}
}

// TestRelayEnds with the agent, although both sides would go on.
func TestRelayEnds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, far := pair(t)
	ctx, cancel := context.WithCancel(t.Context())
	wait := carried(ctx, outward(t), far, l.Addr().(*net.TCPAddr).AddrPort())
	out, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cancel()
	wait()
	if _, err := near.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still there")
	}
}
