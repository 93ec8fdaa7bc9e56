package wire

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// pair is two ends of a unix stream.
func pair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	conn := func(fd int) *net.UnixConn {
		f := os.NewFile(uintptr(fd), "pair")
		defer f.Close()
		nc, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		return nc.(*net.UnixConn)
	}
	return conn(fds[0]), conn(fds[1])
}

// TestHandoverMessages: large ones, and sockets in their order among others.
func TestHandoverMessages(t *testing.T) {
	x, y := pair(t)
	a, b := NewHandoverConn(x), NewHandoverConn(y)
	large, _ := json.Marshal(strings.Repeat("x", 1<<20))
	var names []string
	go func() {
		_ = a.Send(HandoverMessage{Op: HandoverWelcome, Status: &HandoverStatus{Generation: 3}})
		for _, n := range []string{"one", "two", "three"} {
			ln, err := net.Listen("unix", filepath.Join(t.TempDir(), n))
			if err != nil {
				t.Error(err)
				return
			}
			raw, _ := ln.(*net.UnixListener).SyscallConn()
			_ = raw.Control(func(fd uintptr) { _ = a.Send(HandoverMessage{Op: HandoverSocket, Name: n}, int(fd)) })
			ln.Close()
			_ = a.Send(HandoverMessage{Op: HandoverState, Name: "large", Body: large})
		}
		x.Close()
	}()
	for {
		m, f, err := b.Receive()
		if err != nil {
			break
		}
		if m.Op == HandoverState && len(m.Body) != len(large) {
			t.Errorf("%d bytes of state", len(m.Body))
		}
		if f == nil {
			continue
		}
		ln, err := net.FileListener(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, filepath.Base(ln.Addr().String())+"="+m.Name)
		ln.Close()
	}
	if got, want := strings.Join(names, " "), "one=one two=two three=three"; got != want {
		t.Errorf("sockets %s, want %s", got, want)
	}
}

// FuzzHandoverReceive: no input makes the receiver panic or allocate without bound.
func FuzzHandoverReceive(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x0f{\"op\":\"status\"}"))
	f.Add([]byte("\x00\x00\x00\x0f{\"op\":\"socket\"}"))
	f.Add([]byte("\x00\x00\x00\x13{\"op\":\"connection\"}"))
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Add([]byte("\x00\x00\x00\x02{}\x00\x00\x00\x01{"))
	f.Fuzz(func(t *testing.T, in []byte) {
		x, y := pair(t)
		go func() {
			_, _ = x.Write(in)
			x.Close()
		}()
		c := NewHandoverConn(y)
		for {
			m, file, err := c.Receive()
			if err != nil {
				break
			}
			if file != nil || m.Op == HandoverSocket || m.Op == HandoverConnection {
				t.Fatalf("a socket out of nothing: %+v", m)
			}
		}
		x.Close()
		y.Close()
	})
}
