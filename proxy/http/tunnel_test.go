package http

import (
	"bufio"
	"io"
	"net"
	nethttp "net/http"
	"strings"
	"testing"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/route"
)

// shouting upgrades and then answers in upper case.
func shouting(t *testing.T) string {
	return backend(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if r.Header.Get("upgrade") == "" || r.Header.Get("sec-websocket-key") == "" {
			nethttp.Error(w, "no upgrade", 400)
			return
		}
		nc, rw, err := nethttp.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer nc.Close()
		_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nhello\n")
		shout(nc, rw.Reader)
	})
}

func shout(w io.Writer, r *bufio.Reader) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		_, _ = io.WriteString(w, strings.ToUpper(line))
	}
}

// talk writes lines and expects answers.
func talk(t *testing.T, w io.Writer, r *bufio.Reader) {
	t.Helper()
	for _, line := range []string{"one\n", "two\n", strings.Repeat("x", 200_000) + "\n"} {
		go func() { _, _ = io.WriteString(w, line) }()
		got, err := r.ReadString('\n')
		if err != nil || got != strings.ToUpper(line) {
			t.Fatalf("got %.20q, %v, want %.20q", got, err, strings.ToUpper(line))
		}
	}
}

const handshake = "GET /ws HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: abc\r\n\r\n"

func dial(t *testing.T, addr, say string) (net.Conn, *bufio.Reader) {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	if _, err := io.WriteString(nc, say); err != nil {
		t.Fatal(err)
	}
	return nc, bufio.NewReader(nc)
}

func allow(types ...string) func(*ManagerConfig) {
	return func(c *ManagerConfig) {
		for _, u := range types {
			c.Upgrades = append(c.Upgrades, Upgrade{Type: u, Enabled: true})
		}
	}
}

