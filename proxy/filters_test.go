package proxy_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/net/http2"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/proxy"
	"github.com/weftmesh/weft/test/freeport"
)

// record writes the transcripts of testdata/filters anew, from the Envoy that
// WEFT_ENVOY names.
var record = flag.Bool("record", false, "ask Envoy what the filters' answers are")

// filterCase is a file of testdata/filters: a chain, routes, and requests. What
// Envoy 1.40 made of them stands beside it, NAME.txt.
type filterCase struct {
	Filters any `json:"http_filters"`
	// Host is added to the virtual host, Routes are before the usual one to the cluster up.
	Host   map[string]any `json:"virtual_host"`
	Routes []any          `json:"routes"`
	// Cluster is added to the clusters.
	Cluster  map[string]any `json:"cluster"`
	Requests []filterRequest
	// Stats is what statistics are shown, those that are 0 left out.
	Stats string
}

type filterRequest struct {
	Method, Path string
	Headers      map[string]string
	Body         string
	// Size makes a body of that many bytes, Chunked one without a length.
	Size    int
	Chunked bool
	// Encode compresses the body with gzip.
	Encode bool
	H2     bool `json:"h2"`
	// Admin asks the admin API instead, Closes shows whether the connection ends.
	Admin, Closes bool
	Trailers      map[string]string
}

// TestFiltersLikeEnvoy runs a proxy per file and compares what clients, upstream and
// statistics see with what Envoy did.
func TestFiltersLikeEnvoy(t *testing.T) {
	files, err := filepath.Glob("testdata/filters/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(f, ".yaml")
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Cleanup(func() { goleak.VerifyNone(t, goleak.IgnoreCurrent()) })
			raw, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			c := filterCase{}
			if err := yaml.UnmarshalStrict(raw, &c); err != nil {
				t.Fatal(err)
			}
			if *record {
				got := c.run(t, startEnvoy)
				if err := os.WriteFile(name+".txt", []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(name + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), c.run(t, startWeft)); d != "" {
				t.Errorf("-Envoy +Weft:\n%s", d)
			}
		})
	}
}

// run makes the requests and writes down what happens.
func (c *filterCase) run(t *testing.T, start func(*testing.T, string)) string {
	up := upstream(t)
	addr, admin := freeport.Addr(t), freeport.Addr(t)
	start(t, c.bootstrap(t, map[string]string{"addr": addr, "admin": admin, "up": up}))
	ready(t, admin, addr)
	var out strings.Builder
	h1 := &nethttp.Transport{DisableCompression: true}
	h2 := &http2.Transport{AllowHTTP: true, DisableCompression: true}
	h2.DialTLSContext = dialPlain
	defer func() { h1.CloseIdleConnections() }()
	defer h2.CloseIdleConnections()
	for i := range c.Requests {
		r := &c.Requests[i]
		if r.Admin {
			out.WriteString(r.do(t, h1, admin))
			continue
		}
		if r.H2 {
			out.WriteString(r.do(t, h2, addr))
			continue
		}
		out.WriteString(r.do(t, h1, addr))
		if r.Size > 0 { // it may have been refused: the connection is closed, but the client may not know yet
			h1.CloseIdleConnections()
			h1 = &nethttp.Transport{DisableCompression: true}
		}
	}
	if c.Stats != "" {
		out.WriteString("== statistics\n" + stats(t, admin, c.Stats))
	}
	return out.String()
}

