package inject_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	meshpb "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/kube/inject"
	"github.com/weftmesh/weft/test/istiodata"
)

// istioCase is one of Istio's own test cases of injection: what its test sets beside the
// files.
type istioCase struct {
	in, want string
	set      func(*inject.Settings)
	mesh     func(*meshpb.MeshConfig)
	// values is a file of settings in Istio's shape.
	values string
	// failure is what an error says.
	failure string
	// webhook: kube-inject is not what it is about; the pod is asked about, in a
	// namespace of OpenShift.
	webhook bool
}

func classic(s *inject.Settings) { s.NativeSidecars = new(bool) }

func tproxy(m *meshpb.MeshConfig) {
	m.DefaultConfig.InterceptionMode = meshpb.ProxyConfig_TPROXY
}

func hold(s *inject.Settings) { s.HoldApplication = true }

func withCNI(s *inject.Settings) { s.CNI = &inject.CNI{} }

func multus(s *inject.Settings) { s.CNI = &inject.CNI{Multus: true} }

func status123(s *inject.Settings) {
	port := uint16(123)
	s.StatusPort = &port
	s.Readiness = inject.Probe{InitialDelay: 100, Period: 200, Failures: 300}
}

// istioCases are those that need more than their files; the others are found.
var istioCases = []istioCase{
	{in: "hello.yaml", want: "hello.yaml.cni.injected", set: func(s *inject.Settings) { withCNI(s); s.Network = "network1" }},
	{in: "hello.yaml", want: "hello.yaml.proxyImageName.injected", set: func(s *inject.Settings) {
		s.InitImage, s.Image = s.Image, "registry.istio.io/testing/proxyTest:latest"
	}},
	{in: "hello.yaml", want: "hello.yaml.proxyInitImageName.injected", set: func(s *inject.Settings) { s.InitImage = "registry.istio.io/testing/proxyInitTest:latest" }},
	{in: "hello.yaml", want: "hello-tproxy.yaml.injected", mesh: tproxy},
	{in: "hello.yaml", want: "hello-always.yaml.injected", set: func(s *inject.Settings) { s.ImagePullPolicy = corev1.PullAlways }},
	{in: "hello.yaml", want: "hello-never.yaml.injected", set: func(s *inject.Settings) { s.ImagePullPolicy = corev1.PullNever }},
	{in: "hello.yaml", want: "hello-old-version.yaml.injected", set: classic},
	{in: "format-duration.yaml", want: "format-duration.yaml.injected", mesh: func(m *meshpb.MeshConfig) { config(m, "drainDuration: 23s") }},
	{in: "traffic-params.yaml", want: "traffic-params.yaml.injected", set: func(s *inject.Settings) {
		s.Capture.IncludeOutboundIPRanges, s.Capture.ExcludeOutboundIPRanges = "127.0.0.1/24,10.96.0.1/24", "10.96.0.2/24,10.96.0.3/24"
		s.Capture.ExcludeInboundPorts, s.StatusPort = "4,5,6", new(uint16)
	}},
	{in: "status_params.yaml", want: "status_params.yaml.injected", set: status123},
	{in: "kubevirtInterfaces.yaml", want: "kubevirtInterfaces.yaml.injected", set: status123},
	{in: "reroute-virtual-interfaces.yaml", want: "reroute-virtual-interfaces.yaml.injected", set: status123},
	{in: "hello.yaml", want: "hello-image-secrets-in-values.yaml.injected", values: "hello-image-secrets-in-values.iop.yaml"},
	{in: "hello-image-pull-secret.yaml", want: "hello-multiple-image-secrets.yaml.injected", values: "hello-image-secrets-in-values.iop.yaml"},
	{in: "hello.yaml", want: "hello-template-in-values.yaml.injected", values: "hello-template-in-values.iop.yaml"},
	{in: "hello.yaml", want: "hello-mount-mtls-certs.yaml.injected", set: func(s *inject.Settings) { s.MountCerts = true }},
	{in: "hello.yaml", want: "hello-cncf-networks.yaml.injected", set: multus},
	{in: "hello-existing-cncf-networks.yaml", want: "hello-existing-cncf-networks.yaml.injected", set: multus},
	{in: "hello-existing-cncf-networks-json.yaml", want: "hello-existing-cncf-networks-json.yaml.injected", set: multus},
	{in: "hello.yaml", want: "hello.proxyHoldsApplication.yaml.injected", set: hold},
	{in: "hello-probes.yaml", want: "hello-probes.proxyHoldsApplication.yaml.injected", set: hold},
	{in: "hello-probes-noProxyHoldApplication-ProxyConfig.yaml", want: "hello-probes-noProxyHoldApplication-ProxyConfig.yaml.injected", set: hold},
	{in: "cronjob.yaml", want: "cronjob-old-version.yaml.injected", set: classic},
	{in: "daemonset.yaml", want: "daemonset-old-version.yaml.injected", set: classic},
	{in: "job.yaml", want: "job-old-version.yaml.injected", set: classic},
	{in: "pod.yaml", want: "pod-old-version.yaml.injected", set: classic},
	{in: "replicaset.yaml", want: "replicaset-old-version.yaml.injected", set: classic},
	{in: "statefulset.yaml", want: "statefulset-old-version.yaml.injected", set: classic},
	{in: "traffic-annotations-bad-includeipranges.yaml", failure: "includeOutboundIPRanges"},
	{in: "traffic-annotations-bad-excludeipranges.yaml", failure: "excludeOutboundIPRanges"},
	{in: "traffic-annotations-bad-includeinboundports.yaml", failure: "includeInboundPorts"},
	{in: "traffic-annotations-bad-excludeinboundports.yaml", failure: "excludeInboundPorts"},
	{in: "traffic-annotations-bad-excludeoutboundports.yaml", failure: "excludeOutboundPorts"},
	{in: "traffic-annotations.yaml", want: "traffic-annotations.yaml.injected", mesh: func(m *meshpb.MeshConfig) {
		m.DefaultConfig.ProxyMetadata = map[string]string{"ISTIO_META_TLS_CLIENT_KEY": "/etc/identity/client/keys/client-key.pem"}
	}},
	{in: "proxy-override-args.yaml", want: "proxy-override-args-native.yaml.injected"},
	{in: "proxy-override-runas.yaml", want: "proxy-override-runas.yaml.cni.injected", set: withCNI},
	{in: "proxy-override-runas.yaml", want: "proxy-override-runas.yaml.tproxy.injected", mesh: tproxy},
	{in: "native-sidecar.yaml", want: "native-sidecar-old-version.yaml.injected", set: classic},
	{in: "native-sidecar-opt-in.yaml", want: "native-sidecar-opt-in.yaml.injected", set: classic},
	{in: "custom-template.yaml", want: "custom-template.yaml.injected", values: "custom-template.iop.yaml"},
	{in: "merge-probers.yaml", want: "merge-probers.yaml.injected", set: hold},
	{in: "hello-tracing-disabled.yaml", want: "hello-tracing-disabled.yaml.injected", mesh: func(m *meshpb.MeshConfig) { m.DefaultConfig.Tracing = &meshpb.Tracing{} }},
	{in: "hello-openshift.yaml", want: "hello-openshift.yaml.injected", set: withCNI, webhook: true},
	{in: "hello-openshift-custom-injection.yaml", want: "hello-openshift-custom-injection.yaml.injected", set: withCNI, webhook: true},
	{in: "hello-openshift-tproxy.yaml", want: "hello-openshift-tproxy.yaml.injected", set: withCNI, webhook: true},
	{in: "hello-probes-localhost.yaml", want: "hello-probes-localhost.yaml.injected", mesh: func(m *meshpb.MeshConfig) {
		m.InboundTrafficPolicy = &meshpb.MeshConfig_InboundTrafficPolicy{Mode: meshpb.MeshConfig_InboundTrafficPolicy_LOCALHOST}
	}},
	{in: "proxy-resources-null.yaml", want: "proxy-resources-null.yaml.injected", values: "proxy-resources-null.iop.yaml"},
	{in: "proxy-resources-null-no-init.yaml", want: "proxy-resources-null-no-init.yaml.injected", values: "proxy-resources-null.iop.yaml"},
	{in: "proxy-resources-zero.yaml", want: "proxy-resources-zero.yaml.injected", values: "proxy-resources-zero.iop.yaml"},
	{in: "proxy-resources-memory-null.yaml", want: "proxy-resources-memory-null.yaml.injected", values: "proxy-resources-memory-null.iop.yaml"},
	{in: "proxy-resources-mixed-null.yaml", want: "proxy-resources-mixed-null.yaml.injected", values: "proxy-resources-mixed-null.iop.yaml"},
	{in: "sidecar-spire.yaml", want: "sidecar-spire.yaml.injected", values: "spire-template.iop.yaml"},
	{in: "gateway-spire.yaml", want: "gateway-spire.yaml.injected", values: "spire-template.iop.yaml"},
	{in: "hello-otel-semconv.yaml", want: "hello-otel-semconv.yaml.injected", mesh: func(m *meshpb.MeshConfig) {
		m.ExtensionProviders = append(m.ExtensionProviders, &meshpb.MeshConfig_ExtensionProvider{
			Name: "otel", Provider: &meshpb.MeshConfig_ExtensionProvider_Opentelemetry{Opentelemetry: &meshpb.MeshConfig_ExtensionProvider_OpenTelemetryTracingProvider{
				Service: "otel-collector.observability.svc.cluster.local", Port: 4317,
				ServiceAttributeEnrichment: meshpb.MeshConfig_ExtensionProvider_OTEL_SEMANTIC_CONVENTIONS,
			}},
		})
	}},
}

