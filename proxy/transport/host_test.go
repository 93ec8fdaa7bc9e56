package transport

import (
	"bytes"
	"context"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/weftmesh/weft/base/serial"
	"github.com/weftmesh/weft/base/stream"
)

// ends makes the pairs that a Conn may be made of: the host's end, and the peer.
var ends = map[string]func(t *testing.T) (host, peer net.Conn){
	"tcp": func(t *testing.T) (net.Conn, net.Conn) {
		a, b := tcpPair(t)
		return a, b
	},
	"tls": func(t *testing.T) (net.Conn, net.Conn) { return tlsPair(t) },
	"pipe": func(t *testing.T) (net.Conn, net.Conn) {
		a, b := net.Pipe()
		t.Cleanup(func() { a.Close(); b.Close() })
		return a, b
	},
}

func tlsPair(t testing.TB) (server, client net.Conn) {
	t.Helper()
	ca := newAuthority(t, "root")
	store := NewSecretStore()
	store.SetCertificate("default", ca.issue("spiffe://cluster.local/ns/default/sa/a", time.Hour))
	store.SetTrust("ROOTCA", ca.trust())
	tc := TLSContext{CertSecrets: []string{"default"}, Validation: Validation{TrustSecret: "ROOTCA"}, RequireClientCert: true}
	st, err := NewServerTLS(store, tc)
	if err != nil {
		t.Fatal(err)
	}
	ct, err := NewClientTLS(store, tc)
	if err != nil {
		t.Fatal(err)
	}
	server, client, serr, cerr := shake(t, st, ct, ClientHello{})
	if serr != nil || cerr != nil {
		t.Fatalf("handshake: server %v, client %v", serr, cerr)
	}
	return server, client
}

// shake does one handshake over loopback.
func shake(t testing.TB, st *ServerTLS, ct *ClientTLS, h ClientHello) (server, client net.Conn, serr, cerr error) {
	t.Helper()
	a, b := tcpPair(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		server, serr = st.Handshake(ctx, a)
	}()
	client, cerr = ct.Handshake(ctx, b, h)
	<-done
	return server, client, serr, cerr
}

func TestEchoBulk(t *testing.T) {
	for name, pair := range ends {
		t.Run(name, func(t *testing.T) {
			host, peer := pair(t)
			h := echo(t, serve(host, Options{}))
			want := noise(8 << 20)
			if name == "pipe" { // a pipe has no half-close
				want = want[:1<<20]
				go func() { _, _ = peer.Write(want) }()
				got := make([]byte, len(want))
				_ = peer.SetReadDeadline(time.Now().Add(patience))
				if _, err := io.ReadFull(peer, got); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(want, got) {
					t.Error("the echo differs")
				}
				peer.Close()
				h.waitClose()
				return
			}
			sendAll(peer, want)
			if got := readAll(t, peer); !bytes.Equal(want, got) {
				t.Errorf("the echo differs: %d bytes sent, %d came back", len(want), len(got))
			}
			peer.Close()
			if err := h.waitClose(); err != nil {
				t.Errorf("OnClose after own Close: %v", err)
			}
		})
	}
}

func TestSlowReaderGetsEverythingThatWasWrittenBeforeClose(t *testing.T) {
	for name, pair := range ends {
		t.Run(name, func(t *testing.T) {
			host, peer := pair(t)
			narrowed(host, peer)
			want := noise(2 << 20) // more than the sockets of both sides take, and little for the time that Close allows
			c := serve(host, Options{Linger: time.Second})
			h := newHandler(t)
			ex := new(serial.Executor)
			c.Bind(ex, h)
			within(ex, func() {
				c.Write(want)
				c.Flush()
				if c.Buffered() == 0 {
					t.Error("everything was taken at once: the test does not test")
				}
				c.Close()
			})
			if err := h.waitClose(); err != nil {
				t.Errorf("OnClose: %v", err)
			}
			got := make([]byte, len(want))
			_ = peer.SetReadDeadline(time.Now().Add(patience))
			if n, err := io.ReadFull(peer, got); err != nil {
				t.Fatalf("read %d of %d: %v", n, len(want), err)
			}
			if !bytes.Equal(want, got) {
				t.Error("the data differs")
			}
			peer.Close()
		})
	}
}

