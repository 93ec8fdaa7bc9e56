package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/transport"
)

// fakeDialer answers by address.
type fakeDialer struct {
	dial func(ctx context.Context, t transport.Target) (net.Conn, error)

	mu  sync.Mutex
	saw []transport.Target
}

func (d *fakeDialer) Dial(ctx context.Context, t transport.Target) (net.Conn, error) {
	d.mu.Lock()
	d.saw = append(d.saw, t)
	d.mu.Unlock()
	return d.dial(ctx, t)
}

// fakeStream is a stream only in name.
type fakeStream struct {
	stream.Conn
	nc net.Conn
}

func hang(ctx context.Context, _ transport.Target) (net.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// dialCluster makes a cluster whose connections the dialer makes.
func dialCluster(t *testing.T, s Spec, dial func(context.Context, transport.Target) (net.Conn, error)) (*Cluster, *fakeDialer) {
	t.Helper()
	d := &fakeDialer{dial: dial}
	m := NewManager(t.Context(), Options{Dialer: d, Serve: func(nc net.Conn, _ int) stream.Conn { return fakeStream{nc: nc} }})
	s.Name = "c"
	update(t, m, []*Spec{&s})
	return m.Get("c"), d
}

// dial waits for the outcome.
func dial(c *Cluster, h *Host, o DialOptions) (net.Conn, error) {
	type result struct {
		s   stream.Conn
		err error
	}
	ch := make(chan result, 1)
	c.Dial(h, o, func(s stream.Conn, err error) { ch <- result{s, err} })
	r := <-ch
	if r.err != nil {
		return nil, r.err
	}
	return r.s.(fakeStream).nc, nil
}

func TestDial(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	spec := Spec{
		Endpoints: endpoints(1), Bind: netip.MustParseAddr("127.0.0.6"), Bind6: netip.MustParseAddr("::6"),
		Keepalive: transport.KeepAlive{Enable: true, Probes: 3},
	}
	c, d := dialCluster(t, spec, func(context.Context, transport.Target) (net.Conn, error) { return client, nil })
	h := host(t, c, 1)
	nc, err := dial(c, h, DialOptions{})
	if err != nil || nc != client {
		t.Fatalf("%v, %v", nc, err)
	}
	want := transport.Target{Addr: addr(1), Source: spec.Bind, Source6: spec.Bind6, KeepAlive: spec.Keepalive}
	if d.saw[0] != want {
		t.Errorf("dialled %+v, want %+v", d.saw[0], want)
	}
	if a, n := stat(c, "upstream_cx_active"), stat(c, "upstream_cx_total"); a != "1" || n != "1" {
		t.Errorf("active %s, total %s", a, n)
	}
	h.Disconnected(false, true)
	got := []string{stat(c, "upstream_cx_active"), stat(c, "upstream_cx_destroy_remote"), stat(c, "upstream_cx_destroy_remote_with_active_rq"), stat(c, "upstream_cx_destroy_local")}
	if diff := cmp.Diff([]string{"0", "1", "1", "0"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestDialFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := errors.New("connection refused")
		for name, c := range map[string]struct {
			dial                     func(context.Context, transport.Target) (net.Conn, error)
			cancel                   bool
			timeout, canceled        bool
			fails, timeouts, elapsed int
		}{
			"refused":  {dial: func(context.Context, transport.Target) (net.Conn, error) { return nil, refused }, fails: 1},
			"timeout":  {dial: hang, timeout: true, fails: 1, timeouts: 1, elapsed: 2},
			"canceled": {dial: hang, cancel: true, canceled: true},
		} {
			cl, _ := dialCluster(t, Spec{Endpoints: endpoints(1), ConnectTimeout: 2 * time.Second}, c.dial)
			start := time.Now()
			ch := make(chan error, 1)
			cancel := cl.Dial(host(t, cl, 1), DialOptions{}, func(_ stream.Conn, err error) { ch <- err })
			if c.cancel {
				cancel()
			}
			var de *DialError
			if err := <-ch; !errors.As(err, &de) || !strings.Contains(err.Error(), `10.0.0.1:80 of cluster "c"`) {
				t.Fatalf("%s: error %v", name, err)
			}
			if de.Timeout != c.timeout || de.Canceled != c.canceled || de.TLS {
				t.Errorf("%s: %+v", name, de)
			}
			if d := int(time.Since(start) / time.Second); d != c.elapsed {
				t.Errorf("%s: took %d s, want %d", name, d, c.elapsed)
			}
			s := cl.Stats()
			if s.UpstreamCxConnectFail.Load() != uint64(c.fails) || s.UpstreamCxConnectTimeout.Load() != uint64(c.timeouts) || s.UpstreamCxActive.Load() != 0 {
				t.Errorf("%s: fail %d, timeout %d, active %d", name, s.UpstreamCxConnectFail.Load(), s.UpstreamCxConnectTimeout.Load(), s.UpstreamCxActive.Load())
			}
		}
	})
}

func TestDialAfterShutdown(t *testing.T) {
	m := NewManager(t.Context(), Options{Dialer: &fakeDialer{dial: hang}})
	stop := run(t, m)
	update(t, m, []*Spec{{Name: "c", Endpoints: endpoints(1)}})
	c := m.Get("c")
	waiting := make(chan error, 1)
	c.Dial(host(t, c, 1), DialOptions{}, func(_ stream.Conn, err error) { waiting <- err })
	stop() // ends the one under way, too
	_, late := dial(c, host(t, c, 1), DialOptions{})
	for _, err := range []error{<-waiting, late} {
		var de *DialError
		if !errors.As(err, &de) || !de.Canceled {
			t.Errorf("error %v, want canceled", err)
		}
	}
}

// TestHappyEyeballs: an endpoint with several addresses.
func TestHappyEyeballs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := endpoints(1)
		e.Localities[0].Endpoints[0].More = []netip.AddrPort{addr(2), addr(3)}
		refused := errors.New("refused")
		type outcome struct {
			after time.Duration
			ok    bool
		}
		for name, c := range map[string]struct {
			outcomes [4]outcome // by address
			want     int        // the address that wins, 0: none
			took     time.Duration
			dialled  int
		}{
			"first answers":            {[4]outcome{1: {0, true}}, 1, 0, 1},
			"first refuses":            {[4]outcome{1: {0, false}, 2: {0, true}}, 2, 0, 2},
			"first is silent":          {[4]outcome{1: {time.Hour, true}, 2: {0, true}}, 2, 300 * time.Millisecond, 2},
			"first is slow and wins":   {[4]outcome{1: {400 * time.Millisecond, true}, 2: {time.Hour, true}}, 1, 400 * time.Millisecond, 2},
			"all refuse":               {[4]outcome{}, 0, 0, 3},
			"only the last, after all": {[4]outcome{1: {time.Hour, false}, 2: {time.Hour, false}, 3: {0, true}}, 3, 600 * time.Millisecond, 3},
		} {
			conns := map[netip.AddrPort]net.Conn{}
			cl, d := dialCluster(t, Spec{Endpoints: e}, func(ctx context.Context, tg transport.Target) (net.Conn, error) {
				o := c.outcomes[tg.Addr.Addr().As4()[3]]
				select {
				case <-time.After(o.after):
				case <-ctx.Done():
					return nil, ctx.Err()
				}
				if !o.ok {
					return nil, refused
				}
				return conns[tg.Addr], nil
			})
			for n := 1; n <= 3; n++ {
				conns[addr(n)], _ = net.Pipe()
			}
			start := time.Now()
			nc, err := dial(cl, host(t, cl, 1), DialOptions{})
			if took := time.Since(start); took != c.took {
				t.Errorf("%s: took %v, want %v", name, took, c.took)
			}
			if c.want == 0 && err == nil || c.want != 0 && nc != conns[addr(c.want)] {
				t.Errorf("%s: %v %v, want address %d", name, nc, err, c.want)
			}
			if len(d.saw) != c.dialled {
				t.Errorf("%s: %d addresses dialled, want %d", name, len(d.saw), c.dialled)
			}
		}
	})
}

