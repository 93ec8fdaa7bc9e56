package listener

import (
	"errors"
	"net"
	"testing"
	"time"
)

// TestHungUp: a client that has gone is noticed, also behind bytes that nobody has
// read; one that has only half closed is, where that is the end.
func TestHungUp(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	pair := func() (client *net.TCPConn, server net.Conn) {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if server, err = ln.Accept(); err != nil {
			t.Fatal(err)
		}
		return c.(*net.TCPConn), server
	}
	eventually := func(what string, yes func() bool) {
		t.Helper()
		for end := time.Now().Add(60 * time.Second); !yes(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: not noticed", what)
			}
		}
	}
	for what, leave := range map[string]func(*net.TCPConn) error{
		"half close": (*net.TCPConn).CloseWrite,
		"reset":      func(c *net.TCPConn) error { return errors.Join(c.SetLinger(0), c.Close()) },
	} {
		client, server := pair()
		if _, err := client.Write([]byte("unread")); err != nil {
			t.Fatal(err)
		}
		if hungUp(server, true) {
			t.Errorf("%s: noticed before", what)
		}
		if err := leave(client); err != nil {
			t.Fatal(err)
		}
		eventually(what, func() bool { return hungUp(server, true) })
		if what == "half close" && hungUp(server, false) {
			t.Error("a client that waits for an answer is taken for gone")
		}
		if what == "reset" {
			eventually(what, func() bool { return hungUp(server, false) })
		}
		client.Close()
		server.Close()
	}
}