// TestCloseWaitsForASlowReader: the time that Close gives the peer is over, and the peer has taken
// some of the output meanwhile: it gets the rest too. One that takes nothing does not.
func TestCloseWaitsForASlowReader(t *testing.T) {
	for name, reads := range map[string]bool{"reads": true, "does not read": false} {
		t.Run(name, func(t *testing.T) {
			host, peer := tcpPair(t)
			narrowed(host, peer)
			gone := make(chan struct{})
			c := serve(host, Options{Closed: func() { close(gone) }})
			h := newHandler(t)
			ex := new(serial.Executor)
			c.Bind(ex, h)
			want := noise(2 << 20)
			within(ex, func() {
				c.Write(want)
				c.Flush()
				c.Close()
			})
			h.waitClose()
			got := make([]byte, 512<<10)
			if !reads {
				for open := true; open; { // what the sockets have not moved yet counts as taken
					timeIsOver(c)
					select {
					case <-gone:
						open = false
					default:
						runtime.Gosched()
					}
				}
				return
			}
			if _, err := io.ReadFull(peer, got); err != nil {
				t.Fatal(err)
			}
			timeIsOver(c)
			rest := readAll(t, peer)
			if !bytes.Equal(want, append(got, rest...)) {
				t.Errorf("%d bytes came, want %d", len(got)+len(rest), len(want))
			}
			wait(t, "the socket's end", gone)
		})
	}
}

// timeIsOver makes closeBound pass at once.
func timeIsOver(c stream.Conn) {
	if g, ok := c.(*conn); ok {
		_ = g.nc.SetWriteDeadline(time.Unix(1, 0))
	} else {
		boundPasses(c)
	}
}

// boundPasses is timeIsOver on an event loop.
var boundPasses func(stream.Conn)

func TestDrainComesWhenTheOutputFalls(t *testing.T) {
	for name, pair := range ends {
		t.Run(name, func(t *testing.T) {
			host, peer := pair(t)
			c := serve(host, Options{})
			h := newHandler(t)
			drained := make(chan struct{})
			h.drain = func() {
				if n := c.Buffered(); n >= stream.LowWater {
					t.Errorf("OnDrain with %d bytes buffered", n)
				}
				close(drained)
			}
			ex := new(serial.Executor)
			c.Bind(ex, h)
			data := noise(24 << 20)
			within(ex, func() {
				c.Write(data)
				c.Flush()
			})
			go func() { _, _ = io.CopyN(io.Discard, peer, int64(len(data))) }()
			wait(t, "OnDrain", drained)
			within(ex, c.Abort)
			h.waitClose()
		})
	}
}

func TestDrainComesWhenFlushTakesAll(t *testing.T) {
	for _, high := range []int{0, 32 << 10, 1 << 20} {
		drainAfter(t, Options{High: high})
	}
}

func drainAfter(t *testing.T, o Options) {
	t.Helper()
	host, peer := tcpPair(t)
	_ = host.SetWriteBuffer(4 << 20)
	go func() { _, _ = io.Copy(io.Discard, peer) }()
	c := serve(host, o)
	h := newHandler(t)
	drained := make(chan struct{})
	h.drain = func() { close(drained) }
	ex := new(serial.Executor)
	c.Bind(ex, h)
	within(ex, func() {
		c.Write(make([]byte, o.high()+1))
		if c.Buffered() <= o.high() {
			t.Error("Buffered does not count what is not flushed")
		}
		c.Flush()
	})
	wait(t, "OnDrain", drained)
	within(ex, c.Close)
	h.waitClose()
}

func TestStoppedReadingDelivers(t *testing.T) {
	for name, pair := range ends {
		t.Run(name, func(t *testing.T) {
			host, peer := pair(t)
			c := serve(host, Options{})
			h := newHandler(t)
			ex := new(serial.Executor)
			first, second := make(chan struct{}), make(chan struct{})
			stopped := false
			var got []byte
			h.data = func(b []byte) {
				if stopped {
					t.Error("OnData while reading is stopped")
				}
				got = append(got, b...)
				switch string(got) {
				case "one":
					stopped = true
					c.SetReading(false)
					close(first)
				case "onetwo":
					close(second)
				}
			}
			c.Bind(ex, h)
			_, _ = peer.Write([]byte("one"))
			wait(t, "the first message", first)
			go func() { _, _ = peer.Write([]byte("two")) }()
			within(ex, func() {}) // whoever is inside has left
			within(ex, func() { stopped = false; c.SetReading(true) })
			wait(t, "the second message", second)
			within(ex, c.Close)
			h.waitClose()
		})
	}
}

