package handsocket_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/weftmesh/weft/host/handsocket"
	"github.com/weftmesh/weft/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a server for the test and returns its client.
func serve(t *testing.T, s *handsocket.Server) wire.HandClient {
	t.Helper()
	s.Path = filepath.Join(t.TempDir(), "hand.sock")
	s.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	ln, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return wire.HandClient{Path: s.Path}
}

// echo answers "hello" to everyone who connects to the host's loopback.
func echo(t *testing.T, addr string) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "hello")
			c.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

func TestDial(t *testing.T) {
	c := serve(t, &handsocket.Server{})
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		to := echo(t, at)
		nc, err := c.Dial(t.Context(), "tcp", netip.AddrPortFrom(wire.HandHostAddress(), to.Port()))
		if err != nil {
			t.Fatalf("%s: %v", at, err)
		}
		raw, err := io.ReadAll(nc)
		if string(raw) != "hello" || err != nil {
			t.Errorf("%s: %q, %v", at, raw, err)
		}
		if _, ok := nc.(*net.TCPConn); !ok {
			t.Errorf("%s: a %T, want *net.TCPConn", at, nc)
		}
		nc.Close()
	}
}

func TestDialRefused(t *testing.T) {
	c := serve(t, &handsocket.Server{Refuse: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := ln.Addr().(*net.TCPAddr).AddrPort().Port()
	ln.Close()
	_, err = c.Dial(t.Context(), "tcp", netip.AddrPortFrom(wire.HandHostAddress(), closed))
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("closed port: %v, want ECONNREFUSED", err)
	}
	for addr, want := range map[string]string{
		"127.0.0.1:1":   "host.weft.internal",
		"[::1]:1":       "host.weft.internal",
		"10.244.1.1:80": "inside the mesh",
	} {
		_, err := c.Dial(t.Context(), "tcp", netip.MustParseAddrPort(addr))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", addr, err, want)
		}
	}
}

func TestDialTakenBack(t *testing.T) {
	c := serve(t, &handsocket.Server{})
	// Filled backlog: the kernel answers no SYN, so the dial hangs until taken back.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	rc, _ := ln.(*net.TCPListener).SyscallConn()
	rc.Control(func(fd uintptr) { syscall.Listen(int(fd), 0) })
	to := netip.AddrPortFrom(wire.HandHostAddress(), ln.Addr().(*net.TCPAddr).AddrPort().Port())
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begin := time.Now()
	for range 4 {
		nc, err := c.Dial(ctx, "tcp", to)
		if err != nil {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v, want the deadline", err)
			}
			break
		}
		defer nc.Close()
	}
	if ctx.Err() == nil {
		t.Error("no dial hung: the test tests nothing")
	}
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("took %s", d)
	}
}

func TestListen(t *testing.T) {
	var told atomic.Int32
	c := serve(t, &handsocket.Server{Listened: func(handsocket.Listening) { told.Add(1) }})
	taken := freePort(t)
	hold, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", taken))
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	for _, tc := range []struct{ asked, got, note string }{
		{fmt.Sprintf("127.0.0.1:%d", taken-1), fmt.Sprintf("127.0.0.1:%d", taken-1), ""},
		{fmt.Sprintf("0.0.0.0:%d", taken-2), fmt.Sprintf("127.0.0.1:%d", taken-2), ""},
		{fmt.Sprintf("[::]:%d", taken-1), fmt.Sprintf("[::1]:%d", taken-1), ""},
		{fmt.Sprintf("127.0.0.1:%d", taken), fmt.Sprintf("127.0.0.1:%d", taken+8000), "it is taken"},
	} {
		ln, note, err := c.Listen(t.Context(), netip.MustParseAddrPort(tc.asked))
		if err != nil {
			t.Errorf("%s: %v", tc.asked, err)
			continue
		}
		defer ln.Close()
		if diff := cmp.Diff(tc.got, ln.Addr().String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.asked, diff)
		}
		if !strings.Contains(note, tc.note) || (tc.note == "") != (note == "") {
			t.Errorf("%s: note %q, want %q", tc.asked, note, tc.note)
		}
		go func() {
			if c, err := ln.Accept(); err == nil {
				c.Close()
			}
		}()
		nc, err := net.Dial("tcp", tc.got)
		if err != nil {
			t.Errorf("%s: nobody accepts: %v", tc.got, err)
			continue
		}
		nc.Close()
	}
	if n := told.Load(); n != 4 {
		t.Errorf("told of %d listeners, want 4", n)
	}
	if _, _, err := c.Listen(t.Context(), netip.MustParseAddrPort("192.0.2.1:80")); err == nil || !strings.Contains(err.Error(), "loopback only") {
		t.Errorf("an address of the network: %v", err)
	}
}

