//go:build !race

package transport

import (
	"io"
	"net"
	"runtime"
	"testing"

	"github.com/weftmesh/weft/base/serial"
)

// TestEchoAllocatesNothing bounds the steady state: a message in, a message out.
func TestEchoAllocatesNothing(t *testing.T) {
	// crypto/tls makes a 24-byte reader for each attempt to read a record: one on
	// the peer's side, two on ours (the second finds the socket empty).
	for kind, budget := range map[string]float64{"tcp": 0, "tls": 3} {
		t.Run(kind, func(t *testing.T) {
			host, peer := ends[kind](t)
			h := echo(t, serve(host, Options{}))
			msg := noise(1000)
			round := func() {
				if _, err := peer.Write(msg); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(peer, msg); err != nil {
					t.Fatal(err)
				}
			}
			for range 50 {
				round()
			}
			// AllocsPerRun counts all goroutines; a collection may empty the pools
			// once in a while, hence the fraction.
			if n := testing.AllocsPerRun(500, round); n >= budget+1 {
				t.Errorf("%v allocations per message", n)
			}
			peer.Close()
			h.waitClose()
		})
	}
}

func BenchmarkEcho(b *testing.B) {
	host, peer := tcpPair(b)
	h := echo(b, serve(host, Options{}))
	msg := noise(1000)
	for b.Loop() {
		_, _ = peer.Write(msg)
		_, _ = io.ReadFull(peer, msg)
	}
	peer.Close()
	h.waitClose()
}

// BenchmarkEchoPlain is the same on the standard library, to compare with.
func BenchmarkEchoPlain(b *testing.B) {
	host, peer := tcpPair(b)
	go func() {
		_, _ = io.CopyBuffer(struct{ io.Writer }{host}, struct{ io.Reader }{host}, make([]byte, 16<<10))
	}()
	msg := noise(1000)
	for b.Loop() {
		_, _ = peer.Write(msg)
		_, _ = io.ReadFull(peer, msg)
	}
}

func BenchmarkEnterLeave(b *testing.B) {
	ex := new(serial.Executor)
	for b.Loop() {
		ex.Enter()
		ex.Leave()
	}
}

// TestIdleConnectionsAreSmall bounds what a connection without traffic costs:
// the Conn, its executor and the reader's stack, but no buffer.
func TestIdleConnectionsAreSmall(t *testing.T) {
	const n = 300
	var before, after runtime.MemStats
	hosts := make([]*handler, 0, n)
	peers := make([]io.Closer, 0, n)
	socks := make([]*net.TCPConn, 0, n)
	for range n {
		host, peer := tcpPair(t)
		socks = append(socks, host)
		peers = append(peers, peer)
	}
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i, host := range socks {
		h := echo(t, serve(host, Options{}))
		hosts = append(hosts, h)
		_, _ = peers[i].(*net.TCPConn).Write([]byte("x")) // so that the reader has run
		_, _ = io.ReadFull(peers[i].(*net.TCPConn), make([]byte, 1))
	}
	runtime.GC()
	runtime.GC() // empties the pools
	runtime.ReadMemStats(&after)
	per := (int64(after.HeapInuse+after.StackInuse) - int64(before.HeapInuse+before.StackInuse)) / n
	t.Logf("%d bytes per idle connection", per)
	if per > 8<<10 {
		t.Errorf("%d bytes per idle connection, want 8 KiB at most", per)
	}
	for i, h := range hosts {
		peers[i].Close()
		h.waitClose()
	}
}

// BenchmarkJoin is bulk through two sockets coupled in the kernel.
func BenchmarkJoin(b *testing.B) {
	hostA, a := tcpPair(b)
	hostB, c := tcpPair(b)
	done := make(chan struct{})
	Join(serve(hostA, Options{}), serve(hostB, Options{}), JoinOptions{Done: func(JoinEnd) { close(done) }})
	const chunk = 1 << 20
	b.SetBytes(chunk)
	go func() {
		msg := make([]byte, chunk)
		for {
			if _, err := a.Write(msg); err != nil {
				return
			}
		}
	}()
	got := make([]byte, chunk)
	for b.Loop() {
		if _, err := io.ReadFull(c, got); err != nil {
			b.Fatal(err)
		}
	}
	a.Close()
	c.Close()
	<-done
}
