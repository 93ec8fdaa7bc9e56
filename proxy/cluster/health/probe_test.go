package health

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func dialer(addr string) Dial {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	}
}

func ask(t *testing.T, p Probe) Answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	return p.Ask(ctx)
}

func TestHTTP(t *testing.T) {
	seen := make(chan string, 100)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		seen <- strings.Join([]string{r.Proto, r.Method, r.Host, r.URL.String(), r.UserAgent(), r.Header.Get("x-a"), string(b)}, " ")
		for k, v := range r.URL.Query() {
			w.Header().Set(k, v[0])
		}
		switch r.URL.Path {
		case "/503":
			w.WriteHeader(503)
		case "/204":
			w.WriteHeader(204)
		default:
			_, _ = io.WriteString(w, "all is well")
		}
	})
	s := httptest.NewUnstartedServer(mux)
	s.Config.Protocols = &http.Protocols{}
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	defer s.Close()
	u := func(s string) *url.URL {
		u, err := url.ParseRequestURI(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	is := func(want string) func(string) bool { return func(s string) bool { return s == want } }
	for name, c := range map[string]struct {
		h    HTTP
		want Answer
		seen string
	}{
		"plain":        {HTTP{URL: u("/a?x-b=1")}, Answer{Result: Passed, Status: 200}, "HTTP/1.1 GET name /a?x-b=1 Envoy/HC  "},
		"http2":        {HTTP{URL: u("/a"), HTTP2: true}, Answer{Result: Passed, Status: 200}, "HTTP/2.0 GET name /a Envoy/HC  "},
		"503":          {HTTP{URL: u("/503")}, Answer{Result: Failed, Status: 503}, ""},
		"503 retried":  {HTTP{URL: u("/503"), Retriable: []Range{{500, 504}}}, Answer{Result: Failed, Status: 503, Retriable: true}, ""},
		"503 expected": {HTTP{URL: u("/503"), Expected: []Range{{200, 201}, {503, 504}}}, Answer{Result: Passed, Status: 503}, ""},
		"204":          {HTTP{URL: u("/204")}, Answer{Result: Failed, Status: 204}, ""},
		"body":         {HTTP{URL: u("/"), Receive: [][]byte{[]byte("all"), []byte("well")}}, Answer{Result: Passed, Status: 200}, ""},
		"body, order":  {HTTP{URL: u("/"), Receive: [][]byte{[]byte("well"), []byte("all")}}, Answer{Result: Failed, Status: 200}, ""},
		"body, buffer": {HTTP{URL: u("/"), Buffer: 5, Receive: [][]byte{[]byte("well")}}, Answer{Result: Failed, Status: 200}, ""},
		"degraded":     {HTTP{URL: u("/?x-envoy-degraded=1")}, Answer{Result: Passed, Status: 200, Degraded: true}, ""},
		"immediate": {
			HTTP{URL: u("/?x-envoy-immediate-health-check-fail=1")}, Answer{Result: Passed, Status: 200, Exclude: true}, "",
		},
		"service": {
			HTTP{URL: u("/?x-envoy-upstream-healthchecked-cluster=s"), Service: is("s")}, Answer{Result: Passed, Status: 200, Verified: true}, "",
		},
		"other service": {
			HTTP{URL: u("/?x-envoy-upstream-healthchecked-cluster=s"), Service: is("t")}, Answer{Result: Failed, Status: 200, Verified: true}, "",
		},
		"post": {
			HTTP{URL: u("/p"), Method: "POST", Body: []byte("how?"), Header: http.Header{"X-A": {"1"}, "User-Agent": {"me"}}},
			Answer{Result: Passed, Status: 200}, "HTTP/1.1 POST name /p me 1 how?",
		},
		"no agent": {HTTP{URL: u("/p"), Remove: []string{"user-agent"}}, Answer{Result: Passed, Status: 200}, "HTTP/1.1 GET name /p   "},
	} {
		if c.h.Buffer == 0 {
			c.h.Buffer = 1024
		}
		if c.h.Method == "" {
			c.h.Method = http.MethodGet
		}
		p := (&Spec{HTTP: &c.h}).New(dialer(s.Listener.Addr().String()), "name")
		for range 2 { // the second time over the kept connection
			if diff := cmp.Diff(c.want, ask(t, p)); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
			if got := <-seen; c.seen != "" && got != c.seen {
				t.Errorf("%s: the host saw %q, want %q", name, got, c.seen)
			}
		}
		p.Close()
	}
}

func TestHTTPWithoutAnAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &HTTP{URL: &url.URL{Path: "/"}, Method: http.MethodGet, Buffer: 1}
	p := (&Spec{HTTP: h}).New(dialer(l.Addr().String()), "name")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if got := p.Ask(ctx); got.Result != TimedOut {
		t.Errorf("silent host: %+v, want a timeout", got)
	}
	_ = l.Close()
	if got := ask(t, p); got.Result != NetworkFailed {
		t.Errorf("closed port: %+v, want a network failure", got)
	}
	p.Close()
}

