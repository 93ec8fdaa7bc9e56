package health

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc"
	healthgrpc "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// TestApp: what programs answer is what the kubelet gets, for each way to ask.
func TestApp(t *testing.T) {
	program := http.NewServeMux()
	program.HandleFunc("/ready", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s", r.Host, r.Header.Get("X-Own"), r.Header.Get("User-Agent"))
	})
	program.HandleFunc("/query", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.RawQuery) })
	program.HandleFunc("/bad", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no database", http.StatusServiceUnavailable)
	})
	program.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ready", http.StatusFound) })
	program.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
	})
	program.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	plain, secure := httptest.NewServer(program), httptest.NewTLSServer(program)
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	rpc := grpcServer(t)
	port := func(url string) string { return url[strings.LastIndexByte(url, ':')+1:] }
	app, err := ReadApp(fmt.Sprintf(`{
		"/app-health/web/readyz": {"httpGet": {"path": "/ready", "port": %[1]s, "httpHeaders": [{"name": "Host", "value": "shop"}, {"name": "X-Own", "value": "1"}]}},
		"/app-health/web/livez": {"httpGet": {"path": "bad", "port": %[1]s}},
		"/app-health/web/startupz": {"httpGet": {"path": "/query?a=b", "port": %[2]s, "scheme": "HTTPS"}},
		"/app-health/moved/livez": {"httpGet": {"path": "/moved", "port": %[1]s}},
		"/app-health/away/livez": {"httpGet": {"path": "/away", "port": %[1]s}},
		"/app-health/slow/livez": {"httpGet": {"path": "/slow", "port": %[1]s}, "timeoutSeconds": 1},
		"/app-health/rpc/readyz": {"grpc": {"port": %[3]s, "service": "shop"}},
		"/app-health/rpc/livez": {"grpc": {"port": %[3]s}},
		"/app-health/tcp/readyz": {"tcpSocket": {"port": %[1]s}},
		"/app-lifecycle/tcp/prestopz": {"tcpSocket": {"port": 1}}
	}`, port(plain.URL), port(secure.URL), port(rpc)), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	agent := httptest.NewServer(app)
	t.Cleanup(agent.Close)
	for path, want := range map[string]struct {
		status int
		body   string
	}{
		"/app-health/web/readyz":       {200, "shop 1 kube-probe/1.36"},
		"/app-health/web/livez":        {503, "no database"},
		"/app-health/web/startupz":     {200, "a=b"},
		"/app-health/moved/livez":      {200, "kube-probe/1.36"},
		"/app-health/away/livez":       {200, ""},
		"/app-health/slow/livez":       {500, "deadline exceeded"},
		"/app-health/rpc/readyz":       {200, ""},
		"/app-health/rpc/livez":        {500, "NOT_SERVING"},
		"/app-health/tcp/readyz":       {200, ""},
		"/app-lifecycle/tcp/prestopz":  {500, "refused"},
		"/app-lifecycle/tcp/poststart": {404, "no program is asked"},
	} {
		t.Run(path, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, agent.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("User-Agent", "kube-probe/1.36")
			resp, err := agent.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != want.status || !strings.Contains(string(body), want.body) {
				t.Errorf("%d %q %v, want %d %q", resp.StatusCode, body, err, want.status, want.body)
			}
		})
	}
}

func grpcServer(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := healthgrpc.NewServer()
	h.SetServingStatus("shop", healthpb.HealthCheckResponse_SERVING)
	h.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	s := grpc.NewServer()
	healthpb.RegisterHealthServer(s, h)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return l.Addr().String()
}

// TestReadAppRefuses: an error names the path.
func TestReadAppRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`{"/a": {}}`: "/a: want one of", `{"/a": {"tcpSocket": {"port": 0}}}`: `/a: "0" is no port`, `{"/a": null}`: "/a: is empty",
		`{"/a": {"exec": {}}}`: "unknown field", `{"/a": {"httpGet": {"port": "http"}}}`: "http",
	} {
		if _, err := ReadApp(text, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func FuzzReadApp(f *testing.F) {
	f.Add(`{"/app-health/a/livez":{"httpGet":{"path":"/x","port":80}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		if a, err := ReadApp(text, ""); err == nil && a == nil {
			t.Error("nothing")
		}
	})
}
