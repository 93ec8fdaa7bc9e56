package handover

import (
	"bytes"
	be "encoding/binary"
	"io"
	"net"
	"testing"
	"time"
)

// callThrift sends a call of Thrift, which the server gives back as it is.
func callThrift(t *testing.T, c net.Conn, seq uint32) {
	t.Helper()
	m := append([]byte{0x80, 1, 0, 1, 0, 0, 0, 4}, "ping"...)
	m = append(be.BigEndian.AppendUint32(m, seq), 0)
	m = append(be.BigEndian.AppendUint32(nil, uint32(len(m))), m...) //nolint:gosec // short
	if _, err := c.Write(m); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(m))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, m) {
		t.Fatalf("got %q, want %q: %v", got, m, err)
	}
}

// TestIdleMessagesMove: connections of a protocol that is not HTTP go over to the new process between two requests, too.
func TestIdleMessagesMove(t *testing.T) {
	s := newSite(t, newBackends(t))
	first := s.start(s.bootstrap)
	s.generation(0)
	var idle []net.Conn
	for i := range uint32(20) {
		c, err := net.Dial("tcp", s.thrift)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		defer c.Close()
		if i%4 != 0 { // the others have not said anything yet
			callThrift(t, c, i)
		}
		idle = append(idle, c)
	}
	s.until("all are there", func() bool { return s.stats()["http.thrift.downstream_cx_active"] == 20 })
	s.start(s.bootstrap)
	s.generation(1)
	s.ended(first) // although no client has closed or said anything
	for i, c := range idle {
		callThrift(t, c, 100+uint32(i)) //nolint:gosec // few
	}
	st := s.stats()
	for name, want := range map[string]int64{
		"http.thrift.downstream_cx_total": 20, "http.thrift.downstream_cx_active": 20, "http.thrift.downstream_cx_destroy": 0, "http.thrift.downstream_rq_total": 35,
	} {
		if st[name] != want {
			t.Errorf("%s: %d, want %d", name, st[name], want)
		}
	}
}