// notOurs are cases about what Weft does not have, see docs/INJECTION.md.
var notOurs = []string{"hello-fips-140-3.yaml.injected"}

func config(m *meshpb.MeshConfig, text string) {
	own, err := inject.ParseMesh([]byte("defaultConfig: {" + text + "}"))
	if err != nil {
		panic(err)
	}
	m.DefaultConfig = own.DefaultConfig
}

// istioSettings are what Istio's chart sets, in Weft's words.
func istioSettings() inject.Settings {
	s := inject.Defaults()
	s.Image, s.InitImage = "registry.istio.io/testing/proxyv2:latest", "registry.istio.io/testing/proxyv2:latest"
	s.AgentImage = s.Image
	s.ControlPlane, s.CAAddress, s.SystemNamespace, s.CAConfigMap = "istiod.istio-system.svc:15012", "istiod.istio-system.svc:15012", "istio-system", "istio-ca-root-cert"
	s.Resources = &corev1.ResourceRequirements{
		Requests: corev1.ResourceList{"cpu": resource.MustParse("100m"), "memory": resource.MustParse("128Mi")},
		Limits:   corev1.ResourceList{"cpu": resource.MustParse("2"), "memory": resource.MustParse("1Gi")},
	}
	return s
}

// readValues reads what of Istio's values the cases use.
func readValues(t *testing.T, file string, s *inject.Settings) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Spec struct {
			Values struct {
				Global struct {
					ImagePullSecrets []string
					Proxy            struct{ Resources any }
				}
				SidecarInjectorWebhook struct{ Templates map[string]string }
			}
		}
	}
	if err := yaml.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	s.ImagePullSecrets, s.Templates = v.Spec.Values.Global.ImagePullSecrets, v.Spec.Values.SidecarInjectorWebhook.Templates
	if r := v.Spec.Values.Global.Proxy.Resources; r != nil {
		text, err := yaml.Marshal(map[string]any{"resources": overDefaults(r)})
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := inject.ParseSettings(text)
		if err != nil {
			t.Fatal(err)
		}
		s.Resources = parsed.Resources
	}
}

