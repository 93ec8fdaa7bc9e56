package host

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestDatagramRelay: each client has a socket of its own towards the workload, gets its
// own answers, and is forgotten when nothing passes.
func TestDatagramRelay(t *testing.T) {
	server, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(loopback4(0)))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	seen := make(chan netip.AddrPort, 10)
	go func() {
		b := make([]byte, 100)
		for {
			n, from, err := server.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			seen <- from
			_, _ = server.WriteToUDPAddrPort(append([]byte("re "), b[:n]...), from)
		}
	}()
	socket, note, err := loopbackDatagrams(loopback4(0))
	if err != nil || note != "" {
		t.Fatal(note, err)
	}
	r := &datagramRelay{socket: socket, idle: time.Minute, clients: map[netip.AddrPort]net.Conn{}, dial: func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.run(ctx) }()
	sources := map[netip.AddrPort]bool{}
	for _, name := range []string{"a", "b"} {
		c, err := net.Dial("udp", socket.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for range 2 {
			if _, err := c.Write([]byte(name)); err != nil {
				t.Fatal(err)
			}
			sources[<-seen] = true
			b := make([]byte, 100)
			if n, err := c.Read(b); err != nil || string(b[:n]) != "re "+name {
				t.Errorf("%s got %q, %v", name, b[:n], err)
			}
		}
	}
	if len(sources) != 2 {
		t.Errorf("two clients come from %v", sources)
	}
	r.mu.Lock()
	for _, c := range r.clients {
		_ = c.SetReadDeadline(time.Unix(1, 0)) // as if nothing had passed for long
	}
	r.mu.Unlock()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if len(r.clients) != 0 {
		t.Errorf("%d clients are known still", len(r.clients))
	}
}

// TestDatagramsElsewhere: a port that is taken is replaced by a higher one.
func TestDatagramsElsewhere(t *testing.T) {
	first, _, err := loopbackDatagrams(loopback4(0))
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	at := first.LocalAddr().(*net.UDPAddr).AddrPort()
	second, note, err := loopbackDatagrams(at)
	if int(at.Port())+8000 > 65535 {
		if err == nil {
			t.Error("there is no port so high")
		}
		return
	}
	if err != nil {
		t.Skipf("the higher one is taken as well: %v", err)
	}
	defer second.Close()
	if note == "" {
		t.Error("nothing says that it is another port")
	}
}
