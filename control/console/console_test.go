package console

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/cow"
	"github.com/weftmesh/weft/base/watch"
	"github.com/weftmesh/weft/control/fleet"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/control/serve"
	"github.com/weftmesh/weft/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// proxies are what the console is told of the fleet.
type proxies struct {
	events chan fleet.Event
	gone   chan struct{} // a subscriber has left
	reach  map[string]fleet.Reach
	// history is what was, by object, found when the Findings that there are came.
	history map[string]fleet.History
	found   time.Time
	learned map[string]time.Time
	state   *serve.State
}

func (p *proxies) Status() []fleet.ProxyStatus {
	return []fleet.ProxyStatus{{Name: "web-0", Namespace: "shop", Connected: true}}
}

func (p *proxies) Findings() []model.Finding {
	return []model.Finding{{Severity: model.Warning, Message: "from translation"}}
}

func (p *proxies) Config(proxy string) *serve.State {
	if proxy == "web-0.shop" {
		return p.state
	}
	return nil
}

func (p *proxies) Learned(model.Key) (map[string]time.Time, time.Duration) {
	return p.learned, time.Hour
}

func (p *proxies) Reach(keys []model.Key) map[model.Key]fleet.Reach {
	out := map[model.Key]fleet.Reach{}
	for _, k := range keys {
		if r, ok := p.reach[k.Name]; ok {
			out[k] = r
		}
	}
	return out
}

func (p *proxies) History(k model.Key, now []model.Finding) fleet.History {
	h := p.history[k.Name]
	for _, f := range now {
		h.Findings = append(h.Findings, fleet.Found{Finding: f, From: p.found})
	}
	return h
}

func (p *proxies) Subscribe() (<-chan fleet.Event, func()) {
	return p.events, func() { p.gone <- struct{}{} }
}

func (p *proxies) Members() []fleet.Member {
	return []fleet.Member{{ID: wire.NodeID{Type: wire.Sidecar, Name: "web-0", Namespace: "shop"}, OnDemand: true, Asked: map[string][]string{"a": {"x"}}}}
}

// objects are a store that does what the test says.
type objects struct {
	apply  func(data, name string) []Applied
	remove func(k model.Key) Applied
}

func (o objects) Apply(data []byte, name string) []Applied { return o.apply(string(data), name) }
func (o objects) Delete(k model.Key) Applied               { return o.remove(k) }

func (o objects) Remove(data []byte, name string) []Applied {
	return []Applied{{Object: model.Key{Kind: "Removed", Name: name + string(data)}, Result: "not found"}}
}

func (o objects) Raw(k model.Key, _ model.Origin) ([]byte, error) {
	if k.Name == "lost" {
		return nil, errors.New("the file has been removed")
	}
	return []byte("kind: " + string(k.Kind)), nil
}

// kit is a running console.
type kit struct {
	t         *testing.T
	socket    string
	snapshots watch.Cell[*model.Snapshot]
	proxies   *proxies
	objects   *objects
	said      []model.Delta
	client    *http.Client
	stop      func()
}

func start(t *testing.T) *kit {
	t.Helper()
	k := &kit{
		t: t, socket: filepath.Join(t.TempDir(), "c.sock"), objects: &objects{},
		proxies: &proxies{events: make(chan fleet.Event), gone: make(chan struct{}, 10)},
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "weft_test_total", Help: "A test."}))
	c := New(Options{
		Socket: k.socket, Snapshots: &k.snapshots, Proxies: k.proxies, Store: k.objects, Metrics: metrics, Version: "v1", Log: slog.New(slog.DiscardHandler),
		Said: func(context.Context) ([]model.Delta, error) { return k.said, nil },
	})
	k.client = &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			for {
				var d net.Dialer
				nc, err := d.DialContext(ctx, "unix", k.socket)
				if (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)) && ctx.Err() == nil {
					continue // Run has not got so far
				}
				return nc, err
			}
		},
	}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	k.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
		ended <- nil
	}
	t.Cleanup(k.stop)
	return k
}

