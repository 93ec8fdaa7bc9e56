//go:build !race

package udp

import (
	"testing"
	"time"

	"github.com/weftmesh/weft/base/datagram"
)

func TestNothingIsAllocatedPerDatagram(t *testing.T) {
	k := newKit(t, 1, Config{})
	c := k.client()
	k.ask(c)
	k.stop()
	_ = k.sock.Conn().SetReadDeadline(time.Time{})
	pool := datagram.NewPool(DefaultSize, BatchSize)
	r := datagram.NewReader(k.sock, pool)
	host := listen(t)
	defer host.Close()
	go func() { // which allocates nothing
		b := make([]byte, 2000)
		for {
			n, from, err := host.Conn().ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = host.Conn().WriteToUDPAddrPort(b[:n], from)
		}
	}()
	k.endpoints(host.Local())
	answer := make([]byte, 2000)
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	least := 1000.0
	for range 10 { // the garbage collector may empty a pool
		least = min(least, testing.AllocsPerRun(200, func() {
			_, _ = c.Write(answer[:10])
			b, err := r.Read()
			if err != nil {
				t.Fatal(err)
			}
			k.proxy.Take(k.sock, b)
			pool.Put(b)
			if _, err := c.Read(answer); err != nil {
				t.Fatal(err)
			}
		}))
	}
	if least > 0 {
		t.Errorf("%v allocations for a datagram and its answer", least)
	}
}