// TestWebSocket: bytes go both ways, with those sent along with the handshake.
func TestWebSocket(t *testing.T) {
	k := start(t, routes(to("up")), allow("websocket"), upstreamSpec("up", shouting(t)))
	nc, r := dial(t, k.addr, handshake+"early\n")
	res, err := nethttp.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 101 || res.Header.Get("upgrade") != "websocket" {
		t.Fatalf("%v %v", res, err)
	}
	for _, want := range []string{"hello\n", "EARLY\n"} {
		if got, err := r.ReadString('\n'); got != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
	talk(t, nc, r)
	nc.Close()
	if e := k.log.next(t); e.Status != 101 {
		t.Errorf("log %+v", e)
	}
	balanced(t, k)
}

// TestUpgradeRefused: by the proxy where it is not enabled, by the upstream.
func TestUpgradeRefused(t *testing.T) {
	plain := backend(t, echo)
	k := start(t, routes(to("up")), nil, upstreamSpec("up", plain))
	_, r := dial(t, k.addr, handshake)
	if res, err := nethttp.ReadResponse(r, nil); err != nil || res.StatusCode != 403 {
		t.Errorf("not enabled: %v %v", res, err)
	}
	k = start(t, routes(to("up")), allow("websocket"), upstreamSpec("up", plain))
	_, r = dial(t, k.addr, handshake)
	res, err := nethttp.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 200 || !res.Close { // what the client has sent ahead is not HTTP
		t.Fatalf("upstream refuses: %v %v", res, err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	balanced(t, k)
}

// shouter is a plain TCP server.
func shouter(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			shout(nc, bufio.NewReader(nc))
			_, _ = io.WriteString(nc, "bye\n")
			nc.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String()
}

// TestConnectTerminated: CONNECT becomes a TCP connection to the cluster, half-closed apart.
func TestConnectTerminated(t *testing.T) {
	rt := route.Route{
		Match:   route.Match{PathKind: route.Connect},
		Forward: &route.Forward{Cluster: "tcp", Upgrades: []route.Upgrade{{Type: "CONNECT", Enabled: true, Terminate: true}}},
	}
	k := start(t, routes(rt), nil, upstreamSpec("tcp", shouter(t)))
	nc, r := dial(t, k.addr, "CONNECT db.example:5432 HTTP/1.1\r\nhost: db.example:5432\r\n\r\n")
	res, err := nethttp.ReadResponse(r, &nethttp.Request{Method: "CONNECT"})
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%v %v", res, err)
	}
	talk(t, nc, r)
	if err := nc.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(r)
	if string(rest) != "bye\n" || err != nil {
		t.Errorf("rest %q, %v", rest, err)
	}
	k.log.next(t)
	balanced(t, k)
}

// TestConnectForwarded: through two proxies, in HTTP/1 and HTTP/2 between them.
func TestConnectForwarded(t *testing.T) {
	for name, p := range map[string]cluster.Protocol{"h1": cluster.HTTP1, "h2": cluster.HTTP2} {
		t.Run(name, func(t *testing.T) {
			rt := route.Route{
				Match:   route.Match{PathKind: route.Connect},
				Forward: &route.Forward{Cluster: "tcp", Upgrades: []route.Upgrade{{Type: "CONNECT", Enabled: true, Terminate: true}}},
			}
			inner := start(t, routes(rt), nil, upstreamSpec("tcp", shouter(t)))
			next := upstreamSpec("next", inner.addr)
			next.Protocol = p
			fwd := route.Route{
				Match:   route.Match{PathKind: route.Connect},
				Forward: &route.Forward{Cluster: "next", Upgrades: []route.Upgrade{{Type: "CONNECT", Enabled: true}}},
			}
			outer := start(t, routes(fwd), nil, next)
			nc, r := dial(t, outer.addr, "CONNECT db.example:5432 HTTP/1.1\r\nhost: db.example:5432\r\n\r\n")
			res, err := nethttp.ReadResponse(r, &nethttp.Request{Method: "CONNECT"})
			if err != nil || res.StatusCode != 200 {
				t.Fatalf("%v %v", res, err)
			}
			talk(t, nc, r)
			nc.Close()
			outer.log.next(t)
			balanced(t, outer)
		})
	}
}

// waiter is a TCP server that says hello, ends its half, and tells what comes after that.
func waiter(t *testing.T) (addr string, came chan string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	came = make(chan string, 1)
	go func() {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		_, _ = io.WriteString(nc, "hello\n")
		_ = nc.(*net.TCPConn).CloseWrite()
		rest, _ := io.ReadAll(nc)
		came <- string(rest)
	}()
	return ln.Addr().String(), came
}

// TestConnectUpstreamEndsFirst: the client's direction of a tunnel outlives the other one,
// through two proxies that speak HTTP/1 or HTTP/2.
func TestConnectUpstreamEndsFirst(t *testing.T) {
	for name, p := range map[string]cluster.Protocol{"h1": cluster.HTTP1, "h2": cluster.HTTP2} {
		t.Run(name, func(t *testing.T) {
			tcp, came := waiter(t)
			rt := route.Route{
				Match:   route.Match{PathKind: route.Connect},
				Forward: &route.Forward{Cluster: "tcp", Upgrades: []route.Upgrade{{Type: "CONNECT", Enabled: true, Terminate: true}}},
			}
			inner := start(t, routes(rt), nil, upstreamSpec("tcp", tcp))
			next := upstreamSpec("next", inner.addr)
			next.Protocol = p
			fwd := route.Route{
				Match:   route.Match{PathKind: route.Connect},
				Forward: &route.Forward{Cluster: "next", Upgrades: []route.Upgrade{{Type: "CONNECT", Enabled: true}}},
			}
			outer := start(t, routes(fwd), nil, next)
			nc, r := dial(t, outer.addr, "CONNECT db.example:5432 HTTP/1.1\r\nhost: db.example:5432\r\n\r\n")
			res, err := nethttp.ReadResponse(r, &nethttp.Request{Method: "CONNECT"})
			if err != nil || res.StatusCode != 200 {
				t.Fatalf("%v %v", res, err)
			}
			if all, err := io.ReadAll(r); string(all) != "hello\n" || err != nil {
				t.Fatalf("got %q, %v", all, err)
			}
			if _, err := io.WriteString(nc, strings.Repeat("late\n", 50_000)); err != nil {
				t.Fatal(err)
			}
			if err := nc.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got := <-came; got != strings.Repeat("late\n", 50_000) {
				t.Errorf("after its end the upstream got %d bytes, want 250000", len(got))
			}
			outer.log.next(t)
			inner.log.next(t)
			balanced(t, outer)
			balanced(t, inner)
		})
	}
}

// TestWebSocketOverHTTP2: the extended CONNECT between two proxies.
func TestWebSocketOverHTTP2(t *testing.T) {
	inner := start(t, routes(to("up")), func(c *ManagerConfig) {
		c.HTTP2.AllowConnect = true
		allow("websocket")(c)
	}, upstreamSpec("up", shouting(t)))
	next := upstreamSpec("next", inner.addr)
	next.Protocol = cluster.HTTP2
	outer := start(t, routes(to("next")), allow("websocket"), next)
	// The peer says in its SETTINGS that it knows extended CONNECT: a connection must be there.
	get(t, client(t), request(t, "GET", outer.url("/"), nil))
	nc, r := dial(t, outer.addr, handshake)
	res, err := nethttp.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 101 {
		t.Fatalf("%v %v", res, err)
	}
	if got, _ := r.ReadString('\n'); got != "hello\n" {
		t.Fatalf("got %q", got)
	}
	talk(t, nc, r)
}
