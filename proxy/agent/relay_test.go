package agent

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
	"syscall"
	"testing"

	"github.com/weftmesh/weft/wire"
)

// supervisor answers hand-socket requests as the one outside does.
func supervisor(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hand")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			uc, err := l.AcceptUnix()
			if err != nil {
				return
			}
			if err := handOver(uc); err != nil {
				t.Errorf("supervisor: %v", err)
			}
			uc.Close()
		}
	}()
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

func relayAgent(t *testing.T) *agent {
	t.Helper()
	return &agent{Options: Options{HandSocket: supervisor(t), Log: slog.New(slog.DiscardHandler)}}
}

// carried runs the relay of one connection and returns what waits for its end.
func carried(ctx context.Context, a *agent, in net.Conn, to netip.AddrPort) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.carryTo(ctx, in, to)
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
	wait := carried(t.Context(), relayAgent(t), far, l.Addr().(*net.TCPAddr).AddrPort())
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
	a := relayAgent(t)
	for name, carry := range map[string]func(context.Context, net.Conn){
		"refused":        func(ctx context.Context, in net.Conn) { a.carryTo(ctx, in, at) },
		"not redirected": a.carry,
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
	wait := carried(ctx, relayAgent(t), far, l.Addr().(*net.TCPAddr).AddrPort())
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
