package transport

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/weftmesh/weft/base/stream"
)

// joined couples two connections and returns their far ends.
func joined(t *testing.T, kind string, o JoinOptions) (a, b net.Conn, j *Joint, done chan JoinEnd) {
	t.Helper()
	done = make(chan JoinEnd, 2)
	o.Done = func(e JoinEnd) { done <- e }
	hostA, a := ends["tcp"](t)
	hostB, b := ends[kind](t)
	narrowed(hostA, a, hostB, b)
	j = Join(serve(hostA, Options{}), serve(hostB, Options{}), o)
	return a, b, j, done
}

func waitEnd(t *testing.T, done chan JoinEnd) JoinEnd {
	t.Helper()
	select {
	case e := <-done:
		return e
	case <-time.After(patience):
		t.Fatal("the Joint did not end")
		return 0
	}
}

func TestJoinBothWays(t *testing.T) {
	for _, kind := range []string{"tcp", "tls"} {
		t.Run(kind, func(t *testing.T) {
			a, b, j, done := joined(t, kind, JoinOptions{First: []byte("first")})
			toB, toA := noise(4<<20), noise(1<<20)
			sendAll(a, toB)
			sendAll(b, toA)
			var wg sync.WaitGroup
			var atB []byte
			wg.Go(func() { atB = readAll(t, b) })
			atA := readAll(t, a)
			wg.Wait()
			if !bytes.Equal(append([]byte("first"), toB...), atB) {
				t.Errorf("b got %d bytes, want %d", len(atB), 5+len(toB))
			}
			if !bytes.Equal(toA, atA) {
				t.Errorf("a got %d bytes, want %d", len(atA), len(toA))
			}
			if e := waitEnd(t, done); e != JoinFinished {
				t.Errorf("end %v, want %v", e, JoinFinished)
			}
			fromA, fromB := j.Bytes()
			if fromA != uint64(5+len(toB)) || fromB != uint64(len(toA)) {
				t.Errorf("counted %d and %d bytes", fromA, fromB)
			}
		})
	}
}

func TestJoinHalfClosed(t *testing.T) {
	for _, kind := range []string{"tcp", "tls"} {
		t.Run(kind, func(t *testing.T) {
			a, b, _, done := joined(t, kind, JoinOptions{})
			sendAll(a, []byte("question"))
			if got := readAll(t, b); string(got) != "question" {
				t.Fatalf("b got %q", got)
			}
			sendAll(b, []byte("answer"))
			if got := readAll(t, a); string(got) != "answer" {
				t.Fatalf("a got %q", got)
			}
			waitEnd(t, done)
		})
	}
}

func TestJoinSlowSink(t *testing.T) {
	for _, kind := range []string{"tcp", "tls"} {
		t.Run(kind, func(t *testing.T) {
			a, b, j, done := joined(t, kind, JoinOptions{})
			want := noise(8 << 20)
			sendAll(a, want)
			// Nobody reads: what is taken from a is bounded by the sockets and
			// the Conn's water mark.
			var last uint64
			for range 100 {
				now, _ := j.Bytes()
				if now == last && now > 0 {
					break
				}
				last = now
				<-time.After(20 * time.Millisecond)
			}
			if last >= uint64(len(want)) {
				t.Errorf("all %d bytes were taken though nobody reads", last)
			}
			sendAll(b, nil)
			if got := readAll(t, b); !bytes.Equal(want, got) {
				t.Errorf("b got %d bytes, want %d", len(got), len(want))
			}
			waitEnd(t, done)
		})
	}
}

// TestJoinIdle: traffic keeps a connection, and idleness ends it.
func TestJoinIdle(t *testing.T) {
	const idle, pause = 400 * time.Millisecond, 100 * time.Millisecond
	for _, kind := range []string{"tcp", "tls"} {
		t.Run(kind, func(t *testing.T) {
			for range 20 { // a try in which the machine held the test up says nothing
				start := time.Now()
				a, b, _, done := joined(t, kind, JoinOptions{Idle: idle})
				longest, last := time.Duration(0), start
				for range 6 { // longer than it may be idle
					_, _ = a.Write([]byte("x"))
					_, _ = io.ReadFull(b, make([]byte, 1))
					longest, last = max(longest, time.Since(last)), time.Now()
					<-time.After(pause)
				}
				if e := waitEnd(t, done); e != JoinIdle {
					t.Errorf("end %v, want %v", e, JoinIdle)
				}
				if longest > 2*pause {
					continue
				}
				if d := time.Since(start); d < 5*pause+idle {
					t.Errorf("ended after %v though there was traffic for %v", d, 5*pause)
				}
				_ = b.SetReadDeadline(time.Now().Add(patience))
				if _, err := b.Read(make([]byte, 1)); err == nil {
					t.Error("b is still open")
				}
				return
			}
			t.Error("each try was held up")
		})
	}
}

func TestJoinEndsWithReset(t *testing.T) {
	for _, kind := range []string{"tcp", "tls"} {
		t.Run(kind, func(t *testing.T) {
			a, b, _, done := joined(t, kind, JoinOptions{})
			_ = a.(*net.TCPConn).SetLinger(0)
			a.Close()
			if e := waitEnd(t, done); e != JoinFailedA {
				t.Errorf("end %v, want %v", e, JoinFailedA)
			}
			_ = b.SetReadDeadline(time.Now().Add(patience))
			if _, err := b.Read(make([]byte, 1)); err == nil {
				t.Error("b is still open")
			}
		})
	}
}

func TestJoinStop(t *testing.T) {
	for _, kind := range []string{"tcp", "tls"} {
		t.Run(kind, func(t *testing.T) {
			a, b, j, done := joined(t, kind, JoinOptions{})
			_, _ = a.Write([]byte("x"))
			_, _ = io.ReadFull(b, make([]byte, 1))
			j.Stop()
			j.Stop()
			if e := waitEnd(t, done); e != JoinStopped {
				t.Errorf("end %v, want %v", e, JoinStopped)
			}
		})
	}
}

// TestJoinMixedSizes goes back and forth between copying and splicing.
func TestJoinMixedSizes(t *testing.T) {
	a, b, _, done := joined(t, "tcp", JoinOptions{})
	go func() { _, _ = io.Copy(b, b); _ = b.(*net.TCPConn).CloseWrite() }()
	for i := range 60 {
		want := noise(1 + i%3*200<<10)
		go func() { _, _ = a.Write(want) }()
		got := make([]byte, len(want))
		_ = a.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.ReadFull(a, got); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want, got) {
			t.Fatalf("round %d differs", i)
		}
	}
	_ = a.(*net.TCPConn).CloseWrite()
	waitEnd(t, done)
}

var _ stream.Handler = (*relaySide)(nil)

// TestJoinWithAHighWaterMark: a cluster's per_connection_buffer_limit_bytes may be more than
// what a Joint lets wait. It goes on all the same when the peer has taken that.
func TestJoinWithAHighWaterMark(t *testing.T) {
	hostA, a := ends["tcp"](t)
	hostB, b := ends["tls"](t)
	narrowed(hostA, a, hostB, b)
	done := make(chan JoinEnd, 2)
	Join(serve(hostA, Options{}), serve(hostB, Options{High: 1 << 20}), JoinOptions{Done: func(e JoinEnd) { done <- e }})
	want := noise(8 << 20)
	sendAll(a, want)
	sendAll(b, nil)
	if got := readAll(t, b); !bytes.Equal(want, got) {
		t.Errorf("b got %d bytes, want %d", len(got), len(want))
	}
	waitEnd(t, done)
}
