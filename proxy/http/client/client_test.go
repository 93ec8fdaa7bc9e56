package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kit is a client and the clusters "one" (HTTP/1) and "two" (HTTP/2) of a server.
func kit(t *testing.T, h http.HandlerFunc) (*Client, *cluster.Manager) {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	srv.Config.Protocols = &p
	srv.Start()
	ctx, cancel := context.WithCancel(context.Background())
	m := cluster.NewManager(ctx, cluster.Options{Dialer: transport.Direct{}})
	spec := func(name, addr string, p cluster.Protocol) *cluster.Spec {
		return &cluster.Spec{
			Name: name, Protocol: p, Breakers: [2]cluster.Breakers{cluster.DefaultBreakers, cluster.DefaultBreakers},
			Endpoints: &cluster.Endpoints{Localities: []cluster.Locality{{Endpoints: []cluster.Endpoint{{Addr: netip.MustParseAddrPort(addr)}}}}},
		}
	}
	addr := srv.Listener.Addr().String()
	if err := m.Update([]*cluster.Spec{spec("one", addr, cluster.HTTP1), spec("two", addr, cluster.HTTP2), spec("dead", "127.0.0.1:1", cluster.HTTP1)}, nil); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = m.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		srv.CloseClientConnections()
		srv.Close()
	})
	return New(m), m
}

type result struct {
	a   *filter.Answer
	err error
}

func do(c *Client, q *filter.Call) result {
	ch := make(chan result, 2)
	c.Call(q, func(a *filter.Answer, err error) { ch <- result{a, err} })
	return <-ch
}

func post(cl, path, body string) *filter.Call {
	return &filter.Call{Cluster: cl, Header: &filter.Headers{Method: "POST", Path: path, Authority: "host"}, Body: []byte(body)}
}

func TestCalls(t *testing.T) {
	stop := make(chan struct{})
	c, m := kit(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			select {
			case <-r.Context().Done():
			case <-stop:
			}
		case "/large":
			_, _ = io.WriteString(w, strings.Repeat("x", 2000))
		case "/cut":
			panic(http.ErrAbortHandler)
		default:
			b, _ := io.ReadAll(r.Body)
			w.Header().Set("x-proto", r.Proto)
			w.WriteHeader(201)
			_, _ = w.Write(append(b, '!'))
		}
	})
	defer close(stop)
	for cl, proto := range map[string]string{"one": "HTTP/1.1", "two": "HTTP/2.0"} {
		for range 3 {
			r := do(c, post(cl, "/", "hello"))
			if r.err != nil || r.a.Header.Status != 201 || string(r.a.Body) != "hello!" || r.a.Header.Get("x-proto") != proto {
				t.Fatalf("%s: %+v", cl, r)
			}
		}
		slow := post(cl, "/slow", "")
		slow.Timeout = 20 * time.Millisecond
		if r := do(c, slow); !errors.Is(r.err, ErrTimeout) {
			t.Errorf("%s: %v, want a timeout", cl, r.err)
		}
		large := post(cl, "/large", "")
		large.MaxBody = 1000
		if r := do(c, large); !errors.Is(r.err, ErrTooLarge) {
			t.Errorf("%s: %v, want too large", cl, r.err)
		}
		if r := do(c, post(cl, "/cut", "")); r.err == nil {
			t.Errorf("%s: no error though the answer was cut off", cl)
		}
		if n := m.Get(cl).Stats().UpstreamRqTimeout.Load(); n != 1 {
			t.Errorf("%s: %d timeouts counted", cl, n)
		}
	}
	if r := do(c, post("none", "/", "")); r.err == nil || !strings.Contains(r.err.Error(), "none") {
		t.Errorf("no such cluster: %v", r.err)
	}
	if r := do(c, post("dead", "/", "")); r.err == nil {
		t.Error("no error though nobody listens")
	}
}

// TestCancel: what was cancelled is not heard of, and the server notices.
func TestCancel(t *testing.T) {
	arrived, gone := make(chan struct{}, 2), make(chan struct{}, 2)
	c, _ := kit(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
		gone <- struct{}{}
	})
	for _, cl := range []string{"one", "two"} {
		cancel := c.Call(post(cl, "/", ""), func(*filter.Answer, error) { t.Errorf("%s: done was called", cl) })
		<-arrived
		cancel()
		<-gone
		cancel()
	}
}

func TestUnary(t *testing.T) {
	g := grpc.NewServer()
	h := health.NewServer()
	h.SetServingStatus("up", healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(g, h)
	c, _ := kit(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/plain" {
			w.WriteHeader(503)
			return
		}
		g.ServeHTTP(w, r)
	})
	s := &Service{Caller: c, Cluster: "two", Timeout: 60 * time.Second}
	ask := func(s *Service, method, name string) (*healthpb.HealthCheckResponse, error) {
		out, ch := &healthpb.HealthCheckResponse{}, make(chan error, 2)
		s.Unary(method, &healthpb.HealthCheckRequest{Service: name}, out, func(err error) { ch <- err })
		return out, <-ch
	}
	const check = "/grpc.health.v1.Health/Check"
	if out, err := ask(s, check, "up"); err != nil || out.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("%v, %v", out, err)
	}
	for method, want := range map[string]codes.Code{check: codes.NotFound, "/no.such/Method": codes.Unimplemented, "/plain": codes.Unavailable} {
		if _, err := ask(s, method, "unknown"); status.Code(err) != want {
			t.Errorf("%s: %v, want %v", method, err, want)
		}
	}
	if _, err := ask(&Service{Caller: c, Cluster: "none"}, check, "up"); status.Code(err) != codes.Unavailable {
		t.Errorf("no cluster: %v", err)
	}
}