func (r *filterRequest) do(t *testing.T, rt nethttp.RoundTripper, addr string) string {
	t.Helper()
	body := r.Body + strings.Repeat("x", r.Size)
	if r.Encode {
		body = gzipped(body)
	}
	var src io.Reader
	if body != "" {
		src = strings.NewReader(body)
		if r.Chunked {
			src = io.MultiReader(src)
		}
	}
	method := r.Method
	if method == "" {
		method = "GET"
	}
	req, err := nethttp.NewRequestWithContext(t.Context(), method, "http://"+addr+r.Path, src)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "host.example"
	req.Header.Set("User-Agent", "")
	for k, v := range r.Headers {
		if strings.EqualFold(k, "host") {
			req.Host = v
			continue
		}
		req.Header.Set(k, v)
	}
	for k, v := range r.Trailers {
		if req.Trailer == nil {
			req.Trailer = nethttp.Header{}
		}
		req.Trailer.Set(k, v)
	}
	res, err := rt.RoundTrip(req)
	head := fmt.Sprintf("== %s %s\n", method, r.Path)
	if err != nil {
		return head + "no response\n"
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	end := ""
	if err != nil {
		end = "cut off\n"
	}
	text := summary([]byte(printable(b)))
	if e := res.Header.Get("content-encoding"); e != "" && len(b) > 0 {
		text = decoded(t, e, b)
	}
	if r.Admin {
		return head + strconv.Itoa(res.StatusCode) + "\n" + string(b)
	}
	if r.Closes {
		end += fmt.Sprintf("closes: %v\n", res.Close)
	}
	return head + strconv.Itoa(res.StatusCode) + "\n" + lines(res.Header) + "\n" + strings.TrimRight(text, "\n") + "\n" + lines(res.Trailer) + end
}

// volatile are headers whose values are never the same. Date is left out: who
// makes it is no business of filters.
var volatile = []string{"X-Request-Id", "X-Envoy-Upstream-Service-Time"}

func lines(h nethttp.Header) string {
	var all []string
	for k, vs := range h {
		if k == "Date" {
			continue
		}
		for _, v := range vs {
			if slices.Contains(volatile, k) {
				v = "*"
			}
			all = append(all, strings.ToLower(k)+": "+v+"\n")
		}
	}
	slices.Sort(all)
	return strings.Join(all, "")
}

// stats are the statistics that match, as both print them.
func stats(t *testing.T, admin, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	var kept []string
	for l := range strings.Lines(get(admin, "/stats")) {
		name, v, ok := strings.Cut(strings.TrimSpace(l), ": ")
		if n, err := strconv.Atoi(v); ok && err == nil && n != 0 && re.MatchString(name) {
			kept = append(kept, name+": "+v+"\n")
		}
	}
	slices.Sort(kept)
	return strings.Join(kept, "")
}

// upstream tells the client what it was asked, or does what x-reply- headers say.
func upstream(t *testing.T) string {
	s := httptest.NewUnstartedServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if serve(w, r) {
			return
		}
		body, _ := io.ReadAll(r.Body)
		for k, v := range r.Header {
			if name, ok := strings.CutPrefix(k, "X-Reply-Header-"); ok {
				w.Header()[name] = v
				delete(r.Header, k)
			}
		}
		for k, v := range r.Header {
			if name, ok := strings.CutPrefix(k, "X-Reply-Trailer-"); ok {
				w.Header()[nethttp.TrailerPrefix+name] = v
			}
		}
		text := fmt.Sprintf("%s %s\nhost: %s\n%s", r.Method, r.RequestURI, r.Host, lines(r.Header))
		if len(body) > 100 {
			text += fmt.Sprintf("%d bytes\n", len(body))
		} else if len(body) > 0 {
			text += string(body) + "\n"
		}
		text += lines(r.Trailer)
		if b := r.Header.Get("X-Reply-Body"); b != "" {
			if u, err := url.QueryUnescape(b); err == nil {
				text = u
			}
		}
		if n, err := strconv.Atoi(r.Header.Get("X-Reply-Size")); err == nil {
			text = strings.Repeat("y", n)
		}
		if r.Header.Get("X-Reply-Gzip") != "" {
			text = gzipped(text)
		}
		if w.Header().Get("Content-Type") == "" {
			w.Header().Set("Content-Type", "text/plain")
		}
		if n, err := strconv.Atoi(r.Header.Get("X-Reply-Status")); err == nil {
			w.WriteHeader(n)
		}
		_, _ = io.WriteString(w, text)
	}))
	var p nethttp.Protocols
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	s.Config.Protocols = &p
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// bootstrap writes the configuration.
func (c *filterCase) bootstrap(t *testing.T, at map[string]string) string {
	t.Helper()
	socket := func(name string) map[string]any {
		host, port, _ := strings.Cut(at[name], ":")
		n, _ := strconv.Atoi(port)
		return map[string]any{"socket_address": map[string]any{"address": host, "port_value": n}}
	}
	const hcm = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
	filters, _ := c.Filters.([]any)
	filters = append(filters, map[string]any{
		"name": "router", "typed_config": map[string]any{"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
	})
	host := map[string]any{"name": "v", "domains": []any{"*"}}
	for k, v := range c.Host {
		host[k] = v
	}
	route := func(prefix, to string) any {
		return map[string]any{"match": map[string]any{"prefix": prefix}, "route": map[string]any{"cluster": to}}
	}
	host["routes"] = append(append([]any{}, c.Routes...), route("/h2", "up2"), route("/", "up"))
	cluster := func(name string) map[string]any {
		m := map[string]any{"name": name, "connect_timeout": "1s", "load_assignment": map[string]any{
			"cluster_name": name, "endpoints": []any{map[string]any{"lb_endpoints": []any{map[string]any{"endpoint": map[string]any{"address": socket("up")}}}}},
		}}
		for k, v := range c.Cluster {
			m[k] = v
		}
		return m
	}
	two := cluster("up2")
	two["typed_extension_protocol_options"] = map[string]any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": map[string]any{
		"@type":                "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
		"explicit_http_config": map[string]any{"http2_protocol_options": map[string]any{}},
	}}
	b, err := json.Marshal(map[string]any{
		"node":  map[string]any{"id": "n", "cluster": "c"},
		"admin": map[string]any{"address": socket("admin")},
		"static_resources": map[string]any{
			"clusters": []any{cluster("up"), two},
			"listeners": []any{map[string]any{"name": "l", "address": socket("addr"), "filter_chains": []any{map[string]any{"filters": []any{map[string]any{
				"name": "hcm", "typed_config": map[string]any{
					"@type": hcm, "stat_prefix": "test", "http_filters": filters, "http_protocol_options": map[string]any{"enable_trailers": true},
					"route_config": map[string]any{"name": "r", "virtual_hosts": []any{host}},
				},
			}}}}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "bootstrap.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func startWeft(t *testing.T, file string) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	p, err := proxy.New(proxy.Options{Bootstrap: file, Log: log, DrainTime: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		nethttp.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func startEnvoy(t *testing.T, file string) {
	t.Helper()
	bin := os.Getenv("WEFT_ENVOY")
	if bin == "" {
		t.Fatal("WEFT_ENVOY names no Envoy")
	}
	var log bytes.Buffer
	cmd := exec.CommandContext(t.Context(), bin, "-c", file, "--concurrency", "1", "-l", "warn", "--use-dynamic-base-id")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		nethttp.DefaultClient.CloseIdleConnections()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%.600s", log.String())
		}
	})
}

// ready waits until the proxy takes connections.
func ready(t *testing.T, admin, addr string) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); {
		if c, err := net.Dial("tcp", addr); err == nil && get(admin, "/ready") == "LIVE\n" {
			c.Close()
			return
		}
		select {
		case <-t.Context().Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Fatal("the proxy does not come up")
}

func dialPlain(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, addr)
}