// TestFamiliesMoveTogether: a port that is taken over one family is another over both, in
// whichever order they are asked for.
func TestFamiliesMoveTogether(t *testing.T) {
	for _, family := range []string{"127.0.0.1", "[::1]"} {
		t.Run(family, func(t *testing.T) {
			taken := freePort(t)
			hold, err := net.Listen("tcp", fmt.Sprintf("%s:%d", family, taken))
			if err != nil {
				t.Skipf("no %s here: %v", family, err)
			}
			defer hold.Close()
			c := serve(t, &handsocket.Server{})
			for _, asked := range []string{"0.0.0.0", "[::]"} {
				ln, note, err := c.Listen(t.Context(), netip.MustParseAddrPort(fmt.Sprintf("%s:%d", asked, taken)))
				if err != nil {
					t.Fatalf("%s: %v", asked, err)
				}
				defer ln.Close()
				if got := ln.Addr().(*net.TCPAddr).Port; got != taken+8000 || note == "" {
					t.Errorf("%s: port %d, note %q; want %d and a note", asked, got, note, taken+8000)
				}
			}
		})
	}
}

// freePort returns a port with room around it and 8000 higher.
func freePort(t *testing.T) int {
	t.Helper()
	for p := 21000; p < 29000; p += 10 {
		ok := true
		for _, q := range []int{p, p - 1, p - 2, p + 8000} {
			ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", q))
			if err != nil {
				ok = false
				break
			}
			ln.Close()
		}
		if ok {
			return p
		}
	}
	t.Fatal("no free ports")
	return 0
}

func TestResolve(t *testing.T) {
	c := serve(t, &handsocket.Server{})
	got, err := c.Resolve(t.Context(), "localhost")
	if err != nil || len(got) == 0 || !got[0].IsLoopback() {
		t.Errorf("localhost: %v, %v", got, err)
	}
	got, err = c.Resolve(t.Context(), wire.HandHostName)
	if diff := cmp.Diff([]string{"192.0.0.8"}, strs(got)); diff != "" || err != nil {
		t.Errorf("%s: %v (-want +got):\n%s", wire.HandHostName, err, diff)
	}
}

func strs(as []netip.Addr) (out []string) {
	for _, a := range as {
		out = append(out, a.String())
	}
	return out
}

func TestNameserver(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(conf, []byte("search x\nnameserver 127.0.0.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := serve(t, &handsocket.Server{ResolvConf: conf})
	nc, err := c.DialNameserver(t.Context(), "udp")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if got := nc.RemoteAddr().String(); got != "127.0.0.1:53" {
		t.Errorf("connected to %s", got)
	}
	if _, ok := nc.(*net.UDPConn); !ok {
		t.Errorf("a %T, want *net.UDPConn", nc)
	}
}

func TestBadRequests(t *testing.T) {
	c := serve(t, &handsocket.Server{})
	for line, want := range map[string]string{
		"garbage\n":                             "invalid character",
		`{"op":"steal"}` + "\n":                 `op \"steal\"`,
		`{"op":"dial","network":"sctp"}` + "\n": `network \"sctp\"`,
		`{"op":"dial","network":"tcp","address":"example.com:80"}` + "\n": "want ip:port",
		`{"op":"listen","network":"udp","address":"127.0.0.1:80"}` + "\n": "only tcp",
		`{"op":"resolve","host":"a b"}` + "\n":                            "want a name",
		`{"op":"dial","colour":"red"}` + "\n":                             "unknown field",
	} {
		nc, err := net.Dial("unix", c.Path)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(nc, line)
		raw, _ := io.ReadAll(nc)
		nc.Close()
		if !strings.Contains(string(raw), want) {
			t.Errorf("%s: %s, want %q", line, raw, want)
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"op":"dial","network":"tcp","address":"1.2.3.4:443"}`))
	f.Add([]byte(`{"op":"resolve","host":"example.com"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := wire.ParseHandRequest(b)
		if err == nil && r.Op != wire.HandDial && r.Op != wire.HandListen && r.Op != wire.HandResolve {
			t.Errorf("accepted %+v", r)
		}
	})
}
