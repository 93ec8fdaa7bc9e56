package admin

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func server(t *testing.T, o Options) *httptest.Server {
	o.Log = slog.New(slog.DiscardHandler)
	srv := httptest.NewServer(New(o).api())
	t.Cleanup(srv.Close)
	return srv
}

func do(t *testing.T, method, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestAPI(t *testing.T) {
	live, drained := false, false
	var changed map[string]string
	level := &slog.LevelVar{}
	srv := server(t, Options{
		Ready:      func() (bool, string) { return live, "no listeners yet" },
		ServerInfo: func() any { return map[string]string{"state": "LIVE"} },
		ConfigDump: func(q DumpQuery) ([]byte, error) {
			return []byte(`{"configs":[],"eds":` + map[bool]string{true: "1", false: "0"}[q.Endpoints] + `,"only":"` + q.Resource + `"}`), nil
		},
		Runtime: func() ([]string, []RuntimeEntry) {
			return []string{"static", "admin"}, []RuntimeEntry{{Name: "k", Final: "2", Layers: []string{"1", "2"}}}
		},
		RuntimeModify: func(v map[string]string) error { changed = v; return nil },
		Listeners:     func() [][2]string { return [][2]string{{"virtualOutbound", "0.0.0.0:15001"}} },
		Stats: func(v func(string, uint64)) {
			v("cluster.b.upstream_rq_total", 2)
			v("cluster.a.upstream_rq_total", 0)
		},
		Level: level, Drain: func() { drained = true },
	})
	for _, c := range []struct {
		method, path string
		code         int
		want         string
	}{
		{"GET", "/ready", 503, "no listeners yet"},
		{"GET", "/server_info", 200, `"LIVE"`},
		{"GET", "/config_dump?include_eds", 200, `"eds":1`},
		{"GET", "/listeners", 200, "virtualOutbound::0.0.0.0:15001"},
		{"GET", "/listeners?format=json", 200, `"port_value": "15001"`},
		{"GET", "/stats?usedonly", 200, "cluster.b.upstream_rq_total: 2\n"},
		{"GET", "/config_dump?resource=dynamic_listeners", 200, `"only":"dynamic_listeners"`},
		{"GET", "/config_dump?mask=x", 400, "mask is not supported"},
		{"GET", "/config_dump?name_regex=(", 400, "missing closing"},
		{"GET", "/debug/pprof/heap?debug=1", 200, "heap profile"},
		{"GET", "/debug/pprof/trace?seconds=0.01", 200, "go 1."},
		{"GET", "/runtime", 200, `"final_value": "2"`},
		{"GET", "/runtime_modify?k=3", 405, ""},
		{"POST", "/runtime_modify", 400, "usage"},
		{"POST", "/runtime_modify?k=3", 200, "OK"},
		{"GET", "/memory", 200, `"allocated": "`},
		{"GET", "/hot_restart_version", 200, "disabled"},
		{"GET", "/stats?format=json&filter=b%5C.up", 200, `"value": 2`},
		{"GET", "/stats?filter=(", 400, "invalid filter"},
		{"GET", "/stats?filter=cluster.a", 200, "cluster.a.upstream_rq_total: 0\n"},
		{"POST", "/logging?level=debug", 200, "all: debug"},
		{"POST", "/logging?level=loud", 400, `"loud"`},
		{"GET", "/drain_listeners", 405, ""},
		{"POST", "/drain_listeners", 200, "OK"},
		{"GET", "/clusters", 501, "not to be had"},
		{"GET", "/help", 200, "/config_dump"},
	} {
		if code, body := do(t, c.method, srv.URL+c.path); code != c.code || !strings.Contains(body, c.want) {
			t.Errorf("%s %s: %d %q, want %d %q", c.method, c.path, code, body, c.code, c.want)
		}
	}
	if !drained || level.Level() != slog.LevelDebug {
		t.Errorf("drained %v, level %v", drained, level.Level())
	}
	if changed["k"] != "3" {
		t.Errorf("changed %v", changed)
	}
	live = true
	if code, body := do(t, "GET", srv.URL+"/ready"); code != 200 || body != "LIVE\n" {
		t.Errorf("ready: %d %q", code, body)
	}
}

func TestMetricsAreMergedAndNamedAsEnvoys(t *testing.T) {
	program := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "orders_total 7\n")
	}))
	defer program.Close()
	r := prometheus.NewRegistry()
	r.MustRegister(EnvoyStats{Visit: func(f func(scope, name, stat string, value uint64, gauge bool)) {
		f("cluster", "outbound|80||x", "upstream_rq_total", 3, false)
		f("cluster", "outbound|80||y", "upstream_rq_total", 4, false)
		f("udp", "a", "downstream_sess_total", 5, false)
		f("udp", "b", "downstream_sess_total", 6, false)
		f("server", "", "live", 1, true)
	}})
	srv := server(t, Options{Metrics: r, Programs: []string{program.URL}})
	_, body := do(t, "GET", srv.URL+"/stats/prometheus")
	for _, want := range []string{
		`envoy_cluster_upstream_rq_total{envoy_cluster_name="outbound|80||x"} 3`, `envoy_cluster_name="outbound|80||y"} 4`, "envoy_server_live 1", "orders_total 7",
		`envoy_udp_downstream_sess_total{envoy_udp_prefix="a"} 5`, `envoy_udp_downstream_sess_total{envoy_udp_prefix="b"} 6`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
	program.Close()
	if code, body := do(t, "GET", srv.URL+"/stats/prometheus"); code != 200 || !strings.Contains(body, "envoy_server_live 1") {
		t.Errorf("with the program down: %d\n%s", code, body)
	}
}

func TestRunOpensAndClosesItsSockets(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "admin.sock")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	s := New(Options{
		Socket: socket, Health: []string{"127.0.0.1:0"}, Log: slog.New(slog.DiscardHandler),
		Ready: func() (bool, string) { return true, "" },
	})
	go func() { done <- s.Run(ctx) }()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	for {
		req, err := http.NewRequestWithContext(ctx, "GET", "http://x/ready", nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := client.Do(req); err == nil {
			resp.Body.Close()
			break
		}
	}
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v %v", info.Mode(), err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := New(Options{API: []string{"256.0.0.1:1"}, Log: slog.New(slog.DiscardHandler)}).Run(t.Context()); err == nil {
		t.Error("an address that cannot be had is no error")
	}
}
