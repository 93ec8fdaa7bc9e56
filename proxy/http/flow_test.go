package http

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/route"
)

// zeros is an endless body that counts what was taken.
type zeros struct{ n *atomic.Int64 }

func (z zeros) Read(p []byte) (int, error) {
	z.n.Add(int64(len(p)))
	return len(p), nil
}

// settled waits until a counter stands still and returns it.
func settled(n *atomic.Int64) int64 {
	for {
		was := n.Load()
		time.Sleep(150 * time.Millisecond)
		if n.Load() == was && was > 0 {
			return was
		}
	}
}

// narrowed fixes the size of the kernel's receive buffer.
func narrowed(nc net.Conn) { _ = nc.(*net.TCPConn).SetReadBuffer(64 << 10) }

func dialNarrow(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, network, addr)
	if err == nil {
		narrowed(nc)
	}
	return nc, err
}

// narrow is client with a small receive buffer, narrow2 client2.
func narrow(t testing.TB) *nethttp.Client {
	c := client(t)
	c.Transport.(*nethttp.Transport).DialContext = dialNarrow
	return c
}

func narrow2(t testing.TB) *nethttp.Client {
	c := client2(t)
	c.Transport.(*http2.Transport).DialTLSContext = func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
		return dialNarrow(ctx, network, addr)
	}
	return c
}

// TestSlowReader: a client that does not read stops the upstream, an upstream
// that does not read stops the client; what is held is bounded.
func TestSlowReader(t *testing.T) {
	// Water marks, windows, and the kernel's send buffer of the proxy (4 MiB, 6 on some machines).
	// Who does not read has a receive buffer of a fixed size: by itself it may grow to 32 MiB.
	const most = 16 << 20
	for name, p := range map[string]cluster.Protocol{"h1": cluster.HTTP1, "h2": cluster.HTTP2} {
		for cname, mk := range map[string]func(testing.TB) *nethttp.Client{"h1": narrow, "h2": narrow2} {
			t.Run("response "+cname+"-"+name, func(t *testing.T) {
				var written atomic.Int64
				up := backend(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
					_, _ = io.Copy(w, io.LimitReader(zeros{&written}, 1<<30))
				})
				s := upstreamSpec("up", up)
				s.Protocol = p
				k := start(t, routes(to("up")), nil, s)
				res, err := mk(t).Do(request(t, "GET", k.url("/"), nil))
				if err != nil {
					t.Fatal(err)
				}
				wrote := settled(&written)
				if n := k.clusters.Get("up").Stats().UpstreamCxRxBytesTotal.Load(); n > most {
					t.Errorf("%d MiB of %d that the upstream wrote were taken for a client that reads nothing, %d passed on",
						n>>20, wrote>>20, k.stat("downstream_cx_tx_bytes_total")>>20)
				}
				n, err := io.CopyN(io.Discard, res.Body, 20<<20)
				if err != nil {
					t.Errorf("after %d MiB: %v", n>>20, err)
				}
				res.Body.Close()
				k.log.next(t)
				balanced(t, k)
			})
			t.Run("request "+cname+"-"+name, func(t *testing.T) {
				gate := make(chan struct{})
				up := backend(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
					<-gate
					_, _ = io.Copy(io.Discard, r.Body)
				}, narrowed)
				s := upstreamSpec("up", up)
				s.Protocol = p
				k := start(t, routes(to("up")), nil, s)
				var read atomic.Int64
				c := mk(t)
				done := make(chan error, 1)
				go func() {
					res, err := c.Do(request(t, "POST", k.url("/"), io.LimitReader(zeros{&read}, 20<<20)))
					if err == nil {
						res.Body.Close()
					}
					done <- err
				}()
				sent := settled(&read)
				if n := k.stat("downstream_cx_rx_bytes_total"); n > most {
					t.Errorf("%d MiB of %d that the client sent were taken for an upstream that reads nothing, %d passed on",
						n>>20, sent>>20, k.clusters.Get("up").Stats().UpstreamCxTxBytesTotal.Load()>>20)
				}
				close(gate)
				if err := <-done; err != nil {
					t.Error(err)
				}
				if e := k.log.next(t); e.Received != 20<<20 || e.Status != 200 {
					t.Errorf("log %+v", e)
				}
				balanced(t, k)
			})
		}
	}
}

