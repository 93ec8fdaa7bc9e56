//go:build !race

package transport

import (
	"io"
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
			h := echo(t, Serve(host, Options{}))
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
	h := echo(b, Serve(host, Options{}))
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
