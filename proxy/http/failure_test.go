package http

import (
	"io"
	"net"
	nethttp "net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/route"
)

// dead is an address where nobody listens.
func dead(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// rude accepts connections, reads a request's head and then does f.
func rude(t testing.TB, f func(nc net.Conn)) string {
	t.Helper()
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
			b := make([]byte, 4096)
			_, _ = nc.Read(b)
			f(nc)
			nc.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String()
}

func timeout(d time.Duration) func(*route.Forward) {
	return func(f *route.Forward) { f.Timeout = d }
}

func retry(p route.RetryPolicy) func(*route.Forward) {
	return func(f *route.Forward) {
		p.BackoffBase = time.Millisecond
		f.Retry = &p
	}
}

// TestLocalReplies checks what clients and access logs see when there is no response.
func TestLocalReplies(t *testing.T) {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	slow := backend(t, func(_ nethttp.ResponseWriter, r *nethttp.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	closing := rude(t, func(net.Conn) {})
	garbage := rude(t, func(nc net.Conn) { _, _ = io.WriteString(nc, "what?\r\n\r\n") })
	refusing := dead(t)
	tight := upstreamSpec("tight", slow)
	tight.Breakers[0].Requests = 0
	short := upstreamSpec("short", slow)
	short.HTTP.MaxStreamDuration = 40 * time.Millisecond
	early := "upstream connect error or disconnect/reset before headers. "
	for _, tt := range []struct {
		name   string
		route  route.Route
		specs  []*cluster.Spec
		status int
		body   string
		flags  string
		detail string
	}{
		{
			"no route", route.Route{Match: route.Match{Path: "/other"}, Direct: &route.Direct{Status: 200}}, nil,
			404, "", "NR", "route_not_found",
		},
		{"no cluster", to("missing"), nil, 503, "", "NC", "cluster_not_found"},
		{
			"no host", to("none"), []*cluster.Spec{upstreamSpec("none")},
			503, "no healthy upstream", "UH", "no_healthy_upstream",
		},
		{
			"refused", to("up"), []*cluster.Spec{upstreamSpec("up", refusing)}, 503,
			early + "reset reason: remote connection failure", "UF",
			"upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
		},
		{
			"closed", to("up"), []*cluster.Spec{upstreamSpec("up", closing)}, 503,
			early + "reset reason: connection termination", "UC",
			"upstream_reset_before_response_started{connection_termination}",
		},
		{
			"garbage", to("up"), []*cluster.Spec{upstreamSpec("up", garbage)}, 502,
			early + "reset reason: protocol error", "UPE",
			"upstream_reset_before_response_started{protocol_error}",
		},
		{
			"timeout", to("up", timeout(50*time.Millisecond)), []*cluster.Spec{upstreamSpec("up", slow)}, 504,
			"upstream request timeout", "UT", "response_timeout",
		},
		{
			"per-try timeout", to("up", retry(route.RetryPolicy{PerTryTimeout: 30 * time.Millisecond, On: route.RetryConnectFailure, Retries: 1})),
			[]*cluster.Spec{upstreamSpec("up", slow)}, 504,
			"upstream request timeout", "UT", "upstream_per_try_timeout",
		},
		{
			"overflow", to("tight"), []*cluster.Spec{tight}, 503,
			early + "reset reason: overflow", "UO", "upstream_reset_before_response_started{overflow}",
		},
		{
			"retries used up", to("up", retry(route.RetryPolicy{On: route.RetryConnectFailure, Retries: 2})),
			[]*cluster.Spec{upstreamSpec("up", refusing)}, 503,
			early + "retried and the latest reset reason: remote connection failure",
			"UF,URX", "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
		},
		{
			"direct response", route.Route{Match: route.Match{Path: "/"}, Direct: &route.Direct{Status: 418, Body: "tea"}}, nil,
			418, "tea", "-", "direct_response",
		},
		{
			"idle", to("up", func(f *route.Forward) { d := 40 * time.Millisecond; f.IdleTimeout = &d }),
			[]*cluster.Spec{upstreamSpec("up", slow)}, 504, "stream timeout", "SI", "stream_idle_timeout",
		},
		{
			"duration", to("up", func(f *route.Forward) { d := 40 * time.Millisecond; f.MaxStreamDuration = &d }),
			[]*cluster.Spec{upstreamSpec("up", slow)}, 504, "downstream duration timeout", "-", "max_duration_timeout",
		},
		{
			"cluster's duration", to("short"), []*cluster.Spec{short}, 504,
			"upstream max stream duration reached", "UMSDR", "upstream_max_stream_duration_reached",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := start(t, routes(tt.route), nil, tt.specs...)
			for name, c := range map[string]*nethttp.Client{"HTTP/1": client(t), "HTTP/2": client2(t)} {
				code, body, h := get(t, c, request(t, "GET", k.url("/"), nil))
				if d := cmp.Diff([]any{tt.status, tt.body, "envoy"}, []any{code, body, h.Get("server")}); d != "" {
					t.Errorf("%s (-want +got):\n%s", name, d)
				}
				e := k.log.next(t)
				if d := cmp.Diff([]any{tt.status, tt.flags, tt.detail}, []any{e.Status, e.Flags, e.Details}); d != "" {
					t.Errorf("%s access log (-want +got):\n%s", name, d)
				}
			}
			balanced(t, k)
		})
	}
}

// balanced checks that nothing is counted as active once all is over.
func balanced(t *testing.T, k *kit) {
	t.Helper()
	for c := range k.clusters.Clusters {
		until(t, "limits of "+c.Name()+" are released", func() bool {
			l := c.Limits(cluster.Default)
			return l.Current(cluster.Requests) == 0 && l.Current(cluster.Pending) == 0 && l.Current(cluster.Retries) == 0 &&
				c.Stats().UpstreamRqActive.Load() == 0
		})
	}
	until(t, "no request is active", func() bool { return k.stat("downstream_rq_active") == 0 })
}

// until waits for something that happens on another goroutine.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestRedirect checks the location.
func TestRedirect(t *testing.T) {
	k := start(t, routes(route.Route{
		Match: route.Match{Path: "/"}, Redirect: &route.Redirect{Host: "other.example", Path: "/new", Status: 302},
	}), nil)
	c := client(t)
	c.CheckRedirect = func(*nethttp.Request, []*nethttp.Request) error { return nethttp.ErrUseLastResponse }
	code, _, h := get(t, c, request(t, "GET", k.url("/old"), nil))
	if code != 302 || h.Get("location") != "http://other.example/new" {
		t.Errorf("got %d %q, want 302 http://other.example/new", code, h.Get("location"))
	}
}

// TestRetries checks that a request is sent again, with its body, and where to.
func TestRetries(t *testing.T) {
	for _, tt := range []struct {
		name   string
		policy route.RetryPolicy
		fail   func(w nethttp.ResponseWriter)
		want   int
		tries  int64
	}{
		{"5xx", route.RetryPolicy{On: route.Retry5xx, Retries: 3}, func(w nethttp.ResponseWriter) { w.WriteHeader(500) }, 200, 3},
		{"gateway error", route.RetryPolicy{On: route.RetryGatewayError, Retries: 3}, func(w nethttp.ResponseWriter) { w.WriteHeader(503) }, 200, 3},
		{"no gateway error", route.RetryPolicy{On: route.RetryGatewayError, Retries: 3}, func(w nethttp.ResponseWriter) { w.WriteHeader(500) }, 500, 1},
		{"status", route.RetryPolicy{On: route.RetryStatusCodes, StatusCodes: []int{418}, Retries: 3}, func(w nethttp.ResponseWriter) { w.WriteHeader(418) }, 200, 3},
		{"limit", route.RetryPolicy{On: route.Retry5xx, Retries: 1}, func(w nethttp.ResponseWriter) { w.WriteHeader(500) }, 500, 2},
		{"reset", route.RetryPolicy{On: route.RetryReset, Retries: 3}, func(nethttp.ResponseWriter) { panic(nethttp.ErrAbortHandler) }, 200, 3},
	} {
		for _, p := range []cluster.Protocol{cluster.HTTP1, cluster.HTTP2} {
			t.Run(tt.name+map[cluster.Protocol]string{cluster.HTTP1: "/h1", cluster.HTTP2: "/h2"}[p], func(t *testing.T) {
				var tries atomic.Int64
				up := backend(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
					b, _ := io.ReadAll(r.Body)
					if tries.Add(1) <= 2 {
						tt.fail(w)
						return
					}
					_, _ = w.Write(append(b, r.Header.Get("x-envoy-attempt-count")...))
				})
				s := upstreamSpec("up", up)
				s.Protocol = p
				spec := routes(to("up", retry(tt.policy)))
				spec.VirtualHosts[0].AttemptCount = true
				k := start(t, spec, nil, s)
				code, body, _ := get(t, client(t), request(t, "POST", k.url("/"), strings.NewReader("body")))
				if code != tt.want || tries.Load() != tt.tries {
					t.Errorf("status %d after %d tries, want %d after %d", code, tries.Load(), tt.want, tt.tries)
				}
				if code == 200 && body != "body3" {
					t.Errorf("body %q, want body3", body)
				}
				balanced(t, k)
			})
		}
	}
}

// TestRetryElsewhere checks that a retry goes to another host.
func TestRetryElsewhere(t *testing.T) {
	good := backend(t, echo)
	s := upstreamSpec("up", dead(t), good)
	k := start(t, routes(to("up", retry(route.RetryPolicy{
		On: route.RetryConnectFailure, Retries: 2, AvoidPrevious: true, HostAttempts: 5,
	}))), nil, s)
	c := client(t)
	for range 10 {
		if code, _, _ := get(t, c, request(t, "GET", k.url("/"), nil)); code != 200 {
			t.Errorf("status %d", code)
		}
	}
	if k.clusters.Get("up").Stats().UpstreamRqRetrySuccess.Load() == 0 {
		t.Error("no successful retry was counted")
	}
	balanced(t, k)
}

// TestStaleConnection checks that a pooled connection which the peer has
// closed costs no request.
func TestStaleConnection(t *testing.T) {
	up := rude(t, func(nc net.Conn) {
		// Promises to keep the connection, answers once, and hangs up at the next request.
		_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
		_, _ = nc.Read(make([]byte, 4096))
	})
	k := start(t, routes(to("up")), nil, upstreamSpec("up", up))
	c := client(t)
	for i := range 5 {
		if code, body, _ := get(t, c, request(t, "GET", k.url("/"), nil)); code != 200 || body != "ok" {
			t.Fatalf("request %d: %d %q", i, code, body)
		}
	}
}

// TestClientGone checks that the upstream is told when the client hangs up.
func TestClientGone(t *testing.T) {
	begun, ended := make(chan struct{}, 1), make(chan struct{}, 1)
	up := backend(t, func(_ nethttp.ResponseWriter, r *nethttp.Request) {
		begun <- struct{}{}
		<-r.Context().Done()
		ended <- struct{}{}
	})
	for _, p := range []cluster.Protocol{cluster.HTTP1, cluster.HTTP2} {
		s := upstreamSpec("up", up)
		s.Protocol = p
		k := start(t, routes(to("up")), nil, s)
		nc, err := net.Dial("tcp", k.addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(nc, "GET / HTTP/1.1\r\nhost: x\r\n\r\n")
		<-begun
		nc.Close()
		select {
		case <-ended:
		case <-time.After(60 * time.Second):
			t.Fatal("the upstream did not hear of it")
		}
		e := k.log.next(t)
		if e.Flags != "DC" || e.Details != "downstream_remote_disconnect" {
			t.Errorf("flags %s, details %s", e.Flags, e.Details)
		}
		balanced(t, k)
	}
}

// TestNoRequest: what is no HTTP is answered, logged and counted.
func TestNoRequest(t *testing.T) {
	k := start(t, routes(to("up")), nil, upstreamSpec("up", backend(t, echo)))
	for _, tt := range []struct {
		say    string
		status int
		detail string
	}{
		{"rubbish\r\n\r\n", 400, "http1.codec_error"},
		{"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400, "http1.codec_error"},
		{"GET / HTTP/1.1\r\nhost: a\r\nx: " + strings.Repeat("y", 70_000) + "\r\n\r\n", 431, "http1.headers_too_large"},
		{"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400, "http1.codec_error"},
	} {
		_, r := dial(t, k.addr, tt.say)
		res, err := nethttp.ReadResponse(r, nil)
		if err != nil || res.StatusCode != tt.status {
			t.Errorf("%.30q: %v %v", tt.say, res, err)
			continue
		}
		e := k.log.next(t)
		if d := cmp.Diff([]any{tt.status, "DPE", tt.detail}, []any{e.Status, e.Flags, e.Details}); d != "" {
			t.Errorf("%.30q (-want +got):\n%s", tt.say, d)
		}
	}
	balanced(t, k)
}

// TestSilentPeer: an HTTP/2 connection whose peer does not answer PING is given up; one
// whose peer answers lives.
func TestSilentPeer(t *testing.T) {
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
			_, _ = nc.Write([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0}) // SETTINGS, and nothing ever after
			_, _ = io.Copy(io.Discard, nc)
			nc.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	ping := func(addr string, limit time.Duration) *cluster.Spec {
		s := upstreamSpec("up", addr)
		s.Protocol = cluster.HTTP2
		s.HTTP.PingInterval, s.HTTP.PingTimeout = 20*time.Millisecond, limit
		return s
	}
	k := start(t, routes(to("up")), nil, ping(ln.Addr().String(), 40*time.Millisecond))
	if code, _, _ := get(t, client(t), request(t, "GET", k.url("/"), nil)); code != 503 {
		t.Errorf("status %d, want 503", code)
	}
	if e := k.log.next(t); e.Flags != "UC" {
		t.Errorf("log %+v", e)
	}
	const limit = time.Second // longer than a busy machine holds an answer up
	slow := backend(t, func(nethttp.ResponseWriter, *nethttp.Request) { time.Sleep(2 * limit) })
	k = start(t, routes(to("up")), nil, ping(slow, limit))
	if code, _, _ := get(t, client(t), request(t, "GET", k.url("/"), nil)); code != 200 {
		t.Errorf("status %d, want 200", code)
	}
}
