package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	prom "github.com/prometheus/common/model"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/control/fleet"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/wire"
)

// runs are run directories below a folder.
type runs struct{ root string }

func (r runs) Dir(name string) string { return filepath.Join(r.root, name) }

func (r runs) List() []string {
	entries, err := os.ReadDir(r.root)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// serve answers a path on a socket of a mesh's with a value, or what a function returns.
func serve(t *testing.T, dir, socket string, answers map[string]any) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, socket))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if v, ok := answers[r.URL.Path]; ok {
			if f, ok := v.(func() any); ok {
				v = f()
			}
			_ = json.NewEncoder(w).Encode(v)
			return
		}
		w.WriteHeader(http.StatusNotFound)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": "no such thing"})
	})}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
}

// run executes one command.
func run(t *testing.T, r RunDirs, args ...string) (string, error) {
	t.Helper()
	e := &Env{Runs: r}
	for _, c := range e.Commands() {
		if c.Name() != args[0] {
			continue
		}
		var out bytes.Buffer
		c.SetOut(&out)
		c.SetErr(&out)
		c.SilenceUsage, c.SilenceErrors = true, true
		c.SetArgs(args[1:])
		err := c.ExecuteContext(t.Context())
		return out.String(), err
	}
	t.Fatalf("no command %s", args[0])
	return "", nil
}

func TestExitCodes(t *testing.T) {
	none := runs{t.TempDir()}
	if _, err := run(t, none, "status"); Code(err) != CodeNoMesh {
		t.Errorf("without a mesh: %v", err)
	}
	two := runs{t.TempDir()}
	for _, name := range []string{"a", "b"} {
		serve(t, two.Dir(name), wire.SupervisorSocket, nil)
	}
	if _, err := run(t, two, "status"); Code(err) != CodeUsage || !strings.Contains(err.Error(), "a, b") {
		t.Errorf("with two meshes: %v", err)
	}
	if _, err := run(t, two, "get", "bananas"); Code(err) != CodeUsage {
		t.Errorf("an unknown kind: %v", err)
	}
	if Code(errors.New("x")) != CodeFailed || Code(nil) != 0 {
		t.Error("plain errors are 1, none is 0")
	}
}

func TestStatusIsHealthy(t *testing.T) {
	for name, c := range map[string]struct {
		applied   bool
		instances []wire.Instance
		want      int
		says      string
	}{
		"nothing to run":                        {true, []wire.Instance{}, 0, ""},
		"nobody knows yet what is to run":       {false, []wire.Instance{}, CodeNotHealthy, ""},
		"something restarts":                    {true, []wire.Instance{{Name: "x", State: "restarting"}}, CodeNotHealthy, "restarting"},
		"all are ready":                         {true, []wire.Instance{{Name: "x", State: "ready"}}, 0, "ready"},
		"the first is ready, others to be made": {true, []wire.Instance{{Name: "x", State: "ready"}, {Name: "y", State: "starting"}}, CodeNotHealthy, "starting"},
	} {
		t.Run(name, func(t *testing.T) {
			r := runs{t.TempDir()}
			serve(t, r.Dir("m"), wire.SupervisorSocket, map[string]any{
				"/v1/mesh": wire.MeshInfo{Name: "m", Applied: c.applied}, "/v1/instances": c.instances,
			})
			serve(t, r.Dir("m"), wire.ConsoleSocket, map[string]any{"/v1/services": []any{}, "/v1/proxies": []any{}, "/v1/findings": []any{}, "/v1/registries": []model.RegistryStatus{}})
			out, err := run(t, r, "status")
			if Code(err) != c.want || !strings.Contains(out, c.says) {
				t.Errorf("exit code %d, want %d\n%s", Code(err), c.want, out)
			}
		})
	}
}

