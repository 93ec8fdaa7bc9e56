package hub_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftmesh/weft/host/capture"
	"github.com/weftmesh/weft/host/netns"
	"github.com/weftmesh/weft/wire"
)

// sink takes all that comes on a port, and answers at the end of it with how much it was:
// of this connection, or of all so far.
func sink(port string, all bool) error {
	ln, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	var total atomic.Int64
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				n, _ := io.Copy(io.Discard, c)
				if sum := total.Add(n); all {
					n = sum
				}
				fmt.Fprint(c, n)
			}()
		}
	}()
	return nil
}

// pour sends so many bytes and says what is answered.
func pour(to, bytes string) error {
	c, err := net.DialTimeout("tcp", to, 30*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	n, err := strconv.Atoi(bytes)
	if err != nil {
		return err
	}
	if _, err := c.Write(make([]byte, n)); err != nil {
		return err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	raw, err := io.ReadAll(c)
	fmt.Println(string(raw))
	return err
}

// TestCaptureRange: where only the services' addresses are captured, no byte to another
// address comes to the sidecar, and what leaves the mesh's network comes to the relay.
func TestCaptureRange(t *testing.T) {
	m := newMesh(t)
	l := netns.DefaultLayout()
	c := both
	c.OutboundNets, c.RelayAll = l.Services, true
	c.Mesh = append([]netip.Prefix{l.V4, l.V6}, l.Services...)
	a, b := m.network(1, c), m.network(2, capture.Config{})
	m.listen(b, false, "sink", "7000")
	m.listen(a, true, "sinks", strconv.Itoa(wire.PortOutbound))
	m.listen(a, true, "sink", strconv.Itoa(wire.PortRelay))
	counted := func(to string, bytes int) string { return m.run(a, false, "pour", to, strconv.Itoa(bytes)) }
	for _, to := range []string{"10.244.1.2:7000", "[fd00:10:244::1:2]:7000", "93.184.216.34:443", "[2606:2800::1]:443"} {
		if got := counted(to, 1<<20); got != "1048576" {
			t.Errorf("to %s: %q", to, got)
		}
	}
	// The sidecar counts from the first byte that it gets.
	sum := 0
	for i, to := range []string{"10.96.3.4:80", "240.240.1.1:443", "[fd00:10:96::9]:80", "[2001:2::9]:80"} {
		sum += i + 1
		if got := counted(to, i+1); got != strconv.Itoa(sum) {
			t.Errorf("to %s: the sidecar has had %q bytes, want %d", to, got, sum)
		}
	}
}