// overDefaults is what Helm makes of values: they are laid over the chart's.
func overDefaults(over any) map[string]any {
	out := map[string]any{"requests": map[string]any{"cpu": "100m", "memory": "128Mi"}, "limits": map[string]any{"cpu": "2000m", "memory": "1024Mi"}}
	for k, v := range over.(map[string]any) {
		maps.Copy(out[k].(map[string]any), v.(map[string]any))
	}
	return out
}

// TestIstiosInjection: each of Istio's inputs is injected to the same meaning, but for
// the differences that docs/INJECTION.md lists; each of these is seen.
func TestIstiosInjection(t *testing.T) {
	dir := filepath.Join(istiodata.Dir(t), "pkg/kube/inject/testdata/inject")
	listed := readDifferences(t)
	ran := 0
	for _, c := range findCases(t, dir) {
		name := c.want
		if name == "" {
			name = c.in
		}
		t.Run(name, func(t *testing.T) {
			ran++
			runIstio(t, dir, name, c, listed)
		})
	}
	if ran < 100 {
		t.Errorf("only %d cases were run", ran)
	}
	for _, d := range listed {
		if !d.seen && !t.Failed() {
			t.Errorf("docs/INJECTION.md lists a difference that is none: %s %s", d.file, d.field)
		}
	}
}