// TestApplyTellsWhatItBreaks: what is wrong since is said, with other objects too; what was
// wrong before, and has only moved, is not.
func TestApplyTellsWhatItBreaks(t *testing.T) {
	finding := func(name, message string, line int) model.Finding {
		return model.Finding{
			Code: "WEFT0201", Severity: model.Error, Object: model.Key{Kind: model.KindVirtualService, Namespace: "default", Name: name}, Message: message,
			Origin: model.Origin{File: "x.yaml", Line: line},
		}
	}
	applied := false
	r := runs{t.TempDir()}
	serve(t, r.Dir("m"), wire.SupervisorSocket, nil)
	serve(t, r.Dir("m"), wire.ConsoleSocket, map[string]any{
		"/v1/findings": func() any {
			if !applied {
				return []model.Finding{finding("old", "is as wrong as ever", 1)}
			}
			return []model.Finding{finding("old", "is as wrong as ever", 9), finding("other", "there is no subset v3", 4)}
		},
		"/v1/apply": func() any {
			applied = true
			return []console.Applied{{Object: model.Key{Kind: model.KindDestinationRule, Namespace: "default", Name: "reviews"}, Result: "unchanged"}}
		},
	})
	file := filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(file, []byte("kind: x"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := run(t, r, "apply", "-f", file)
	if err != nil || !strings.Contains(out, "VirtualService default/other: there is no subset v3") || strings.Contains(out, "as ever") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestNothingIsSaid: an empty answer is a word on standard error, and valid output.
func TestNothingIsSaid(t *testing.T) {
	r := runs{t.TempDir()}
	serve(t, r.Dir("m"), wire.SupervisorSocket, nil)
	serve(t, r.Dir("m"), wire.ConsoleSocket, map[string]any{"/v1/objects": []any{}})
	for _, args := range [][]string{{"get", "vs"}, {"get", "vs", "-o", "yaml"}, {"status", "vs"}} {
		if out, err := run(t, r, args...); err != nil || strings.TrimSpace(out) != noObjects {
			t.Errorf("%v: %v, %q", args, err, out)
		}
	}
	if out, err := run(t, r, "get", "vs", "-o", "json"); err != nil || strings.TrimSpace(out) != "[]" {
		t.Errorf("-o json: %v, %q", err, out)
	}
}

// TestStatusSaysWhatIsCaptured: and of which objects a refused resource was made.
func TestStatusSaysWhatIsCaptured(t *testing.T) {
	r := runs{t.TempDir()}
	serve(t, r.Dir("m"), wire.SupervisorSocket, map[string]any{
		"/v1/mesh":      wire.MeshInfo{Name: "m", Applied: true, Capture: "redirect", CaptureRange: wire.CaptureVIP, VIPs: []string{"10.96.0.0/16"}},
		"/v1/instances": []any{},
	})
	key := model.Key{Kind: model.KindVirtualService, Namespace: "default", Name: "reviews"}
	serve(t, r.Dir("m"), wire.ConsoleSocket, map[string]any{
		"/v1/services": []any{}, "/v1/findings": []any{}, "/v1/registries": []any{},
		"/v1/proxies": []fleet.ProxyStatus{{Name: "web-0", Namespace: "default", Connected: true, Types: map[string]fleet.TypeStatus{
			wire.TypeRoute: {Error: "9080: no", Causes: []model.Key{key}},
		}}},
	})
	out, err := run(t, r, "status")
	for _, part := range []string{"capture redirect of services only, at 10.96.0.0/16 (--capture-range vip)", "rejected: 9080: no (made of VirtualService default/reviews)"} {
		if Code(err) != CodeNotHealthy || !strings.Contains(out, part) {
			t.Errorf("%v: no %q in\n%s", err, part, out)
		}
	}
}

func TestProxiesAreCalled(t *testing.T) {
	i := &wire.Instance{Name: "web-0", Namespace: "shop"}
	for name, want := range map[string]bool{"web-0": true, "web-0.shop": true, "shop/web-0": true, "gateway/web-0": true, "web": false, "web-0.other": false} {
		if called(i.Name, i.Namespace, name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

func TestParseKind(t *testing.T) {
	for in, want := range map[string]string{
		"vs": "VirtualService", "virtualservices": "VirtualService", "DestinationRule": "DestinationRule",
		"peerauthentications": "PeerAuthentication", "serviceentries": "ServiceEntry", "processes": "Process", "authorizationpolicies": "AuthorizationPolicy",
	} {
		if got, err := ParseKind(in); err != nil || string(got) != want {
			t.Errorf("%s: %s %v, want %s", in, got, err, want)
		}
	}
}

func TestTable(t *testing.T) {
	table := &Table{Head: []string{"NAME", "N"}}
	table.Row("größer", 1)
	table.Row("x", Cell{"", Good})
	var plain, colour bytes.Buffer
	table.Write(&plain, false)
	table.Write(&colour, true)
	if diff := cmp.Diff("NAME    N\ngrößer  1\nx       -\n", plain.String()); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(colour.String(), string(Good)+"-") {
		t.Errorf("no colour in %q", colour.String())
	}
}

// TestQuantile has values that histogram_quantile gives for the same buckets.
func TestQuantile(t *testing.T) {
	b := buckets{1: 10, 5: 30, 10: 40, math.Inf(1): 40}
	for q, want := range map[float64]float64{.25: 1, .5: 3, .75: 5, .99: 9.8} {
		if got := b.quantile(q); math.Abs(got-want) > 1e-9 {
			t.Errorf("%v: %v, want %v", q, got, want)
		}
	}
	if !math.IsNaN((buckets{}).quantile(.5)) {
		t.Error("no samples have a quantile")
	}
	if got := (buckets{1: 1, math.Inf(1): 10}).quantile(.99); got != 1 {
		t.Errorf("beyond the last bound: %v, want that bound", got)
	}
}

func families(t *testing.T, text string) map[string]*dto.MetricFamily {
	t.Helper()
	p := expfmt.NewTextParser(prom.UTF8Validation)
	f, err := p.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestEdges(t *testing.T) {
	client := sample{families: families(t, `
istio_requests_total{reporter="source",source_workload="web",destination_service_name="reviews",destination_version="v1",request_protocol="http",response_code="200"} 30
istio_requests_total{reporter="source",source_workload="web",destination_service_name="reviews",destination_version="v1",request_protocol="http",response_code="503"} 10
istio_requests_total{reporter="source",source_workload="web",destination_service_name="reviews",destination_version="v3",request_protocol="http",response_code="200"} 7
istio_requests_total{reporter="source",source_workload="web",destination_service_name="reviews",destination_version="unknown",request_protocol="http",response_code="503"} 3
istio_requests_total{reporter="source",source_workload="web",destination_service_name="shop",destination_version="latest",request_protocol="http",response_code="200"} 2
`)}
	server := sample{families: families(t, `
istio_requests_total{reporter="destination",source_workload="web",destination_service_name="reviews",destination_version="v1",request_protocol="http",response_code="200",connection_security_policy="mutual_tls"} 40
istio_requests_total{reporter="destination",source_workload="web",destination_service_name="reviews",destination_version="v3",request_protocol="http",response_code="200",connection_security_policy="mutual_tls"} 19
istio_requests_total{reporter="destination",source_workload="unknown",destination_service_name="reviews",destination_version="v1",request_protocol="http",response_code="200",connection_security_policy="none"} 4
istio_requests_total{reporter="destination",source_workload="web",destination_service_name="shop",destination_version="unknown",request_protocol="http",response_code="200",connection_security_policy="mutual_tls"} 2
`)}
	sums, secure := map[edgeKey]*edgeSum{}, map[edgeKey]bool{}
	for _, s := range []sample{client, server} {
		s.addRequests(sums)
		s.secured(secure, map[edgeKey]bool{})
	}
	before := map[edgeKey]*edgeSum{
		// From before v3 became a mirror, and when there was no instance.
		{"web", "reviews", "v3", "http"}: {client: sideSum{requests: 7}, server: sideSum{requests: 7}},
		{"web", "reviews", "", "http"}:   {client: sideSum{requests: 3, failed: 3}},
	}
	list := between(before, sums, 2*time.Second)
	if len(list) != 4 {
		t.Fatalf("edges: %+v", list)
	}
	for _, e := range list {
		k := edgeKey{e.Source, e.Destination, e.Version, e.Protocol}
		switch e.Source + e.Version {
		case "web": // no version: the client's side calls it "latest"
			if e.Destination != "shop" || e.Rate != 1 || !secure[k] {
				t.Errorf("shop: %+v, secure %v", e, secure[k])
			}
		case "webv3": // copies of requests: only the server's side counts them
			if e.Rate != 6 || e.Success != 1 || !secure[k] {
				t.Errorf("mirror: %+v, secure %v", e, secure[k])
			}
		case "webv1":
			if e.Rate != 20 || e.Success != .75 || !secure[k] {
				t.Errorf("web: %+v, secure %v", e, secure[k])
			}
		case "unknownv1": // a client without a sidecar: the server's word counts
			if e.Rate != 2 || secure[k] {
				t.Errorf("unknown: %+v, secure %v", e, secure[k])
			}
		}
	}
}

func TestHistogramsAddUp(t *testing.T) {
	h := &dto.Histogram{SampleCount: proto.Uint64(4), Bucket: []*dto.Bucket{
		{UpperBound: proto.Float64(1), CumulativeCount: proto.Uint64(3)}, {UpperBound: proto.Float64(math.Inf(1)), CumulativeCount: proto.Uint64(4)},
	}}
	b := buckets{}
	b.add(h, 1)
	b.add(h, 1)
	b.add(h, -1)
	if b[1] != 3 || b[math.Inf(1)] != 4 {
		t.Errorf("got %v", b)
	}
}

func TestPauseEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := pause(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestReadiness: the status of a Process says what its instances are at.
func TestReadiness(t *testing.T) {
	list := []wire.Instance{
		{Name: "a-0", Namespace: "shop", App: "a", Kind: "process", State: "ready"},
		{Name: "a-1", Namespace: "shop", App: "a", Kind: "process", State: "restarting", Message: "stat nope: no such file"},
		{Name: "b-0", Namespace: "shop", App: "b", Kind: "process", State: "ready"},
		{Name: "c", Namespace: "shop", App: "c", Kind: "gateway", State: "starting"},
	}
	for name, want := range map[string]string{
		"a": "False NotReady 1 of 2 instances: a-1 is restarting (stat nope: no such file)",
		"b": "True Ready 1 of 1 instances", "c": "Unknown NoInstance no instance of it runs here",
	} {
		o := console.ObjectSummary{Key: model.Key{Kind: model.KindProcess, Namespace: "shop", Name: name}}
		if c := readiness(&o, list); c.Type != "Ready" || c.Status+" "+c.Reason+" "+c.Message != want {
			t.Errorf("%s: %+v, want %s", name, c, want)
		}
	}
}
