package listener

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/weftmesh/weft/base/serial"
	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/filter"
)

// farewell is a terminal filter that sends much, and leaves at once.
type farewell struct {
	size int
	left chan struct{}
}

func (f farewell) Serve(c stream.Conn, _ *filter.ConnInfo, done func()) {
	c.Bind(new(serial.Executor), &leaving{f, c, done})
}

func (farewell) Drain() {}

type leaving struct {
	farewell
	c    stream.Conn
	done func()
}

func (l *leaving) OnData([]byte) {
	l.c.Write(make([]byte, l.size))
	l.c.Flush()
	l.c.Close()
}

func (l *leaving) OnEnd()   {}
func (l *leaving) OnDrain() {}
func (l *leaving) OnClose(error) {
	l.done()
	close(l.left)
}

// TestLastBytesCount: a connection whose filter has left takes up its seat, and keeps the
// process that handed over, until its last bytes have gone.
func TestLastBytesCount(t *testing.T) {
	m := start(t, Options{DrainTime: time.Nanosecond})
	addr := freePort(t)
	f := farewell{8 << 20, make(chan struct{})}
	setAll(t, m, tcpListener("a", addr, &FilterChain{Name: "a", Version: "1", Terminal: f}))
	nc, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	<-f.left
	if busy, seats := m.Busy(), m.accepted.Load(); busy != 1 || seats != 1 || m.Active() != 0 {
		t.Errorf("busy with %d, %d seats, %d active, while the client has not got its answer", busy, seats, m.Active())
	}
	n, err := io.Copy(io.Discard, nc)
	if n != int64(f.size) || err != nil {
		t.Errorf("%d bytes of %d, %v", n, f.size, err)
	}
	nc.Close()
	for end := time.Now().Add(patience); m.Busy()+m.accepted.Load() > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if busy, seats := m.Busy(), m.accepted.Load(); busy != 0 || seats != 0 {
		t.Errorf("busy with %d, %d seats, when all is over", busy, seats)
	}
}