// TestEarlyResponse: the upstream answers before it has the body.
func TestEarlyResponse(t *testing.T) {
	up := backend(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) { w.WriteHeader(413) })
	for name, p := range map[string]cluster.Protocol{"h1": cluster.HTTP1, "h2": cluster.HTTP2} {
		s := upstreamSpec("up", up)
		s.Protocol = p
		k := start(t, routes(to("up")), nil, s)
		for cname, c := range map[string]*nethttp.Client{"h1": client(t), "h2": client2(t)} {
			var n atomic.Int64
			res, err := c.Do(request(t, "POST", k.url("/"), io.LimitReader(zeros{&n}, 4<<20)))
			if err != nil {
				if cname == "h1" { // the connection may be closed while the client still writes
					continue
				}
				t.Errorf("%s-%s: %v", cname, name, err)
				continue
			}
			res.Body.Close()
			if res.StatusCode != 413 {
				t.Errorf("%s-%s: status %d", cname, name, res.StatusCode)
			}
		}
		balanced(t, k)
	}
}

// TestPipelining: requests sent at once are answered in order.
func TestPipelining(t *testing.T) {
	k := start(t, routes(to("up")), nil, upstreamSpec("up", backend(t, echo)))
	nc, r := dial(t, k.addr, strings.Repeat("GET /1 HTTP/1.1\r\nhost: x\r\n\r\nPOST /2 HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc", 50))
	for range 50 {
		for _, want := range []string{"GET /1 ", "POST /2 abc"} {
			res, err := nethttp.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(res.Body)
			if string(b) != want {
				t.Fatalf("got %q, want %q", b, want)
			}
		}
	}
	nc.Close()
}

// TestContinue: the proxy answers Expect itself, or lets the upstream do it.
func TestContinue(t *testing.T) {
	var asked atomic.Value
	up := backend(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		asked.Store(r.Header.Get("expect"))
		echo(w, r)
	})
	for _, pass := range []bool{false, true} {
		k := start(t, routes(to("up")), func(c *ManagerConfig) { c.Proxy100Continue = pass }, upstreamSpec("up", up))
		nc, r := dial(t, k.addr, "POST /x HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
		line, _ := r.ReadString('\n')
		if line != "HTTP/1.1 100 Continue\r\n" {
			t.Fatalf("got %q", line)
		}
		_, _ = r.ReadString('\n')
		_, _ = io.WriteString(nc, "ok")
		res, err := nethttp.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		if string(b) != "POST /x ok" {
			t.Errorf("body %q", b)
		}
		if want := map[bool]string{false: "", true: "100-continue"}[pass]; asked.Load() != want {
			t.Errorf("upstream saw expect %q, want %q", asked.Load(), want)
		}
		nc.Close()
	}
}

