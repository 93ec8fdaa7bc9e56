package transport

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDirectBindsTheSource(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			defer nc.Close()
		}
	}()
	nc, err := Direct{}.Dial(t.Context(), Target{
		Addr:   ln.Addr().(*net.TCPAddr).AddrPort(),
		Source: netip.MustParseAddr("::6"), Source6: netip.MustParseAddr("127.0.0.6"), // the fitting one is used
		KeepAlive: KeepAlive{Enable: true, Probes: 3},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if got := addrPort(nc.LocalAddr()).Addr(); got != netip.MustParseAddr("127.0.0.6") {
		t.Errorf("source %s", got)
	}
	raw, err := nc.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	alive := 0
	_ = raw.Control(func(fd uintptr) {
		alive, _ = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_KEEPALIVE)
	})
	if alive == 0 {
		t.Error("keepalive is off")
	}
}

func TestDirectMarks(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	nc, err := Direct{Mark: 1337}.Dial(t.Context(), Target{Addr: ln.Addr().(*net.TCPAddr).AddrPort()})
	if errors.Is(err, os.ErrPermission) {
		if !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
			t.Errorf("the error does not say what to check: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	raw, err := nc.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	mark := 0
	_ = raw.Control(func(fd uintptr) { mark, _ = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, 36) })
	if mark != 1337 {
		t.Errorf("mark %d", mark)
	}
}

func TestDirectUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	nc, err := Direct{}.Dial(t.Context(), Target{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
}

type fixedDialer struct{ name string }

func (n fixedDialer) Dial(context.Context, Target) (net.Conn, error) { return nil, errors.New(n.name) }

func TestSplit(t *testing.T) {
	s := Split{
		Inside: fixedDialer{"inside"}, Outside: fixedDialer{"outside"},
		Mesh: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:10:244::/64")},
	}
	got := map[string]string{}
	want := map[string]string{
		"10.244.0.5:80": "inside", "[fd00:10:244::5]:80": "inside", "[::ffff:10.244.0.5]:80": "inside",
		"127.0.0.1:80": "inside", "[::1]:80": "inside", "169.254.1.1:80": "inside",
		"1.2.3.4:443": "outside", "[2001:db8::1]:443": "outside", "10.0.0.1:80": "outside",
	}
	for a := range want {
		_, err := s.Dial(t.Context(), Target{Addr: netip.MustParseAddrPort(a)})
		got[a] = err.Error()
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := s.Dial(t.Context(), Target{Path: "/x"}); err.Error() != "inside" {
		t.Errorf("unix socket: %v", err)
	}
}
