package up

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/control/fleet"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/host"
)

func key(kind model.Kind, name string) model.Meta {
	return model.Meta{Key: model.Key{Kind: kind, Namespace: "default", Name: name}}
}

func gateway(name string, selector map[string]string, ports ...uint16) *model.Gateway {
	g := &model.Gateway{Meta: key(model.KindGateway, name), Selector: selector}
	for _, p := range ports {
		g.Servers = append(g.Servers, model.Server{Port: p, Protocol: model.HTTP})
	}
	return g
}

func TestGatewaysThatNobodyProvides(t *testing.T) {
	ingress := map[string]string{"istio": "ingressgateway"}
	own := &model.Process{Meta: key(model.KindProcess, "own")}
	own.Labels = map[string]string{"gw": "own"}
	got := spec(console.Local{
		Gateways:  []*model.Gateway{gateway("a", ingress, 80, 443), gateway("b", ingress, 80), gateway("c", own.Labels, 90), gateway("d", nil, 91)},
		Processes: []*model.Process{own},
	}, host.EngineGo).Gateways
	if len(got) != 1 {
		t.Fatalf("gateways: %+v", got)
	}
	g := got[0]
	ports := []host.HostPort{{Port: 80, Scheme: "http"}, {Port: 443, Scheme: "http"}}
	if g.Name != "istio-ingressgateway" || g.Namespace != "istio-system" || g.Labels["istio"] != "ingressgateway" || !cmp.Equal(g.HostPorts, ports) {
		t.Errorf("got %+v", g)
	}
}

func TestProcesses(t *testing.T) {
	p := &model.Process{
		Meta: key(model.KindProcess, "web"), Command: []string{"./web"}, WorkingDir: "sub", Dir: "/shop", Replicas: 2,
		Env: []model.EnvVar{{Name: "A", Value: "b=c"}}, Ports: []model.ProcessPort{{Name: "http", Port: 8080}},
		Readiness: &model.Probe{HTTPPath: "/healthz", Port: 8080},
	}
	got := processSpec(p, host.EngineEnvoy)
	if got.Dir != "/shop/sub" || got.ServiceAccount != "default" || got.Engine != host.EngineEnvoy || got.Env[0] != "A=b=c" ||
		got.Readiness.HTTPPath != "/healthz" || got.Ports[0].Port != 8080 {
		t.Errorf("got %+v", got)
	}
	p.Engine, p.WorkingDir = host.EngineNone, "/abs"
	if got := processSpec(p, host.EngineEnvoy); got.Engine != host.EngineNone || got.Dir != "/abs" {
		t.Errorf("got %+v", got)
	}
}

func TestHostPortsOfServices(t *testing.T) {
	for _, c := range []struct {
		exposure model.Exposure
		nodePort uint16
		want     uint16
	}{{model.InMesh, 0, 0}, {model.OnLoadBalancer, 0, 80}, {model.OnNodePort, 30080, 30080}} {
		s := &model.Service{Name: "s", Exposure: c.exposure, Ports: []model.ServicePort{{Port: 80, Protocol: model.HTTP, NodePort: c.nodePort}}}
		if got := serviceSpec(s).Ports[0].HostPort.Port; got != c.want {
			t.Errorf("%v: host port %d, want %d", c.exposure, got, c.want)
		}
	}
}

func TestReport(t *testing.T) {
	var out bytes.Buffer
	r := newReport(&out, false)
	f := model.Finding{Severity: model.Error, Message: "is wrong", Remedy: "mend it"}
	r.findings([]model.Finding{f, f})
	r.event(fleet.Event{
		Why: []string{"VirtualService default/a changed (a.yaml)"}, Proxies: 3, Late: []string{"x"}, Millis: 7, Findings: []model.Finding{f},
		Rejected: []fleet.Rejection{{Proxy: "web-0.default", Error: "listener l: field f"}},
	})
	got := out.String()
	if n := strings.Count(got, "is wrong (mend it)"); n != 1 {
		t.Errorf("the finding is said %d times\n%s", n, got)
	}
	for _, want := range []string{"VirtualService default/a changed (a.yaml): 2 proxies updated in 7 ms", "no answer yet from x", "web-0.default rejected it: listener l: field f"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "\x1b") {
		t.Error("colour without being asked")
	}
}