func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan struct{}, 10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- struct{}{}
			go func() {
				defer nc.Close()
				var b [5]byte
				for {
					if _, err := io.ReadFull(nc, b[:4]); err != nil {
						return
					}
					if string(b[:4]) == "quit" {
						return
					}
					_, _ = io.WriteString(nc, "so")
					_, _ = io.WriteString(nc, "-well")
				}
			}()
		}
	}()
	b := func(list ...string) (out [][]byte) {
		for _, s := range list {
			out = append(out, []byte(s))
		}
		return out
	}
	for name, c := range map[string]struct {
		s    TCP
		keep bool
		want Result
		new  int // connections that two questions make
	}{
		"connect":      {TCP{}, true, Passed, 1},
		"connect anew": {TCP{}, false, Passed, 2},
		"talk":         {TCP{Send: []byte("how?"), Receive: b("so", "well")}, true, Passed, 1},
		"other answer": {TCP{Send: []byte("how?"), Receive: b("bad")}, true, TimedOut, 2},
		"hangs up":     {TCP{Send: []byte("quit"), Receive: b("so")}, true, NetworkFailed, 2},
	} {
		p := (&Spec{TCP: &c.s, NoReuse: !c.keep}).New(dialer(l.Addr().String()), "name")
		for range 2 {
			limit := time.Minute
			if c.want == TimedOut {
				limit = 200 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			if got := p.Ask(ctx); got.Result != c.want {
				t.Errorf("%s: %s, want %s", name, got.Result.Word(), c.want.Word())
			}
			cancel()
		}
		p.Close()
		for range c.new {
			<-accepted
		}
		select {
		case <-accepted:
			t.Errorf("%s: more than %d connections", name, c.new)
		default:
		}
	}
	_ = l.Close()
	<-done
}

func TestGRPC(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	h := grpchealth.NewServer()
	h.SetServingStatus("up", healthpb.HealthCheckResponse_SERVING)
	h.SetServingStatus("down", healthpb.HealthCheckResponse_NOT_SERVING)
	healthpb.RegisterHealthServer(s, h)
	go func() { _ = s.Serve(l) }()
	for name, c := range map[string]struct {
		service string
		want    Result
	}{"up": {"up", Passed}, "down": {"down", Failed}, "unknown": {"other", Failed}} {
		p := (&Spec{GRPC: &GRPC{Service: c.service, Metadata: []string{"a", "b"}}}).New(dialer(l.Addr().String()), "name")
		for range 2 {
			if got := ask(t, p); got.Result != c.want {
				t.Errorf("%s: %s, want %s", name, got.Result.Word(), c.want.Word())
			}
		}
		p.Close()
	}
	p := (&Spec{GRPC: &GRPC{}}).New(dialer(l.Addr().String()), "name")
	if got := ask(t, p); got.Result != Passed {
		t.Errorf("the server: %+v", got)
	}
	s.Stop()
	if got := ask(t, p); got.Result != NetworkFailed {
		t.Errorf("a server that has gone: %+v", got)
	}
	p.Close()
}
