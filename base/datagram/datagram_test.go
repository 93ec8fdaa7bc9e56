package datagram

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"
)

func listen(t testing.TB, network, addr string) *Socket {
	t.Helper()
	a, err := net.ResolveUDPAddr(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenUDP(network, a)
	if err != nil {
		t.Skipf("%s: %v", addr, err)
	}
	t.Cleanup(func() { c.Close() })
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func dial(t testing.TB, addr netip.AddrPort) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetReadDeadline(time.Now().Add(60 * time.Second))
	return c
}

// collect reads until there were n datagrams.
func collect(t *testing.T, s *Socket, pool *Pool, n int, each func(b *Batch, i int)) {
	t.Helper()
	_ = s.Conn().SetReadDeadline(time.Now().Add(60 * time.Second))
	r := NewReader(s, pool)
	for got := 0; got < n; {
		b, err := r.Read()
		if err != nil {
			t.Fatalf("after %d datagrams: %v", got, err)
		}
		for i := range b.Len() {
			each(b, i)
			got++
		}
		pool.Put(b)
	}
}

func TestBothWays(t *testing.T) {
	loop4, loop6 := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")
	for _, c := range []struct {
		name, network, addr string
		to                  netip.Addr
	}{
		{"one address", "udp4", "127.0.0.1:0", loop4},
		{"all addresses", "udp4", "0.0.0.0:0", netip.MustParseAddr("127.0.0.5")},
		{"IPv6", "udp6", "[::1]:0", loop6},
		{"all of IPv6", "udp6", "[::]:0", loop6},
		{"both families", "udp", "[::]:0", netip.MustParseAddr("127.0.0.6")},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := listen(t, c.network, c.addr)
			peer := dial(t, netip.AddrPortFrom(c.to, s.Local().Port()))
			for i := range 5 {
				if _, err := fmt.Fprintf(peer, "datagram %d", i); err != nil {
					t.Fatal(err)
				}
			}
			w := NewWriter(8)
			k := 0
			collect(t, s, NewPool(100, 8), 5, func(b *Batch, i int) {
				if got, want := string(b.Payload(i)), fmt.Sprintf("datagram %d", k); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
				if got := b.Peer(i); got != peer.LocalAddr().(*net.UDPAddr).AddrPort() {
					t.Errorf("from %v, want %v", got, peer.LocalAddr())
				}
				if got := b.Local(i); runtime.GOOS == "linux" && got != netip.AddrPortFrom(c.to, s.Local().Port()) {
					t.Errorf("to %v, want %v", got, c.to)
				}
				// A connected socket takes an answer only from where it has sent to.
				w.Add(s.Dest(b.Peer(i), b.Local(i).Addr()), bytes.ToUpper(b.Payload(i)))
				k++
				if sent := w.Send(s); sent.Datagrams != 1 || sent.Bytes != 10 {
					t.Errorf("sent %+v", sent)
				}
			})
			for i := range 5 {
				b := make([]byte, 100)
				n, err := peer.Read(b)
				if err != nil || string(b[:n]) != fmt.Sprintf("DATAGRAM %d", i) {
					t.Fatalf("answer %q, %v", b[:n], err)
				}
			}
		})
	}
}

func TestTruncated(t *testing.T) {
	s := listen(t, "udp4", "127.0.0.1:0")
	peer := dial(t, s.Local())
	for _, n := range []int{10, 11, 9} {
		if _, err := peer.Write(bytes.Repeat([]byte("x"), n)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	collect(t, s, NewPool(10, 4), 3, func(b *Batch, i int) {
		got = append(got, fmt.Sprint(len(b.Payload(i)), b.Truncated(i)))
	})
	if want := "[10 false 10 true 9 false]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A datagram that fails takes none of the others along.
func TestSendFailures(t *testing.T) {
	s := listen(t, "udp4", "127.0.0.1:0")
	to := s.Dest(s.Local(), netip.Addr{})
	w := NewWriter(3)
	w.Add(to, []byte("a"))
	w.Add(to, make([]byte, 70_000)) // larger than a datagram can be
	w.Add(to, []byte("b"))
	if sent := w.Send(s); sent.Datagrams != 2 || sent.Failed != 1 || sent.Err == nil || sent.Bytes != 2 {
		t.Errorf("got %+v, want two sent and one failed", sent)
	}
}

func TestInterrupt(t *testing.T) {
	s := listen(t, "udp4", "127.0.0.1:0")
	s.Interrupt()
	if _, err := NewReader(s, NewPool(10, 1)).Read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	s.Close()
	if _, err := NewReader(s, NewPool(10, 1)).Read(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// An ICMP error of what was sent is an error of one Read.
func TestRefused(t *testing.T) {
	gone := listen(t, "udp4", "127.0.0.1:0")
	gone.Close()
	s, err := New(dial(t, gone.Local()))
	if err != nil {
		t.Fatal(err)
	}
	w := NewWriter(1)
	w.Add(nil, []byte("x"))
	w.Send(s)
	if _, err := NewReader(s, NewPool(10, 1)).Read(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want that the connection is refused", err)
	}
}