// fakeTLS notes what a handshake was asked for.
type fakeTLS struct {
	hello transport.ClientHello
	err   error
	cert  *x509.Certificate
}

func (f *fakeTLS) Handshake(_ context.Context, nc net.Conn, h transport.ClientHello) (net.Conn, error) {
	f.hello = h
	if f.err != nil {
		_ = nc.Close()
		return nil, f.err
	}
	return fakeTLSConn{nc, f.cert}, nil
}

type fakeTLSConn struct {
	net.Conn
	cert *x509.Certificate
}

func (c fakeTLSConn) ConnectionState() tls.ConnectionState {
	return tls.ConnectionState{PeerCertificates: []*x509.Certificate{c.cert}}
}

func TestDialTLS(t *testing.T) {
	cert := &x509.Certificate{DNSNames: []string{"good.example"}}
	for name, c := range map[string]struct {
		o       DialOptions
		err     error
		wantErr string
	}{
		"plain":      {},
		"options":    {o: DialOptions{HandshakeOptions: HandshakeOptions{ServerName: "sni", ALPN: []string{"h2"}}}},
		"right name": {o: DialOptions{HandshakeOptions: HandshakeOptions{VerifyName: "good.example"}}},
		"wrong name": {o: DialOptions{HandshakeOptions: HandshakeOptions{VerifyName: "bad.example"}}, wantErr: "bad.example"},
		"handshake":  {err: errors.New("unknown authority"), wantErr: "unknown authority"},
	} {
		f := &fakeTLS{err: c.err, cert: cert}
		client, server := net.Pipe()
		e := endpoints(1)
		e.Localities[0].Endpoints[0].Hostname = "up.example"
		cl, _ := dialCluster(t, Spec{Endpoints: e, TLS: f}, func(context.Context, transport.Target) (net.Conn, error) { return client, nil })
		_, err := dial(cl, host(t, cl, 1), c.o)
		want := transport.ClientHello{SNI: c.o.ServerName, ALPN: c.o.ALPN, Host: "up.example"}
		if diff := cmp.Diff(want, f.hello); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
		if c.wantErr == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		var de *DialError
		if !errors.As(err, &de) || !de.TLS || !strings.Contains(err.Error(), c.wantErr) {
			t.Errorf("%s: %v, want a TLS error with %q", name, err, c.wantErr)
		}
		if _, err := server.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: the connection was left open", name)
		}
	}
}

