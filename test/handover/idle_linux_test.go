package handover

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/weftmesh/weft/wire"
)

// client is one HTTP/1 connection that is idle between its requests.
type client struct {
	net.Conn
	r *bufio.Reader
}

func (s *site) dial(secure bool) client {
	s.t.Helper()
	var c net.Conn
	var err error
	if secure {
		c, err = tls.Dial("tcp", s.sec, s.client)
	} else {
		c, err = net.Dial("tcp", s.http)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	s.t.Cleanup(func() { c.Close() })
	return client{c, bufio.NewReader(c)}
}

// ask sends a request and wants a whole answer; closing: it said that it is the last.
func (c client) ask(t *testing.T, text string) (closing bool) {
	t.Helper()
	c.send(t, text)
	return c.answer(t, text)
}

func (c client) send(t *testing.T, text string) {
	t.Helper()
	if _, err := fmt.Fprintf(c, "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s", len(text), text); err != nil {
		t.Fatal(err)
	}
}

func (c client) answer(t *testing.T, want string) (closing bool) {
	t.Helper()
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatalf("%s: %v", want, err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil || string(got) != want || res.StatusCode != 200 {
		t.Errorf("status %d, %q, want %q: %v", res.StatusCode, got, want, err)
	}
	return res.Close
}

// TestIdleConnectionsMove: plain HTTP/1 connections between two requests go over to
// the new process, those that have said nothing yet too;
// the process before ends without waiting for them, and the counts know nothing of it.
func TestIdleConnectionsMove(t *testing.T) {
	b := newBackends(t)
	s := newSite(t, b)
	first := s.start(s.bootstrap)
	s.generation(0)
	var idle []client
	for i := range 100 {
		c := s.dial(false)
		if i%4 != 0 { // the others have not said anything yet
			c.ask(t, fmt.Sprint("before ", i))
		}
		idle = append(idle, c)
	}
	s.until("all are there", func() bool { return s.stats()["http.web.downstream_cx_active"] == 100 })
	s.start(s.bootstrap)
	s.generation(1)
	s.ended(first) // although no client has closed or said anything
	for i, c := range idle {
		if c.ask(t, fmt.Sprint("after ", i)) {
			t.Errorf("connection %d is to close", i)
		}
	}
	second := s.procs[1]
	s.start(s.bootstrap)
	s.generation(2)
	s.ended(second)
	for i, c := range idle {
		if c.ask(t, fmt.Sprint("after that ", i)) {
			t.Errorf("connection %d is to close", i)
		}
	}
	st := s.stats()
	for name, want := range map[string]int64{
		"http.web.downstream_cx_total": 100, "http.web.downstream_cx_active": 100, "http.web.downstream_cx_http1_total": 100,
		"http.web.downstream_cx_http1_active": 100, "http.web.downstream_cx_destroy": 0, "http.web.downstream_rq_total": 275,
	} {
		if st[name] != want {
			t.Errorf("%s: %d, want %d", name, st[name], want)
		}
	}
	if n := b.resets.Load(); n > 0 {
		t.Errorf("%d resets at the backend", n)
	}
}

// TestIdleConnectionsThatStay: one with TLS, one with half a request, and all of them
// where the new process takes no connections, as one of an older version: they are
// answered by the process before, which says that this is the last answer.
func TestIdleConnectionsThatStay(t *testing.T) {
	s := newSite(t, newBackends(t))
	s.start(s.bootstrap)
	s.generation(0)
	secure, half := s.dial(true), s.dial(false)
	secure.ask(t, "hello")
	half.ask(t, "hello")
	if _, err := fmt.Fprint(half, "POST /ec"); err != nil {
		t.Fatal(err)
	}
	s.until("the half has come", func() bool { return s.stats()["http.web.downstream_cx_rx_bytes_total"] >= 60 })
	s.start(s.bootstrap)
	s.generation(1)
	if !secure.ask(t, "with TLS") {
		t.Error("with TLS: the answer does not say close")
	}
	if _, err := fmt.Fprint(half, "ho HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nhalf"); err != nil {
		t.Fatal(err)
	}
	if !half.answer(t, "half") {
		t.Error("half a request: the answer does not say close")
	}
	s.ended(s.procs[0])

	plain := s.dial(false)
	plain.ask(t, "hello")
	older, err := wire.DialHandover(t.Context(), s.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer older.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	defer older.CloseWith(ctx)() // what does not come fails the test, and does not hang it
	say := func(m wire.HandoverMessage) {
		t.Helper()
		if err := older.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	hear := func(op string) {
		t.Helper()
		for {
			m, f, err := older.Receive()
			if f != nil {
				f.Close()
			}
			if err != nil || m.Op == wire.HandoverConnection {
				t.Fatalf("%q %v", m.Op, err)
			}
			if m.Op == op {
				return
			}
		}
	}
	say(wire.HandoverMessage{Op: wire.HandoverTake, Protocol: wire.HandoverVersion, Status: &wire.HandoverStatus{Version: "older"}})
	hear(wire.HandoverEnd)
	say(wire.HandoverMessage{Op: wire.HandoverReady})
	hear(wire.HandoverDone)
	if !plain.ask(t, "to the older") {
		t.Error("the answer does not say close")
	}
	hear(wire.HandoverBye)
}