// do sends a request and returns status and body.
func (k *kit) do(method, path, body string) (int, string) {
	k.t.Helper()
	resp := k.open(k.t.Context(), method, path, body)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		k.t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

func (k *kit) open(ctx context.Context, method, path, body string) *http.Response {
	k.t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, "http://weft"+path, strings.NewReader(body))
	if err != nil {
		k.t.Fatal(err)
	}
	resp, err := k.client.Do(req)
	if err != nil {
		k.t.Fatal(err)
	}
	return resp
}

// get decodes what a path answers.
func get[T any](k *kit, path string) (out T) {
	k.t.Helper()
	code, body := k.do(http.MethodGet, path, "")
	if code != http.StatusOK {
		k.t.Fatalf("%s: %d %s", path, code, body)
	}
	if err := json.Unmarshal([]byte(body), &out); err != nil {
		k.t.Fatalf("%s: %v in %s", path, err, body)
	}
	return out
}

func head(kind model.Kind, namespace, name string) model.Meta {
	return model.Meta{Key: model.Key{Kind: kind, Namespace: namespace, Name: name}, Origin: model.Origin{Source: "file", File: name + ".yaml", Line: 1}}
}

// mesh is a snapshot with one object of several kinds.
func mesh(version uint64, list ...model.Object) *model.Snapshot {
	s := &model.Snapshot{Version: version, Mesh: model.DefaultMesh()}
	objects := map[model.Key]model.Object{}
	defer func() { s.Objects = cow.Of(objects) }()
	for _, o := range list {
		objects[o.Head().Key] = o
		switch o := o.(type) {
		case *model.Service:
			s.Services = append(s.Services, o)
		case *model.Workload:
			s.Workloads = append(s.Workloads, o)
		case *model.PeerAuth:
			s.PeerAuths = append(s.PeerAuths, o)
		case *model.Process:
			s.Processes = append(s.Processes, o)
		case *model.RouteSet:
			s.Routes = append(s.Routes, o)
		}
	}
	return s
}

func TestOnlyItsUserMayOpenIt(t *testing.T) {
	k := start(t)
	k.do(http.MethodGet, "/v1/version", "")
	info, err := os.Lstat(k.socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	k.stop()
	if _, err := os.Lstat(k.socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the end the socket is still there: %v", err)
	}
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(at("file"), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	live, err := net.Listen("unix", at("live"))
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	dead, err := net.Listen("unix", at("dead"))
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	dead.Close()
	for name, says := range map[string]string{
		"new": "", "dead": "", "file": "file of another kind", "live": "another process answers", "no/such/folder": "no such file",
		strings.Repeat("long", 30): "invalid argument",
	} {
		l, err := Listen(t.Context(), at(name))
		if (err == nil) != (says == "") || err != nil && (!strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), at(name))) {
			t.Errorf("%s: %v, want an error that says %q", name, err, says)
		}
		if l != nil {
			l.Close()
		}
	}
	if raw, err := os.ReadFile(at("file")); err != nil || string(raw) != "precious" {
		t.Errorf("the file is now %q %v", raw, err)
	}
}

