package inject_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/kube/inject"
)

var update = flag.Bool("update", false, "write what comes out into the archives that compare it")

// TestGoldens: each archive has input.yaml, and may have settings.yaml and mesh.yaml;
// what comes out is output.yaml and findings.
func TestGoldens(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d archives: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parts := map[string][]byte{}
			for _, f := range a.Files {
				parts[f.Name] = f.Data
			}
			output, findings := inject1(t, parts)
			if *update {
				set(a, "output.yaml", output)
				set(a, "findings", findings)
				if err := os.WriteFile(file, txtar.Format(a), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got, want := string(output), string(parts["output.yaml"]); got != want {
				t.Errorf("output is\n%s\nwant\n%s", got, want)
			}
			if got, want := string(findings), string(parts["findings"]); got != want {
				t.Errorf("findings are\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func set(a *txtar.Archive, name string, data []byte) {
	for i := range a.Files {
		if a.Files[i].Name == name {
			a.Files[i].Data = data
			return
		}
	}
	a.Files = append(a.Files, txtar.File{Name: name, Data: data})
}

func inject1(t *testing.T, parts map[string][]byte) (output, findings []byte) {
	t.Helper()
	s, err := inject.ParseSettings(parts["settings.yaml"])
	if err != nil {
		return nil, []byte("error: " + err.Error() + "\n")
	}
	mesh, err := inject.ParseMesh(parts["mesh.yaml"])
	if err != nil {
		t.Fatal(err)
	}
	i, err := inject.New(s, mesh)
	if err != nil {
		return nil, []byte("error: " + err.Error() + "\n")
	}
	var out, said bytes.Buffer
	found, err := i.Documents(bytes.NewReader(parts["input.yaml"]), &out, "default")
	for _, f := range found {
		fmt.Fprintln(&said, f.Code, f.Severity, f)
	}
	if err != nil {
		said.WriteString("error: " + err.Error() + "\n")
	}
	return out.Bytes(), said.Bytes()
}

// pod is a pod with one program.
func pod(change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "shop", Namespace: "default", Labels: map[string]string{"app": "shop"}, Annotations: map[string]string{}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:1"}}},
	}
	if change != nil {
		change(p)
	}
	return p
}

func injector(t *testing.T, s inject.Settings) *inject.Injector {
	t.Helper()
	i, err := inject.New(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func must(t *testing.T, i *inject.Injector, r inject.Request) inject.Outcome {
	t.Helper()
	if r.Namespace.Name == "" {
		r.Namespace.Name = "default"
	}
	got, err := i.Inject(r)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestDecide: which pods are never touched, and whose word counts.
func TestDecide(t *testing.T) {
	label := func(v string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Labels["sidecar.istio.io/inject"] = v }
	}
	note := func(v string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Annotations["sidecar.istio.io/inject"] = v }
	}
	both := func(p *corev1.Pod) { label("true")(p); note("false")(p) }
	gateway := func(p *corev1.Pod) { label("true")(p); p.Annotations["inject.istio.io/templates"] = "gateway" }
	host := func(p *corev1.Pod) { p.Spec.HostNetwork = true; label("true")(p) }
	selects := []metav1.LabelSelector{{MatchLabels: map[string]string{"app": "shop"}}}
	for name, c := range map[string]struct {
		pod       func(*corev1.Pod)
		namespace string
		set       inject.Settings
		reason    string
	}{
		"plain":                     {},
		"label false":               {pod: label("false"), reason: "its label sidecar.istio.io/inject is false"},
		"annotation false":          {pod: note("false"), reason: "its annotation sidecar.istio.io/inject is false"},
		"label before annotation":   {pod: both},
		"host network":              {pod: host, reason: "it has host networking"},
		"windows":                   {pod: func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }, reason: "it is for Windows"},
		"kube-system":               {pod: label("true"), namespace: "kube-system", reason: "no pod of the namespace kube-system is"},
		"control plane":             {pod: label("true"), namespace: "weft-system", reason: "of the control plane's namespace weft-system only gateways are"},
		"gateway of control plane":  {pod: gateway, namespace: "weft-system"},
		"policy disabled":           {set: inject.Settings{Policy: inject.PolicyDisabled}, reason: "the policy is disabled and it does not ask for it"},
		"policy disabled, asks":     {set: inject.Settings{Policy: inject.PolicyDisabled}, pod: label("true")},
		"never selector":            {set: inject.Settings{NeverInject: selects}, reason: "neverInjectSelector[0] matches its labels"},
		"never selector, asks":      {set: inject.Settings{NeverInject: selects}, pod: label("true")},
		"always selector":           {set: inject.Settings{AlwaysInject: selects, Policy: inject.PolicyDisabled}},
		"never before always":       {set: inject.Settings{AlwaysInject: selects, NeverInject: selects}, reason: "neverInjectSelector[0] matches its labels"},
		"an empty selector is none": {set: inject.Settings{NeverInject: []metav1.LabelSelector{{}}}},
	} {
		t.Run(name, func(t *testing.T) {
			p := pod(c.pod)
			if c.namespace != "" {
				p.Namespace = c.namespace
			}
			got := must(t, injector(t, c.set), inject.Request{Pod: p, Namespace: inject.Namespace{Name: p.Namespace}})
			if got.Reason != c.reason || (got.Pod == nil) != (c.reason != "") {
				t.Errorf("reason %q, injected %v; want %q", got.Reason, got.Pod != nil, c.reason)
			}
		})
	}
}

// TestWebhooksSelect: the selectors of the webhooks pick what Unselected does not leave
// alone, of all combinations of labels.
func TestWebhooksSelect(t *testing.T) {
	values := func(key string, list ...string) (out []map[string]string) {
		out = append(out, map[string]string{})
		for _, v := range list {
			out = append(out, map[string]string{key: v})
		}
		return out
	}
	joined := func(a, b []map[string]string) (out []map[string]string) {
		for _, x := range a {
			for _, y := range b {
				m := map[string]string{}
				for k, v := range x {
					m[k] = v
				}
				for k, v := range y {
					m[k] = v
				}
				out = append(out, m)
			}
		}
		return out
	}
	namespaces := joined(values("istio-injection", "enabled", "disabled", ""), values("istio.io/rev", "default", "canary"))
	pods := joined(values("sidecar.istio.io/inject", "true", "false", ""), values("istio.io/rev", "default", "canary"))
	some := 0
	for _, rev := range []string{"", "default", "canary"} {
		hooks := inject.Webhooks(rev, "weft-system")
		for _, ns := range namespaces {
			for _, p := range pods {
				picked := 0
				for _, h := range hooks {
					ns["kubernetes.io/metadata.name"] = "shop"
					if selects(t, h.NamespaceSelector, ns) && selects(t, h.ObjectSelector, p) {
						picked++
					}
				}
				why := inject.Unselected(rev, ns, p)
				if (why == "") != (picked > 0) || picked > 1 {
					t.Errorf("revision %q, namespace %v, pod %v: %d webhooks, but %q", rev, ns, p, picked, why)
				}
				some += picked
			}
		}
		for _, h := range hooks {
			for _, name := range []string{"kube-system", "weft-system"} {
				ns := map[string]string{"kubernetes.io/metadata.name": name, "istio-injection": "enabled"}
				if selects(t, h.NamespaceSelector, ns) {
					t.Errorf("revision %q: %s selects %s", rev, h.Name, name)
				}
			}
		}
	}
	if some == 0 {
		t.Error("nothing was picked")
	}
}

func selects(t *testing.T, s *metav1.LabelSelector, set map[string]string) bool {
	t.Helper()
	sel, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return sel.Matches(labels.Set(set))
}

// TestAgain: a pod that is injected once more is the same, with the native sidecar and
// without, with a proxy of its own, and as a gateway.
func TestAgain(t *testing.T) {
	probe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/up"}}}
	for name, change := range map[string]func(*corev1.Pod){
		"native":  nil,
		"classic": func(p *corev1.Pod) { p.Annotations["sidecar.istio.io/nativeSidecar"] = "false" },
		"own proxy": func(p *corev1.Pod) {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "istio-proxy", Image: "auto", Env: []corev1.EnvVar{{Name: "X", Value: "1"}}})
		},
		"gateway": func(p *corev1.Pod) {
			p.Annotations["inject.istio.io/templates"] = "gateway"
			p.Spec.Containers = []corev1.Container{{Name: "istio-proxy", Image: "auto"}}
		},
		"probes": func(p *corev1.Pod) {
			probe.HTTPGet.Port.IntVal = 8080
			p.Spec.Containers[0].ReadinessProbe = probe
			p.Annotations["prometheus.io/port"] = "9090"
		},
	} {
		t.Run(name, func(t *testing.T) {
			i := injector(t, inject.Settings{})
			before := pod(change)
			kept := before.DeepCopy()
			once := must(t, i, inject.Request{Pod: before}).Pod
			if !reflect.DeepEqual(before, kept) {
				t.Error("the pod that was given is changed")
			}
			twice := must(t, i, inject.Request{Pod: once}).Pod
			a, b := shownYAML(t, once), shownYAML(t, twice)
			if a != b {
				t.Errorf("once\n%s\ntwice\n%s", a, b)
			}
		})
	}
}

func shownYAML(t *testing.T, v any) string {
	t.Helper()
	raw, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestPatch: the patch makes the injected pod, and leaves alone what this program does
// not know.
func TestPatch(t *testing.T) {
	before := pod(func(p *corev1.Pod) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "second", ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{}}}})
		p.Spec.Containers[1].ReadinessProbe.TCPSocket.Port.IntVal = 9
		p.Spec.InitContainers = []corev1.Container{{Name: "setup"}}
		p.Spec.Volumes = []corev1.Volume{{Name: "data"}}
	})
	after := must(t, injector(t, inject.Settings{}), inject.Request{Pod: before}).Pod
	ops, err := inject.Patch(before, after)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(ops)
	if err != nil {
		t.Fatal(err)
	}
	patch, err := jsonpatch.DecodePatch(raw)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(before)
	if err != nil {
		t.Fatal(err)
	}
	// A field of a later Kubernetes.
	newer := strings.Replace(string(text), `"name":"second",`, `"name":"second","fromTheFuture":{"a":1},`, 1)
	out, err := patch.Apply([]byte(newer))
	if err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	if !strings.Contains(string(out), `"fromTheFuture":{"a":1}`) {
		t.Errorf("a field is lost: %s", out)
	}
	got := &corev1.Pod{}
	if err := json.Unmarshal(out, got); err != nil {
		t.Fatal(err)
	}
	if a, b := shownYAML(t, got), shownYAML(t, after); a != b {
		t.Errorf("patched\n%s\nwant\n%s", a, b)
	}
	if names := orderOf(got.Spec.InitContainers); !slices.Equal(names, []string{"istio-init", "istio-proxy", "setup"}) {
		t.Errorf("init containers are %v", names)
	}
}

func orderOf(list []corev1.Container) (out []string) {
	for _, c := range list {
		out = append(out, c.Name)
	}
	return out
}