// TestDrain: HTTP/1 closes after the next response, HTTP/2 gets a GOAWAY; no
// request is lost.
func TestDrain(t *testing.T) {
	k := start(t, routes(to("up")), func(c *ManagerConfig) { c.DrainTimeout = 50 * time.Millisecond }, upstreamSpec("up", backend(t, echo)))
	nc, r := dial(t, k.addr, "GET /1 HTTP/1.1\r\nhost: x\r\n\r\n")
	res, err := nethttp.ReadResponse(r, nil)
	if err != nil || res.Close {
		t.Fatalf("%v %v", res, err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	c2 := client2(t)
	get(t, c2, request(t, "GET", k.url("/"), nil))
	idle, ir := dial(t, k.addr, "")
	until(t, "all connections are there", func() bool { return k.stat("downstream_cx_active") == 3 })
	k.m.Drain()
	_, _ = io.WriteString(nc, "GET /2 HTTP/1.1\r\nhost: x\r\n\r\n")
	res, err = nethttp.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 200 || !res.Close {
		t.Fatalf("%v %v", res, err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("after connection: close: %v", err)
	}
	// One that has said nothing yet may be about to.
	until(t, "the HTTP/2 connection is closed", func() bool { return k.stat("downstream_cx_active") == 1 })
	_, _ = io.WriteString(idle, "GET /3 HTTP/1.1\r\nhost: x\r\n\r\n")
	if res, err = nethttp.ReadResponse(ir, nil); err != nil || res.StatusCode != 200 || !res.Close {
		t.Fatalf("idle connection: %v %v", res, err)
	}
	idle.Close()
	until(t, "all connections are gone", func() bool { return k.stat("downstream_cx_active") == 0 })
	if code, _, _ := get(t, c2, request(t, "GET", k.url("/"), nil)); code != 200 {
		t.Errorf("a new connection: %d", code)
	}
}

// TestLeaving: a connection that comes to a chain which is being drained already is told
// so with its first answer, also when nobody calls Drain.
func TestLeaving(t *testing.T) {
	k := start(t, routes(to("up")), nil, upstreamSpec("up", backend(t, echo)))
	k.leaving.Store(true)
	_, r := dial(t, k.addr, "GET /1 HTTP/1.1\r\nhost: x\r\n\r\n")
	res, err := nethttp.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 200 || !res.Close {
		t.Fatalf("%v %v", res, err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("after connection: close: %v", err)
	}
}

// TestIdleTimeout: an idle connection is closed. It is idle too before its request has
// come, so the time is longer than a busy machine holds the client up.
func TestIdleTimeout(t *testing.T) {
	k := start(t, routes(to("up")), func(c *ManagerConfig) { c.IdleTimeout = time.Second }, upstreamSpec("up", backend(t, echo)))
	nc, r := dial(t, k.addr, "GET /1 HTTP/1.1\r\nhost: x\r\n\r\n")
	res, err := nethttp.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = nc.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("read: %v", err)
	}
	if n := k.stat("downstream_cx_idle_timeout"); n != 1 {
		t.Errorf("downstream_cx_idle_timeout = %d", n)
	}
}

// TestUpstreamIdle: pooled connections are closed after the cluster's idle timeout.
func TestUpstreamIdle(t *testing.T) {
	for _, p := range []cluster.Protocol{cluster.HTTP1, cluster.HTTP2} {
		s := upstreamSpec("up", backend(t, echo))
		s.Protocol = p
		d := 40 * time.Millisecond
		s.HTTP.IdleTimeout = &d
		k := start(t, routes(to("up")), nil, s)
		get(t, client(t), request(t, "GET", k.url("/"), nil))
		st := k.clusters.Get("up").Stats()
		until(t, "the pooled connection is closed", func() bool { return st.UpstreamCxActive.Load() == 0 })
	}
}

// TestClusterRemoved: a request under way ends in peace when its cluster goes, and the
// connection is closed after it.
func TestClusterRemoved(t *testing.T) {
	for _, p := range []cluster.Protocol{cluster.HTTP1, cluster.HTTP2} {
		gate, begun := make(chan struct{}), make(chan struct{}, 1)
		s := upstreamSpec("up", backend(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) {
			begun <- struct{}{}
			<-gate
			_, _ = io.WriteString(w, "done")
		}))
		s.Protocol = p
		k := start(t, routes(to("up")), nil, s)
		st := k.clusters.Get("up").Stats()
		got := make(chan string, 1)
		c := client(t)
		go func() {
			res, err := c.Do(request(t, "GET", k.url("/"), nil))
			if err != nil {
				got <- err.Error()
				return
			}
			b, _ := io.ReadAll(res.Body)
			res.Body.Close()
			got <- string(b)
		}()
		<-begun
		if err := k.clusters.Update(nil, []string{"up"}); err != nil {
			t.Fatal(err)
		}
		close(gate)
		if g := <-got; g != "done" {
			t.Errorf("got %q", g)
		}
		until(t, "the connection is closed", func() bool { return st.UpstreamCxActive.Load() == 0 })
	}
}

// TestPendingLimit: what waits for a connection is bounded.
func TestPendingLimit(t *testing.T) {
	gate := make(chan struct{})
	up := backend(t, func(nethttp.ResponseWriter, *nethttp.Request) { <-gate })
	s := upstreamSpec("up", up)
	s.Breakers[0] = cluster.Breakers{Connections: 1, Pending: 1, Requests: 100, Retries: 3}
	k := start(t, routes(to("up")), nil, s)
	codes := make(chan int, 3)
	st := k.clusters.Get("up").Stats()
	send := func() {
		c := client(t)
		go func() {
			res, err := c.Do(request(t, "GET", k.url("/"), nil))
			if err != nil {
				codes <- 0
				return
			}
			res.Body.Close()
			codes <- res.StatusCode
		}()
	}
	send()
	until(t, "one is served", func() bool { return st.UpstreamRqActive.Load() == 1 })
	send()
	until(t, "one waits", func() bool { return st.UpstreamRqPendingActive.Load() == 1 })
	send()
	if c := <-codes; c != 503 {
		t.Errorf("the third got %d, want 503", c)
	}
	close(gate)
	for range 2 {
		if c := <-codes; c != 200 {
			t.Errorf("got %d, want 200", c)
		}
	}
	balanced(t, k)
}

// TestMirrorProxyProtocol: a mirror's cluster gets the PROXY header that others get.
func TestMirrorProxyProtocol(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	got := make(chan string, 1)
	go func() {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		r := bufio.NewReader(nc)
		line, _ := r.ReadString('\n')
		if _, err := nethttp.ReadRequest(r); err != nil {
			t.Error(err)
		}
		got <- line
	}()
	rt := to("up")
	rt.Forward.Mirrors = []route.Mirror{{Cluster: "shadow"}}
	shadow := upstreamSpec("shadow", ln.Addr().String())
	shadow.ProxyProtocol = 1
	k := start(t, routes(rt), nil, upstreamSpec("up", backend(t, echo)), shadow)
	nc, r := dial(t, k.addr, "GET / HTTP/1.1\r\nhost: a\r\n\r\n")
	if _, err := nethttp.ReadResponse(r, nil); err != nil {
		t.Fatal(err)
	}
	from, to := nc.LocalAddr().(*net.TCPAddr), nc.RemoteAddr().(*net.TCPAddr)
	if line, want := <-got, fmt.Sprintf("PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n", from.Port, to.Port); line != want {
		t.Errorf("got %q, want %q", line, want)
	}
	balanced(t, k)
}

// TestInterimWithoutEnd: an upstream that answers with interim responses for ever is cut off.
func TestInterimWithoutEnd(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	cut := make(chan error, 1)
	go func() {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		_, err = nethttp.ReadRequest(bufio.NewReader(nc))
		for err == nil {
			_, err = io.WriteString(nc, "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")
		}
		cut <- err
	}()
	k := start(t, routes(to("up")), nil, upstreamSpec("up", ln.Addr().String()))
	_, r := dial(t, k.addr, "GET / HTTP/1.1\r\nhost: a\r\n\r\n")
	res, err := nethttp.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 502 {
		t.Fatalf("%v %v", res, err)
	}
	<-cut
	if e := k.log.next(t); e.Flags != filter.FlagUpstreamProtocolError.String() {
		t.Errorf("log %+v", e)
	}
	balanced(t, k)
}

// TestMirror: a copy goes to the other cluster, with another authority.
func TestMirror(t *testing.T) {
	type seen struct{ host, path, body string }
	got := make(chan seen, 1)
	shadow := backend(t, func(_ nethttp.ResponseWriter, r *nethttp.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- seen{r.Host, r.URL.Path, string(b)}
	})
	rt := to("up")
	rt.Forward.Mirrors = []route.Mirror{{Cluster: "shadow"}}
	k := start(t, routes(rt), nil, upstreamSpec("up", backend(t, echo)), upstreamSpec("shadow", shadow))
	req := request(t, "POST", k.url("/m"), strings.NewReader("payload"))
	req.Host = "shop.example:8080"
	if _, body, _ := get(t, client(t), req); body != "POST /m payload" {
		t.Errorf("body %q", body)
	}
	select {
	case s := <-got:
		if want := (seen{"shop.example-shadow:8080", "/m", "payload"}); s != want {
			t.Errorf("mirror saw %v, want %v", s, want)
		}
	case <-time.After(60 * time.Second):
		t.Fatal("nothing was mirrored")
	}
	balanced(t, k)
}

// TestQueueMovesWithoutReuse: who waits for a connection gets one also when the
// one that was there is not to be used again.
func TestQueueMovesWithoutReuse(t *testing.T) {
	up := backend(t, func(nethttp.ResponseWriter, *nethttp.Request) {})
	s := upstreamSpec("up", up)
	s.Breakers[0] = cluster.Breakers{Connections: 1, Pending: 100, Requests: 100, Retries: 3}
	s.HTTP.MaxRequestsPerConnection = 1
	k := start(t, routes(to("up")), nil, s)
	codes := make(chan int)
	const n = 8
	for range n {
		c := client(t)
		go func() {
			res, err := c.Do(request(t, "GET", k.url("/"), nil))
			if err != nil {
				codes <- 0
				return
			}
			res.Body.Close()
			codes <- res.StatusCode
		}()
	}
	for range n {
		if c := <-codes; c != 200 {
			t.Errorf("got %d, want 200", c)
		}
	}
	balanced(t, k)
}

// TestAddedIsMeasured: one request in 16 is, and is quick.
func TestAddedIsMeasured(t *testing.T) {
	up := backend(t, func(nethttp.ResponseWriter, *nethttp.Request) { time.Sleep(time.Millisecond) })
	var mu sync.Mutex
	var got []time.Duration
	k := start(t, routes(to("up")), func(c *ManagerConfig) {
		c.Added = func(d time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, d)
		}
	}, upstreamSpec("up", up))
	c := client(t)
	for range 400 {
		res, err := c.Do(request(t, "GET", k.url("/"), nil))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	mu.Lock()
	defer mu.Unlock()
	if len(got) < 3 || len(got) > 100 {
		t.Errorf("%d of 400 requests were measured, want about 25", len(got))
	}
	for _, d := range got {
		if d <= 0 {
			t.Errorf("a request took %v", d)
		}
	}
}