// TestReportOfInstances: the host has a line for everyone that gets ready; what
// proxies then learn of it is news only once the mesh runs.
func TestReportOfInstances(t *testing.T) {
	event := func(why string, proxies int) fleet.Event { return fleet.Event{Why: []string{why}, Proxies: proxies} }
	for _, c := range []struct {
		name  string
		phase int32
		event fleet.Event
		said  bool
	}{
		{"at the start", starting, event("a-0 is ready", 14), false},
		{"an edit at the start", starting, event("VirtualService default/a changed (a.yaml)", 3), true},
		{"rejected at the start", starting, fleet.Event{Why: []string{"a-0 is new"}, Rejected: []fleet.Rejection{{}}}, true},
		{"later", running, event("a-0 is not ready", 14), true},
		{"later, of nobody's concern", running, event("a-0 is new", 0), false},
		{"at the end", ending, event("a-0 is gone", 14), false},
	} {
		var out bytes.Buffer
		r := newReport(&out, false)
		r.phase.Store(c.phase)
		r.event(c.event)
		if said := out.Len() > 0; said != c.said {
			t.Errorf("%s: said %q", c.name, out.String())
		}
	}
}

// TestBootstrapPatches: which of the patches of what proxies begin with are for a workload.
func TestBootstrapPatches(t *testing.T) {
	in := func(namespace string) model.Key {
		return model.Key{Kind: model.KindEnvoyFilter, Namespace: namespace, Name: "x"}
	}
	web := &model.Beginner{Namespace: "shop", Root: "istio-system", Labels: map[string]string{"app": "web"}, Metadata: begins(map[string]string{"RING": "outer"}, "shop")}
	edge := &model.Beginner{Namespace: "shop", Root: "istio-system", Labels: map[string]string{model.LabelGateway: "edge"}, Gateway: true}
	for name, tc := range map[string]struct {
		patch model.BootstrapPatch
		to    []*model.Beginner
	}{
		"all":                 {model.BootstrapPatch{Filter: in("istio-system"), Context: model.AnyContext}, []*model.Beginner{web, edge}},
		"another namespace":   {model.BootstrapPatch{Filter: in("bank"), Context: model.AnyContext}, nil},
		"sidecars":            {model.BootstrapPatch{Filter: in("shop"), Context: model.SidecarInbound}, []*model.Beginner{web}},
		"selector":            {model.BootstrapPatch{Filter: in("shop"), Context: model.AnyContext, Selector: map[string]string{"app": "web"}}, []*model.Beginner{web}},
		"metadata":            {model.BootstrapPatch{Filter: in("shop"), Context: model.AnyContext, Metadata: map[string]string{"RING": "outer", "NAMESPACE": "shop"}}, []*model.Beginner{web}},
		"other metadata":      {model.BootstrapPatch{Filter: in("shop"), Context: model.AnyContext, Metadata: map[string]string{"RING": "inner"}}, nil},
		"target":              {model.BootstrapPatch{Filter: in("shop"), Context: model.AnyContext, Gateways: []string{"edge"}}, []*model.Beginner{edge}},
		"another target":      {model.BootstrapPatch{Filter: in("shop"), Context: model.AnyContext, Gateways: []string{"other"}}, nil},
		"of a version of old": {model.BootstrapPatch{Filter: in("shop"), Context: model.AnyContext, ProxyVersion: "^1\\.2\\."}, nil},
	} {
		for _, b := range []*model.Beginner{web, edge} {
			if got := len(bootstrapPatches([]model.BootstrapPatch{tc.patch}, b)) == 1; got != slices.Contains(tc.to, b) {
				t.Errorf("%s: for the proxy with %v: %v", name, b.Labels, got)
			}
		}
	}
}