func findCases(t *testing.T, dir string) []istioCase {
	t.Helper()
	cases := slices.Clone(istioCases)
	known := map[string]bool{}
	for _, c := range cases {
		known[c.want] = true
	}
	for _, n := range notOurs {
		known[n] = true
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) < 80 {
		t.Fatalf("%d files in %s: %v", len(files), dir, err)
	}
	for _, f := range files {
		in := filepath.Base(f)
		want := in + ".injected"
		if _, err := os.Stat(f + ".injected"); err != nil || known[want] || strings.HasSuffix(in, ".iop.yaml") {
			continue
		}
		known[want] = true
		cases = append(cases, istioCase{in: in, want: want})
	}
	outputs, err := filepath.Glob(filepath.Join(dir, "*.injected"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range outputs {
		if !known[filepath.Base(f)] {
			t.Errorf("no case is about %s", filepath.Base(f))
		}
	}
	return cases
}

func runIstio(t *testing.T, dir, name string, c istioCase, listed []*difference) {
	t.Helper()
	s, mesh := istioSettings(), inject.DefaultMesh()
	if c.values != "" {
		readValues(t, filepath.Join(dir, c.values), &s)
	}
	if c.set != nil {
		c.set(&s)
	}
	if c.mesh != nil {
		c.mesh(mesh)
	}
	i, err := inject.New(s, mesh)
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.ReadFile(filepath.Join(dir, c.in))
	if err != nil {
		t.Fatal(err)
	}
	if c.webhook {
		in = append([]byte("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: test-ns\n  labels: {istio-injection: enabled}\n  annotations:\n    openshift.io/sa.scc.uid-range: 1000620000/10000\n---\n"), in...)
	}
	var out bytes.Buffer
	_, err = i.Documents(bytes.NewReader(in), &out, "default")
	if c.failure != "" {
		if err == nil || !strings.Contains(err.Error(), c.failure) {
			t.Fatalf("error %v, want one about %q", err, c.failure)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(dir, c.want))
	if err != nil {
		t.Fatal(err)
	}
	got := meanings(t, out.Bytes())
	if c.webhook {
		got = got[1:]
	}
	expected := meanings(t, want)
	if len(got) != len(expected) {
		t.Fatalf("%d documents, want %d", len(got), len(expected))
	}
	for k := range got {
		for _, d := range diff("", expected[k], got[k]) {
			if !allowed(listed, name, d) {
				t.Errorf("%s", d)
			}
		}
	}
}

// difference is a row of the table in docs/INJECTION.md.
type difference struct {
	file, field string
	pattern     *regexp.Regexp
	seen        bool
}

func readDifferences(t *testing.T) (out []*difference) {
	t.Helper()
	raw, err := os.ReadFile("../../docs/INJECTION.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(raw), "| in | field | why |\n|---|---|---|\n")
	if !ok {
		t.Fatal("docs/INJECTION.md has no table of differences")
	}
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) < 3 {
			break
		}
		code := func(s string) string { return strings.Trim(strings.TrimSpace(s), "`") }
		d := &difference{file: code(cells[0]), field: code(cells[1])}
		d.pattern = regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(d.field), `\*`, ".*") + "$")
		out = append(out, d)
	}
	return out
}

