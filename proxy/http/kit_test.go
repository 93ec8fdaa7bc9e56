package http

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"

	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/route"
	"github.com/weftmesh/weft/proxy/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// entry is what an access logger keeps of a stream.
type entry struct {
	Status       int
	Flags        string
	Details      string
	Method, Path string
	Cluster      string
	Attempts     int
	Received     uint64
	Sent         uint64
}

// recorder is an access logger.
type recorder struct {
	mu  sync.Mutex
	all []entry
	ch  chan entry
}

func (r *recorder) Log(i *filter.Info) {
	e := entry{
		Status: i.Status, Flags: i.Flags.String(), Details: i.Details,
		Method: strings.Clone(i.Request.Method), Path: strings.Clone(i.Request.Path),
		Cluster: i.Upstream.Cluster, Attempts: i.Attempts, Received: i.Received, Sent: i.Sent,
	}
	r.mu.Lock()
	r.all = append(r.all, e)
	r.mu.Unlock()
	select {
	case r.ch <- e:
	default:
	}
}

// next waits for the next entry.
func (r *recorder) next(t testing.TB) entry {
	t.Helper()
	select {
	case e := <-r.ch:
		return e
	case <-time.After(time.Minute):
		t.Fatal("no access log entry")
		return entry{}
	}
}

// onGoroutines is the I/O host of proxies that are started.
var onGoroutines bool

// kit is a proxy on the loopback.
type kit struct {
	goroutines bool

	t        testing.TB
	addr     string
	m        *Manager
	clusters *cluster.Manager
	log      *recorder
	stats    *Stats
	leaving  atomic.Bool // connections come to a chain that is being drained
	narrow   atomic.Bool // connections have a small send buffer of a fixed size
	wg       sync.WaitGroup
	mu       sync.Mutex
	conns    []stream.Conn
}

// upstreamSpec is a static cluster of the given addresses.
func upstreamSpec(name string, addrs ...string) *cluster.Spec {
	l := cluster.Locality{}
	for _, a := range addrs {
		l.Endpoints = append(l.Endpoints, cluster.Endpoint{Addr: netip.MustParseAddrPort(a)})
	}
	return &cluster.Spec{
		Name: name, Endpoints: &cluster.Endpoints{Localities: []cluster.Locality{l}},
		Breakers: [2]cluster.Breakers{cluster.DefaultBreakers, cluster.DefaultBreakers},
	}
}

// to is a route to a cluster.
func to(name string, change ...func(*route.Forward)) route.Route {
	f := &route.Forward{Cluster: name}
	for _, c := range change {
		c(f)
	}
	return route.Route{Name: "r-" + name, Match: route.Match{Path: "/"}, Forward: f}
}

func routes(rs ...route.Route) *route.Spec {
	return &route.Spec{VirtualHosts: []route.VirtualHost{{Name: "all", Domains: []string{"*"}, Routes: rs}}}
}

func compile(t testing.TB, s *route.Spec) *route.Table {
	t.Helper()
	tb, err := route.Compile(s, route.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return tb
}

// start runs a proxy with these routes and clusters.
func start(t testing.TB, s *route.Spec, change func(*ManagerConfig), specs ...*cluster.Spec) *kit {
	t.Helper()
	k := &kit{t: t, goroutines: onGoroutines, log: &recorder{ch: make(chan entry, 1024)}, stats: NewStats()}
	ctx, cancel := context.WithCancel(context.Background())
	k.clusters = cluster.NewManager(ctx, cluster.Options{Dialer: transport.Direct{}, Serve: func(nc net.Conn, high int) stream.Conn {
		return transport.Serve(nc, transport.Options{High: high, Goroutine: k.goroutines})
	}})
	if err := k.clusters.Update(specs, nil); err != nil {
		t.Fatal(err)
	}
	k.wg.Go(func() { _ = k.clusters.Run(ctx) })
	tb := compile(t, s)
	cfg := ManagerConfig{
		StatPrefix: "test", Clusters: k.clusters, Routes: func() *route.Table { return tb },
		AccessLogs: []AccessLogger{k.log}, Stats: k.stats,
	}
	if change != nil {
		change(&cfg)
	}
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	k.m = m
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k.addr = ln.Addr().String()
	k.wg.Go(func() { k.accept(ln) })
	t.Cleanup(func() {
		ln.Close()
		k.mu.Lock()
		for _, c := range k.conns {
			c.(interface{ Cut() }).Cut()
		}
		k.mu.Unlock()
		cancel()
		k.wg.Wait()
	})
	return k
}

func (k *kit) accept(ln net.Listener) {
	for {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		if k.narrow.Load() {
			_ = nc.(*net.TCPConn).SetWriteBuffer(64 << 10)
		}
		c := transport.Serve(nc, transport.Options{Linger: 50 * time.Millisecond, Goroutine: k.goroutines})
		k.mu.Lock()
		k.conns = append(k.conns, c)
		k.mu.Unlock()
		info := &filter.ConnInfo{
			Start:  time.Now(),
			Local:  nc.LocalAddr().(*net.TCPAddr).AddrPort(),
			Remote: nc.RemoteAddr().(*net.TCPAddr).AddrPort(),

			Leaving: k.leaving.Load(),
		}
		k.wg.Add(1)
		k.m.Serve(c, info, k.wg.Done)
	}
}

func (k *kit) url(path string) string { return "http://" + k.addr + path }

// stat reads one of the connection manager's statistics.
func (k *kit) stat(name string) (v uint64) {
	k.stats.Each(func(n string, _ bool, x uint64) bool {
		if n == "http.test."+name {
			v = x
		}
		return true
	})
	return v
}

// client is an HTTP/1 client that is closed with the test.
func client(t testing.TB) *nethttp.Client {
	tr := &nethttp.Transport{DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &nethttp.Client{Transport: tr, Timeout: time.Minute}
}

// client2 speaks HTTP/2 in plain text.
func client2(t testing.TB) *nethttp.Client {
	tr := &http2.Transport{
		AllowHTTP: true, DisableCompression: true,
		DialTLSContext: func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, addr)
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &nethttp.Client{Transport: tr, Timeout: time.Minute}
}

// backend is an HTTP/1 and HTTP/2 (plain text) server. accepted is called with its connections.
func backend(t testing.TB, h nethttp.HandlerFunc, accepted ...func(net.Conn)) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ConnContext = func(ctx context.Context, nc net.Conn) context.Context {
		for _, f := range accepted {
			f(nc)
		}
		return ctx
	}
	var p nethttp.Protocols
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	s.Config.Protocols = &p
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// get does a request and returns status, body and header.
func get(t testing.TB, c *nethttp.Client, req *nethttp.Request) (int, string, nethttp.Header) {
	t.Helper()
	res, err := c.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: body: %v", req.Method, req.URL, err)
	}
	return res.StatusCode, string(b), res.Header
}

func request(t testing.TB, method, url string, body io.Reader, header ...string) *nethttp.Request {
	t.Helper()
	req, err := nethttp.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return req
}

// echo answers with what it was asked.
func echo(w nethttp.ResponseWriter, r *nethttp.Request) {
	b, _ := io.ReadAll(r.Body)
	w.Header().Set("x-proto", r.Proto)
	fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.RequestURI(), b)
}