func TestTransportMatch(t *testing.T) {
	e := endpoints(3)
	e.Localities[0].Endpoints[0].TransportLabels = map[string]string{"tlsMode": "istio", "other": "x"}
	e.Localities[0].Endpoints[1].TransportLabels = map[string]string{"tlsMode": "disabled"}
	c := static(t, Spec{Endpoints: e, TLS: &fakeTLS{}, Transports: []Transport{
		{Name: "mtls", Labels: map[string]string{"tlsMode": "istio"}, TLS: &fakeTLS{}},
		{Name: "plain", Labels: map[string]string{"tlsMode": "disabled"}},
	}})
	for n, want := range map[int]bool{1: true, 2: false, 3: true} {
		if got := host(t, c, n).Secure(); got != want {
			t.Errorf("host %d: TLS %v, want %v", n, got, want)
		}
	}
	if host(t, c, 1).tls == host(t, c, 3).tls {
		t.Error("a host that matches uses the cluster's own context")
	}
}

func TestProxyHeader(t *testing.T) {
	four, six := netip.MustParseAddrPort("1.2.3.4:5"), netip.MustParseAddrPort("[fd00::1]:80")
	const sig = "\r\n\r\n\x00\r\nQUIT\n"
	for _, c := range []struct {
		version  int
		src, dst netip.AddrPort
		want     string
	}{
		{1, four, four, "PROXY TCP4 1.2.3.4 1.2.3.4 5 5\r\n"},
		{1, six, four, "PROXY TCP6 fd00::1 ::ffff:1.2.3.4 80 5\r\n"},
		{1, four, netip.AddrPort{}, "PROXY UNKNOWN\r\n"},
		{2, four, four, sig + "\x21\x11\x00\x0c\x01\x02\x03\x04\x01\x02\x03\x04\x00\x05\x00\x05"},
		{2, netip.AddrPort{}, four, sig + "\x20\x00\x00\x00"},
	} {
		if got := string(ProxyHeader(c.version, c.src, c.dst, "")); got != c.want {
			t.Errorf("version %d from %v to %v: %q, want %q", c.version, c.src, c.dst, got, c.want)
		}
	}
	client, server := net.Pipe()
	defer client.Close()
	cl, _ := dialCluster(t, Spec{Endpoints: endpoints(1), ProxyProtocol: 1}, func(context.Context, transport.Target) (net.Conn, error) { return client, nil })
	got := make(chan string, 1)
	go func() {
		b := make([]byte, 15)
		_, _ = io.ReadFull(server, b)
		got <- string(b)
	}()
	if _, err := dial(cl, host(t, cl, 1), DialOptions{}); err != nil {
		t.Fatal(err)
	}
	if s := <-got; s != "PROXY UNKNOWN\r\n" {
		t.Errorf("the server read %q", s)
	}
}