func TestHalfClose(t *testing.T) {
	for _, name := range []string{"tcp", "tls"} {
		t.Run(name, func(t *testing.T) {
			host, peer := ends[name](t)
			c := serve(host, Options{})
			h := newHandler(t)
			ex := new(serial.Executor)
			ended := make(chan struct{})
			h.end = func() { close(ended) }
			c.Bind(ex, h)
			within(ex, func() {
				c.Write([]byte("question"))
				c.CloseWrite()
				c.Write([]byte("too late"))
				c.Flush()
			})
			if got := readAll(t, peer); string(got) != "question" {
				t.Errorf("peer read %q", got)
			}
			_, _ = peer.Write([]byte("answer"))
			if err := peer.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			wait(t, "OnEnd", ended)
			within(ex, c.Close)
			if err := h.waitClose(); err != nil {
				t.Errorf("OnClose: %v", err)
			}
		})
	}
}

func TestPeerResetIsAnError(t *testing.T) {
	for _, reading := range []bool{true, false} {
		host, peer := tcpPair(t)
		c := serve(host, Options{})
		h := newHandler(t)
		ex := new(serial.Executor)
		c.Bind(ex, h)
		within(ex, func() { c.SetReading(reading) })
		_ = peer.SetLinger(0)
		peer.Close()
		if !reading { // the failure shows when something is written
			for range 3 {
				within(ex, func() { c.Write(make([]byte, 64)); c.Flush() })
			}
		}
		if err := h.waitClose(); err == nil {
			t.Errorf("reading=%v: OnClose without an error after a reset", reading)
		}
	}
}

func TestResetAfterHalfCloseIsSeen(t *testing.T) {
	host, peer := tcpPair(t)
	c := serve(host, Options{})
	h := newHandler(t)
	ended := make(chan struct{})
	h.end = func() { close(ended) }
	ex := new(serial.Executor)
	c.Bind(ex, h)
	_ = peer.CloseWrite()
	wait(t, "OnEnd", ended)
	_ = peer.SetLinger(0)
	peer.Close()
	if err := h.waitClose(); err == nil {
		t.Error("OnClose without an error after a reset")
	}
}

func TestAbortResetsThePeer(t *testing.T) {
	host, peer := tcpPair(t)
	c := serve(host, Options{Linger: time.Minute})
	h := newHandler(t)
	ex := new(serial.Executor)
	c.Bind(ex, h)
	within(ex, func() { c.Abort(); c.Abort(); c.Close() })
	if err := h.waitClose(); err != nil {
		t.Errorf("OnClose: %v", err)
	}
	_ = peer.SetReadDeadline(time.Now().Add(patience))
	if _, err := peer.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("peer read: %v, want a reset", err)
	}
}

// TestBindMoves passes a connection between two executors under traffic.
func TestBindMoves(t *testing.T) {
	host, peer := tcpPair(t)
	c := serve(host, Options{})
	exs := [2]*serial.Executor{new(serial.Executor), new(serial.Executor)}
	var hs [2]*handler
	all := make(chan struct{})
	const rounds = 2000
	total, at := 0, 0
	closed := make(chan error, 4)
	for i := range hs {
		hs[i] = newHandler(t)
		hs[i].closed = closed
		hs[i].data = func(b []byte) {
			if at != i {
				t.Errorf("handler %d called while bound to %d", i, at)
			}
			if total += len(b); total == rounds {
				close(all)
				return
			}
			at = 1 - i
			c.Bind(exs[at], hs[at])
		}
	}
	c.Bind(exs[0], hs[0])
	for range rounds {
		_, _ = peer.Write([]byte{1})
	}
	wait(t, "all bytes", all)
	within(exs[at], c.Close)
	if err := hs[0].waitClose(); err != nil {
		t.Errorf("OnClose: %v", err)
	}
}

func TestUnboundConnCloses(t *testing.T) {
	host, peer := tcpPair(t)
	c := serve(host, Options{Linger: time.Second})
	c.Write([]byte("bye"))
	c.Close()
	if got := readAll(t, peer); string(got) != "bye" {
		t.Errorf("peer read %q", got)
	}
	peer.Close()
}

func TestLateDataDoesNotDestroyTheAnswer(t *testing.T) {
	host, peer := tcpPair(t)
	c := serve(host, Options{Linger: patience})
	h := newHandler(t)
	h.data = func([]byte) {
		c.Write([]byte("413"))
		c.Close()
	}
	ex := new(serial.Executor)
	c.Bind(ex, h)
	// A megabyte after the answer was given: without lingering this is met by a
	// reset, and the answer is lost.
	_, _ = peer.Write([]byte("head"))
	_ = h.waitClose()
	if _, err := peer.Write(make([]byte, 1<<20)); err != nil {
		t.Fatalf("late data: %v", err)
	}
	if got := readAll(t, peer); string(got) != "413" {
		t.Errorf("answer %q", got)
	}
	peer.Close()
}