func TestServeTellsWhatIsWrong(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := Serve(t.Context(), l, http.NewServeMux(), slog.New(slog.DiscardHandler)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestBeforeTheFirstSnapshot(t *testing.T) {
	k := start(t)
	for _, path := range []string{"/ready", "/v1/objects", "/v1/services"} {
		if code, body := k.do(http.MethodGet, path, ""); code != http.StatusServiceUnavailable || body != `{"error":"no configuration yet"}`+"\n" {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	k.snapshots.Store(mesh(1))
	if code, _ := k.do(http.MethodGet, "/ready", ""); code != http.StatusOK {
		t.Errorf("/ready: %d with a snapshot", code)
	}
}

func TestErrorsHaveStatusAndText(t *testing.T) {
	k := start(t)
	k.snapshots.Store(mesh(1, &model.ServiceAccount{Meta: head(model.KindServiceAccount, "shop", "lost")}))
	k.proxies.state = &serve.State{Sets: map[string]*resource.Set{"x": resource.NewSet([]*resource.Resource{{Name: "odd", Body: &anypb.Any{TypeUrl: "type.googleapis.com/no.such.Message"}}})}}
	for _, tc := range []struct {
		method, path, body string
		code               int
		says               string
	}{
		{"GET", "/v1/config?proxy=ghost", "", 404, `no connected proxy "ghost"`},
		{"GET", "/v1/config?proxy=web-0.shop", "", 500, "odd: "},
		{"GET", "/v1/objects?name=lost&raw=true", "", 500, "ServiceAccount shop/lost: the file has been removed"},
		{"POST", "/v1/delete?kind=Service", "", 400, "a kind and a name"},
		{"POST", "/v1/delete?name=x", "", 400, "a kind and a name"},
		{"POST", "/v1/apply", strings.Repeat("#", bodyLimit+1), 413, "more than 16 MB"},
	} {
		code, body := k.do(tc.method, tc.path, tc.body)
		var e struct{ Error string }
		if err := json.Unmarshal([]byte(body), &e); err != nil || code != tc.code || !strings.Contains(e.Error, tc.says) {
			t.Errorf("%s %s: %d %s (%v), want %d that says %q", tc.method, tc.path, code, body, err, tc.code, tc.says)
		}
	}
	for path, want := range map[string]int{"GET /v1/apply": 405, "POST /v1/objects": 405, "GET /v1/nix": 404} {
		method, path, _ := strings.Cut(path, " ")
		if code, _ := k.do(method, path, ""); code != want {
			t.Errorf("%s %s: %d, want %d", method, path, code, want)
		}
	}
}

func TestPlainAnswers(t *testing.T) {
	k := start(t)
	k.snapshots.Store(mesh(1))
	if v := get[map[string]any](k, "/v1/version"); v["version"] != "v1" || v["pid"] != float64(os.Getpid()) {
		t.Errorf("version is %v", v)
	}
	if list := get[[]fleet.ProxyStatus](k, "/v1/proxies"); len(list) != 1 || list[0].Name != "web-0" {
		t.Errorf("proxies are %v", list)
	}
	for path, want := range map[string]string{"/metrics": "weft_test_total 0", "/debug/pprof/goroutine?debug=1": "goroutine profile"} {
		if code, body := k.do(http.MethodGet, path, ""); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d without %q", path, code, want)
		}
	}
	for _, path := range []string{"/v1/objects", "/v1/services"} {
		if code, body := k.do(http.MethodGet, path, ""); code != 200 || strings.TrimSpace(body) != "[]" {
			t.Errorf("%s of an empty mesh: %d %s, want []", path, code, body)
		}
	}
}

func TestFindings(t *testing.T) {
	k := start(t)
	s := mesh(1)
	s.Findings = []model.Finding{{Severity: model.Error, Message: "from the folder"}}
	k.snapshots.Store(s)
	list := get[[]model.Finding](k, "/v1/findings")
	if len(list) != 2 || list[0].Message != "from the folder" || list[1].Message != "from translation" {
		t.Errorf("got %v", list)
	}
}

func TestConfig(t *testing.T) {
	k := start(t)
	pack := func(url, name string) *resource.Resource {
		var m proto.Message = &clusterv3.Cluster{Name: name}
		if url == "a.Secret" {
			key := &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: "a private key"}}
			m = &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{PrivateKey: key}}}
		}
		raw, err := anypb.New(m)
		if err != nil {
			t.Fatal(err)
		}
		return &resource.Resource{Name: name, Version: "7", Body: raw}
	}
	k.proxies.state = &serve.State{Sets: map[string]*resource.Set{}}
	for url, names := range map[string][]string{"a.Cluster": {"x", "y"}, "a.ClusterLoadAssignment": {"x"}, "a.RouteConfiguration": {"80"}, "a.Secret": {"cert"}, "a.Host": {"h"}} {
		var list []*resource.Resource
		for _, n := range names {
			list = append(list, pack(url, n))
		}
		k.proxies.state.Sets[url] = resource.NewSet(list)
	}
	for q, want := range map[string][]string{
		"":                       {"Cluster x", "Cluster y", "Endpoint x", "Host h", "Route 80", "Secret cert"},
		"&type=cluster":          {"Cluster x", "Cluster y"},
		"&type=Endpoints":        {"Endpoint x"},
		"&type=route":            {"Route 80"},
		"&name=x":                {"Cluster x", "Endpoint x"},
		"&type=listener":         {},
		"&type=clusters&name=80": {},
	} {
		got := []string{}
		for _, r := range get[[]ConfigResource](k, "/v1/config?proxy=web-0.shop"+q) {
			got = append(got, r.Type+" "+r.Name)
			want := `{"name":"` + r.Name + `"}`
			if r.Type == "Secret" {
				want = `{"name":"cert","tlsCertificate":{"privateKey":{"inlineString":"[redacted]"}}}`
			}
			var body, wanted any
			if json.Unmarshal(r.Body, &body) != nil || json.Unmarshal([]byte(want), &wanted) != nil || !cmp.Equal(body, wanted) || r.Version != "7" {
				t.Errorf("%s %s: version %s, body %s, want %s", r.Type, r.Name, r.Version, r.Body, want)
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q, -want +got:\n%s", q, d)
		}
	}
}

