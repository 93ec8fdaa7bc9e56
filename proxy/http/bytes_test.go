package http

import (
	"io"
	"net"
	nethttp "net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/route"
	"github.com/weftmesh/weft/test/numbered"
)

// What goes through the proxy comes out byte for byte, whatever waits for what on the way.

// bothHosts runs f with connections on event loops and on goroutines.
func bothHosts(t *testing.T, f func(t *testing.T)) {
	for name, on := range map[string]bool{"loop": false, "goroutine": true} {
		t.Run(name, func(t *testing.T) {
			onGoroutines = on
			defer func() { onGoroutines = false }()
			f(t)
		})
	}
}

// streamSize is more than a window of HTTP/2 (1 MiB) and what is buffered beside it.
const streamSize = 3 << 19

// slowly waits a little before each read, for every other stream.
type slowly struct {
	io.Reader
	slow bool
}

func (s slowly) Read(p []byte) (int, error) {
	if s.slow {
		time.Sleep(200 * time.Microsecond)
	}
	return s.Reader.Read(p[:min(len(p), 16<<10)])
}

// duplex sends the request's body back while it comes.
func duplex(t *testing.T) nethttp.HandlerFunc {
	return func(w nethttp.ResponseWriter, r *nethttp.Request) {
		n, _ := strconv.Atoi(r.Header.Get("x-stream"))
		_ = nethttp.NewResponseController(w).EnableFullDuplex()
		got := numbered.Checker{Stream: uint16(n)}
		if _, err := io.Copy(w, io.TeeReader(slowly{r.Body, n%4 < 2}, &got)); err != nil {
			t.Errorf("stream %d, upstream, after %d bytes: %v", n, got.Len(), err)
		}
	}
}

// TestBodies: bodies of both directions at once, of many streams, with readers at either end
// that are slow now and then, between all pairs of versions.
func TestBodies(t *testing.T) {
	bothHosts(t, func(t *testing.T) {
		up := backend(t, duplex(t), narrowed)
		for name, p := range map[string]cluster.Protocol{"h1": cluster.HTTP1, "h2": cluster.HTTP2} {
			for cname, mk := range map[string]func(testing.TB) *nethttp.Client{"h1": narrow, "h2": narrow2} {
				t.Run(cname+" to "+name, func(t *testing.T) {
					s := upstreamSpec("up", up)
					s.Protocol = p
					k := start(t, routes(to("up")), nil, s)
					c := mk(t)
					c.Timeout = 10 * time.Minute
					var wg sync.WaitGroup
					for i := range uint16(4) {
						wg.Go(func() { k.duplex(t, c, i) })
					}
					wg.Wait()
					balanced(t, k)
				})
			}
		}
	})
}

// duplex does one request whose body comes back.
func (k *kit) duplex(t *testing.T, c *nethttp.Client, stream uint16) {
	req := request(t, "POST", k.url("/"), &numbered.Reader{Stream: stream, Size: streamSize}, "x-stream", strconv.Itoa(int(stream)))
	res, err := c.Do(req)
	if err != nil {
		t.Errorf("stream %d: %v", stream, err)
		return
	}
	defer res.Body.Close()
	if err := numbered.Receive(res.Body, stream, streamSize, stream%2 == 1); err != nil {
		t.Error(err)
		return
	}
	if n, err := res.Body.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("stream %d: no end, but %d bytes, %v", stream, n, err)
	}
}

// echoing is a TCP server that sends back what it gets.
func echoing(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			narrowed(nc)
			wg.Go(func() {
				defer nc.Close()
				_, _ = io.Copy(nc, struct{ io.Reader }{nc})
			})
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return ln.Addr().String()
}

// TestTunnelledBytes: CONNECT through one proxy, and through two, the tunnels sharing an HTTP/2
// connection between them.
func TestTunnelledBytes(t *testing.T) {
	connect := func(cluster string, terminate bool) *route.Spec {
		return routes(route.Route{
			Match:   route.Match{PathKind: route.Connect},
			Forward: &route.Forward{Cluster: cluster, Upgrades: []route.Upgrade{{Type: "CONNECT", Enabled: true, Terminate: terminate}}},
		})
	}
	bothHosts(t, func(t *testing.T) {
		last := start(t, connect("tcp", true), nil, upstreamSpec("tcp", echoing(t)))
		for name, p := range map[string]cluster.Protocol{"h1": cluster.HTTP1, "h2": cluster.HTTP2} {
			next := upstreamSpec("next", last.addr)
			next.Protocol = p
			first := start(t, connect("next", false), nil, next)
			t.Run(name, func(t *testing.T) { first.tunnels(t, "CONNECT db:1 HTTP/1.1\r\nhost: db:1\r\n\r\n", 200) })
		}
		t.Run("one", func(t *testing.T) { last.tunnels(t, "CONNECT db:1 HTTP/1.1\r\nhost: db:1\r\n\r\n", 200) })
	})
}

// TestWebSocketBytes: the same for what follows an upgrade.
func TestWebSocketBytes(t *testing.T) {
	up := backend(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) {
		nc, rw, err := nethttp.NewResponseController(w).Hijack()
		if err != nil {
			return // asked over HTTP/2, to make a connection
		}
		defer nc.Close()
		_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n")
		_, _ = io.Copy(nc, struct{ io.Reader }{rw.Reader})
	}, narrowed)
	bothHosts(t, func(t *testing.T) {
		last := start(t, routes(to("up")), func(c *ManagerConfig) {
			c.HTTP2.AllowConnect = true
			allow("websocket")(c)
		}, upstreamSpec("up", up))
		next := upstreamSpec("next", last.addr)
		next.Protocol = cluster.HTTP2
		first := start(t, routes(to("next")), allow("websocket"), next)
		// The peer says in its SETTINGS that it knows extended CONNECT: a connection must be there.
		if res, err := client(t).Do(request(t, "GET", first.url("/"), nil)); err == nil {
			res.Body.Close()
		}
		t.Run("one", func(t *testing.T) { last.tunnels(t, handshake, 101) })
		t.Run("h2", func(t *testing.T) { first.tunnels(t, handshake, 101) })
	})
}

// tunnels opens some at once and sends a stream through each and back.
func (k *kit) tunnels(t *testing.T, ask string, status int) {
	var wg sync.WaitGroup
	for i := range uint16(4) {
		nc, r := dial(t, k.addr, ask)
		narrowed(nc)
		_ = nc.SetDeadline(time.Now().Add(10 * time.Minute))
		wg.Go(func() {
			res, err := nethttp.ReadResponse(r, &nethttp.Request{Method: "CONNECT"})
			if err != nil || res.StatusCode != status {
				t.Errorf("tunnel %d: %v %v", i, res, err)
				return
			}
			rw := struct {
				io.Reader
				io.Writer
			}{r, nc}
			if err := numbered.Echo(rw, i, streamSize, i%2 == 1); err != nil {
				t.Error(err)
			}
			nc.Close()
		})
	}
	wg.Wait()
}