func allowed(listed []*difference, name string, d change) bool {
	hit := false
	for _, l := range listed {
		if matched, _ := filepath.Match(l.file, name); matched && l.pattern.MatchString(d.path) {
			l.seen, hit = true, true
		}
	}
	return hit
}

// meanings reads documents; what only looks different is made the same: lists of named
// things are by name (the order of containers stays), JSON in text is read.
func meanings(t *testing.T, text []byte) (out []any) {
	t.Helper()
	for doc := range strings.SplitSeq("\n"+string(text), "\n---") {
		var v any
		if err := yaml.Unmarshal([]byte(doc), &v); err != nil {
			t.Fatalf("%v in %s", err, doc)
		}
		if v != nil {
			out = append(out, meaning(v))
		}
	}
	return out
}

func meaning(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			if m := meaning(x); !empty(m) {
				out[k] = m
			}
			if (k == "containers" || k == "initContainers") && x != nil {
				out[k+".order"] = namesOf(x)
			}
		}
		return out
	case []any:
		if byName := named(v); byName != nil {
			return byName
		}
		var out []any
		for _, x := range v {
			out = append(out, meaning(x))
		}
		return out
	case string:
		var parsed any
		if t := strings.TrimSpace(v); strings.HasPrefix(t, "{") || strings.HasPrefix(t, "[") {
			if json.Unmarshal([]byte(t), &parsed) == nil {
				return meaning(parsed)
			}
		}
	}
	return v
}

func empty(v any) bool {
	if v == nil || v == "" {
		return true
	}
	r := reflect.ValueOf(v)
	return (r.Kind() == reflect.Map || r.Kind() == reflect.Slice) && r.Len() == 0
}

func namesOf(v any) (out []any) {
	list, _ := v.([]any)
	for _, x := range list {
		m, _ := x.(map[string]any)
		out = append(out, m["name"])
	}
	return out
}

func named(list []any) map[string]any {
	out := map[string]any{}
	for _, x := range list {
		m, ok := x.(map[string]any)
		name, has := m["name"].(string)
		if meta, isObject := m["metadata"].(map[string]any); isObject {
			name, has = fmt.Sprintf("%v %v", m["kind"], meta["name"]), true
		}
		if !ok || !has {
			return nil
		}
		if at, ok := m["mountPath"].(string); ok {
			name += " " + at
		}
		out[name] = meaning(m)
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// change is one field that is not the same.
type change struct {
	path        string
	istio, weft any
}

func (c change) String() string {
	return fmt.Sprintf("%s:\n  istio %v\n  weft  %v", c.path, shown(c.istio), shown(c.weft))
}

func shown(v any) string {
	raw, _ := json.Marshal(v)
	return string(raw)
}

func diff(at string, istio, weft any) (out []change) {
	if reflect.DeepEqual(istio, weft) {
		return nil
	}
	a, ok := istio.(map[string]any)
	b, ok2 := weft.(map[string]any)
	if !ok || !ok2 {
		return []change{{strings.TrimPrefix(at, "."), istio, weft}}
	}
	keys := maps.Clone(a)
	maps.Copy(keys, b)
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		out = append(out, diff(at+"."+k, a[k], b[k])...)
	}
	return out
}
