package health

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// TestRead: what Istio's ProxyConfig may say, and what is wrong with it.
func TestRead(t *testing.T) {
	p, err := Read([]byte(`{"httpGet": {"path": "ready", "port": 8080, "scheme": "HTTPS", "httpHeaders": [{"name": "Host", "value": "a.com"}, {"name": "X", "value": "1"}]}, "periodSeconds": 5, "failureThreshold": 1}`))
	if err != nil {
		t.Fatal(err)
	}
	if p.HTTP.URL != "https://127.0.0.1:8080/ready" || p.HTTP.Host != "a.com" || p.HTTP.Header.Get("X") != "1" {
		t.Errorf("HTTP is %+v", p.HTTP)
	}
	if p.Period != 5*time.Second || p.Timeout != time.Second || p.Delay != 0 || p.Success != 1 || p.Failure != 1 {
		t.Errorf("the probe is %+v", p)
	}
	if p, err := Read([]byte(`{"tcpSocket": {"host": "::1", "port": 9}}`)); err != nil || p.TCP != "[::1]:9" || p.Failure != 3 || p.Period != 10*time.Second {
		t.Errorf("TCP: %+v, %v", p, err)
	}
	if p, err := Read([]byte(`{"grpc": {"port": 9, "service": "shop"}}`)); err != nil || p.GRPC.Address != "127.0.0.1:9" || p.GRPC.Service != "shop" {
		t.Errorf("gRPC: %+v, %v", p, err)
	}
	for text, want := range map[string]string{
		`{}`:                                        "want one of",
		`{"exec": {"command": []}}`:                 "exec.command",
		`{"tcpSocket": {}}`:                         "tcpSocket.port",
		`{"httpGet": {"path": "/"}}`:                "httpGet.port",
		`{"grpc": {"service": "shop"}}`:             "grpc.port",
		`{"httpGet": {"port": 70000}}`:              "Port",
		`{"httpGet": {"port": 1, "scheme": "ftp"}}`: "httpGet.scheme",
		`{"tcpSocket": {"port": 1}, "exec": {"command": ["true"]}}`: "want one of",
	} {
		if _, err := Read([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// TestRun: a program that becomes well, and ceases to be; it is told once each time.
func TestRun(t *testing.T) {
	var status atomic.Int32
	status.Store(500)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(status.Load())) }))
	defer server.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	served, rpc := health.NewServer(), grpc.NewServer()
	healthpb.RegisterHealthServer(rpc, served)
	rln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = rpc.Serve(rln) }()
	defer rpc.Stop()
	serves := func(s healthpb.HealthCheckResponse_ServingStatus) func() {
		return func() { served.SetServingStatus("shop", s) }
	}
	serves(healthpb.HealthCheckResponse_NOT_SERVING)()
	file := filepath.Join(t.TempDir(), "well")
	for _, tc := range []struct {
		name      string
		probe     Probe
		well, ill func()
		says      string
	}{
		{"http", Probe{HTTP: &HTTP{URL: server.URL}}, func() { status.Store(302) }, func() { status.Store(500) }, "status 500"},
		{"tcp", Probe{TCP: address}, func() {}, func() { ln.Close() }, "refused"},
		{"grpc", Probe{GRPC: &GRPC{Address: rln.Addr().String(), Service: "shop"}}, serves(healthpb.HealthCheckResponse_SERVING), serves(healthpb.HealthCheckResponse_NOT_SERVING), "NOT_SERVING"},
		{"exec", Probe{Exec: []string{"test", "-e", file}}, func() { _ = os.WriteFile(file, nil, 0o600) }, func() { _ = os.Remove(file) }, "exit status 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := tc.probe
			p.Period, p.Timeout, p.Success, p.Failure = time.Millisecond, 30*time.Second, 2, 2
			ctx, cancel := context.WithCancel(t.Context())
			said, ended := make(chan string, 16), make(chan error)
			go func() { ended <- p.Run(ctx, func(s string) { said <- s }) }()
			next := func() string {
				select {
				case s := <-said:
					return s
				case <-time.After(60 * time.Second):
					t.Fatal("nothing is said")
					return ""
				}
			}
			tc.well()
			for s := next(); s != ""; s = next() { // it may have been ill at first
				if !strings.Contains(s, tc.says) {
					t.Errorf("at first it says %q", s)
				}
			}
			tc.ill()
			if s := next(); !strings.Contains(s, tc.says) {
				t.Errorf("then it says %q, want %q", s, tc.says)
			}
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("Run returned %v", err)
			}
		})
	}
}
