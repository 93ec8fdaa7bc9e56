package http

import (
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/weftmesh/weft/proxy/route"
)

// TestKeepalive: a client that answers is asked again, one that does not loses its connection.
func TestKeepalive(t *testing.T) {
	k := start(t, routes(route.Route{Direct: &route.Direct{Status: 200}}), func(c *ManagerConfig) {
		c.Codec = CodecHTTP2
		c.HTTP2.PingInterval, c.HTTP2.PingTimeout = 20*time.Millisecond, time.Second
	})
	nc, err := net.Dial("tcp", k.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(60 * time.Second))
	if _, err := io.WriteString(nc, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	fr := http2.NewFramer(nc, nc)
	if err := fr.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	const answered = 1
	pings := 0
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			break
		}
		p, ok := f.(*http2.PingFrame)
		if !ok || p.IsAck() {
			continue
		}
		if pings++; pings <= answered {
			if err := fr.WritePing(true, p.Data); err != nil {
				t.Fatal(err)
			}
		}
	}
	if pings != answered+1 {
		t.Errorf("%d pings before the end, want %d: one more than were answered", pings, answered+1)
	}
}