// TestState: what the sources have said comes out as it was said, but for private keys.
func TestState(t *testing.T) {
	k := start(t)
	svc := &model.Service{Meta: head(model.KindService, "shop", "s"), Host: "s.shop"}
	secret := &model.Secret{Meta: head(model.KindSecret, "shop", "cert"), PrivateKey: model.PrivateBytes("a private key")}
	given := *svc
	given.AutoVIP, given.VIPs = true, []netip.Prefix{netip.MustParsePrefix("10.96.1.2/32")}
	k.snapshots.Store(mesh(7, &given))
	k.said = []model.Delta{{Source: "file", Upserts: []model.Object{svc, secret}, Findings: []model.Finding{{Message: "m"}}}, {Source: "process"}}
	got := get[State](k, "/v1/state")
	want := State{
		Version: "v1", Snapshot: 7, Families: []int{4, 6}, Proxies: k.proxies.Members(),
		Sources:   []StateSource{{"file", model.Objects{svc, secret.Sealed()}, []model.Finding{{Message: "m"}}}, {"process", model.Objects{}, nil}},
		Addresses: []StateAddress{{svc.Key, given.VIPs}},
	}
	text := cmp.Transformer("content", func(p model.PrivateBytes) string { return "as " + string(p) })
	if d := cmp.Diff(want, got, text, cmp.Comparer(func(a, b model.Lines) bool { return a.Equal(b) }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestObjects(t *testing.T) {
	k := start(t)
	route := &model.RouteSet{Meta: head(model.KindVirtualService, "shop", "r"), Hosts: []string{"a", "b"}}
	route.Labels = map[string]string{"x": "y"}
	s := mesh(1, route,
		&model.Service{Meta: head(model.KindService, "shop", "s"), Host: "s.shop"},
		&model.TrafficPolicySet{Meta: head(model.KindDestinationRule, "bank", "d"), Host: "d.bank"},
		&model.Gateway{Meta: head(model.KindGateway, "bank", "g"), Servers: []model.Server{{Hosts: []string{"h"}}, {Hosts: []string{"i"}}}},
		&model.ServiceAccount{Meta: head(model.KindServiceAccount, "bank", "lost")},
		&model.Mesh{Meta: head(model.KindMeshConfig, "istio-system", "istio")},
	)
	s.Findings = []model.Finding{{Object: route.Key, Message: "bad"}}
	k.snapshots.Store(s)
	for q, want := range map[string][]string{
		"": {
			"DestinationRule/bank/d d.bank", "Gateway/bank/g h,i", "MeshConfig/istio-system/istio ", "Service/shop/s s.shop",
			"ServiceAccount/bank/lost ", "VirtualService/shop/r a,b",
		},
		"?namespace=shop": {"Service/shop/s s.shop", "VirtualService/shop/r a,b"},
		"?kind=gateway":   {"Gateway/bank/g h,i"},
		"?kind=ConfigMap": {"MeshConfig/istio-system/istio "},
		"?kind=VirtualService&namespace=shop&name=R": {"VirtualService/shop/r a,b"},
		"?name=nix": {},
	} {
		got := []string{}
		for _, o := range get[[]ObjectSummary](k, "/v1/objects"+q) {
			got = append(got, o.Key.String()+" "+strings.Join(o.Hosts, ","))
			if o.Source != o.Name+".yaml:1" {
				t.Errorf("%s: source %s", o.Key, o.Source)
			}
			if (len(o.Findings) == 1) != (o.Key == route.Key) || (len(o.Labels) == 1) != (o.Key == route.Key) || o.Raw != "" {
				t.Errorf("%s: %+v", o.Key, o)
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q, -want +got:\n%s", q, d)
		}
	}
	for _, o := range get[[]ObjectSummary](k, "/v1/objects?raw=true&namespace=bank") {
		want := "kind: " + string(o.Kind)
		if o.Name == "lost" {
			want = "# ServiceAccount bank/lost: the file has been removed"
		}
		if o.Raw != want {
			t.Errorf("%s: raw %q, want %q", o.Key, o.Raw, want)
		}
	}
}

// lines are the values of a stream.
func lines[T any](t *testing.T, resp *http.Response) func() (T, bool) {
	t.Helper()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("stream: %s %s", resp.Status, resp.Header)
	}
	in := bufio.NewScanner(resp.Body)
	return func() (out T, ok bool) {
		t.Helper()
		if !in.Scan() {
			return out, false
		}
		if err := json.Unmarshal(in.Bytes(), &out); err != nil {
			t.Fatalf("%v in %q", err, in.Text())
		}
		return out, true
	}
}

func TestEventsStream(t *testing.T) {
	k := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	resp := k.open(ctx, http.MethodGet, "/v1/events", "")
	defer resp.Body.Close()
	line := lines[fleet.Event](t, resp)
	for n := range 3 {
		k.proxies.events <- fleet.Event{Proxies: n}
		if e, ok := line(); !ok || e.Proxies != n {
			t.Errorf("event %d is %+v %v", n, e, ok)
		}
	}
	cancel()
	<-k.proxies.gone // ends with the client

	resp = k.open(t.Context(), http.MethodGet, "/v1/events", "")
	defer resp.Body.Close()
	k.stop()
	<-k.proxies.gone // and with the server
	if _, ok := lines[fleet.Event](t, resp)(); ok {
		t.Error("an event after the end")
	}
}

func TestLocalStream(t *testing.T) {
	k := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	resp := k.open(ctx, http.MethodGet, "/v1/local", "")
	defer resp.Body.Close()
	line := lines[Local](t, resp)
	process := func(hash uint64, names ...string) (out []model.Object) {
		for _, n := range names {
			p := &model.Process{Meta: head(model.KindProcess, "shop", n), Command: []string{"./" + n}}
			p.Hash = hash
			out = append(out, p)
		}
		return out
	}
	for _, step := range []struct {
		version uint64
		objects []model.Object
	}{
		{1, process(1, "web")},
		{3, process(2, "web")},           // other content
		{4, process(2, "web", "worker")}, // one more
		{5, process(2, "web", "other")},  // another one with the same content
		{6, nil},
	} {
		s := mesh(step.version, step.objects...)
		if step.version == 3 {
			// What concerns nobody here is not sent.
			k.snapshots.Store(mesh(2, append(process(1, "web"), &model.RouteSet{Meta: head(model.KindVirtualService, "shop", "r")})...))
		}
		k.snapshots.Store(s)
		got, ok := line()
		if !ok || got.Version != step.version || len(got.Processes) != len(step.objects) || got.Mesh == nil {
			t.Errorf("version %d: %+v %v", step.version, got, ok)
		}
	}
	k.stop()
	if _, ok := line(); ok {
		t.Error("a line after the end")
	}
}

func TestApplyAndDelete(t *testing.T) {
	k := start(t)
	key := model.Key{Kind: model.KindService, Namespace: "shop", Name: "s"}
	k.snapshots.Store(mesh(1))
	k.objects.apply = func(data, name string) []Applied {
		k.snapshots.Store(mesh(2, &model.Service{Meta: model.Meta{Key: key}}))
		return []Applied{{Object: key, Result: "created", Findings: []model.Finding{{Message: name + " " + data}}}}
	}
	k.objects.remove = func(key model.Key) Applied { return Applied{Object: key, Result: "not found"} }
	for path, want := range map[string]Applied{
		"/v1/apply?name=f.yaml":                         {Object: key, Result: "created", Findings: []model.Finding{{Message: "f.yaml x: 1"}}},
		"/v1/delete?kind=Service&namespace=shop&name=s": {Object: key, Result: "not found"},
		"/v1/apply?delete=true&name=f":                  {Object: model.Key{Kind: "Removed", Name: "fx: 1"}, Result: "not found"},
	} {
		code, body := k.do(http.MethodPost, path, "x: 1")
		var got []Applied
		if err := json.Unmarshal([]byte(body), &got); err != nil || code != 200 || !cmp.Equal(got, []Applied{want}) {
			t.Errorf("%s: %d %s (%v), want %+v", path, code, body, err, want)
		}
	}
}

// TestSettle: an answer waits for the snapshot that has the change, and no longer.
func TestSettle(t *testing.T) {
	old := &model.RouteSet{Meta: head(model.KindVirtualService, "shop", "r")}
	fresh := &model.RouteSet{Meta: old.Meta}
	service := &model.Service{Meta: head(model.KindService, "shop", "s")}
	config := &model.Mesh{Meta: head(model.KindMeshConfig, "istio-system", "istio")}
	document := model.Key{Kind: model.KindConfigMap, Namespace: "istio-system", Name: "istio"}
	for _, tc := range []struct {
		name, result string
		object       model.Key
		after        *model.Snapshot // a second later
		want         time.Duration
	}{
		{"created", "created", service.Key, mesh(2, old, service), time.Second},
		{"configured", "configured", old.Key, mesh(2, fresh), time.Second},
		{"configuration of the mesh", "created", document, mesh(2, old, config), time.Second},
		{"deleted", "deleted", old.Key, mesh(2), time.Second},
		{"somebody else's change", "created", service.Key, mesh(2, fresh), settleBound},
		{"unchanged", "unchanged", old.Key, mesh(2, fresh), 0},
		{"invalid", "invalid", service.Key, mesh(2, old, service), 0},
		{"not found", "not found", service.Key, mesh(2, old, service), 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var snapshots watch.Cell[*model.Snapshot]
				before := mesh(1, old)
				snapshots.Store(before)
				c := New(Options{Snapshots: &snapshots, Metrics: prometheus.NewRegistry()})
				change := time.AfterFunc(time.Second, func() { snapshots.Store(tc.after) })
				defer change.Stop()
				begin := time.Now()
				c.settle(t.Context(), before, []Applied{{Object: tc.object, Result: tc.result}})
				if took := time.Since(begin); took != tc.want {
					t.Errorf("answered after %s, want %s", took, tc.want)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		var snapshots watch.Cell[*model.Snapshot]
		c := New(Options{Snapshots: &snapshots, Metrics: prometheus.NewRegistry()})
		c.settle(t.Context(), nil, []Applied{{Object: service.Key, Result: "created"}}) // nobody knows before the first
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		snapshots.Store(mesh(1))
		begin := time.Now()
		c.settle(ctx, snapshots.Load(), []Applied{{Object: service.Key, Result: "created"}})
		if took := time.Since(begin); took != 0 {
			t.Errorf("went on for %s after the author had gone", took)
		}
	})
}
