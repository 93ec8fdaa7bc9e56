package install

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/weftmesh/weft/control/source/file"
)

var update = flag.Bool("update", false, "rewrite what the code writes into the chart")

// TestChart: what of the chart follows from the code is what the code makes.
func TestChart(t *testing.T) {
	files, err := generated(file.NewDecoder())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		path := filepath.Join("chart", "templates", name)
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		have, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, string(have)); d != "" {
			t.Errorf("%s is not what the code makes (go test ./kube/install -update): %s", name, d)
		}
	}
}

func find(t *testing.T, list []*unstructured.Unstructured, kind string) *unstructured.Unstructured {
	t.Helper()
	i := slices.IndexFunc(list, func(u *unstructured.Unstructured) bool { return u.GetKind() == kind })
	if i < 0 {
		t.Fatalf("no %s", kind)
	}
	return list[i]
}

// TestObjects: values are where they belong, everything is in the namespace, and what is
// needed first comes first.
func TestObjects(t *testing.T) {
	list, err := Objects(Options{Namespace: "mesh", Values: Values{
		"replicas": int64(3), "image": "example.com/weft:v9", "tolerations": []any{map[string]any{"operator": "Exists"}}, "meshConfig": map[string]any{"accessLogFile": "/dev/stdout"},
		"imagePullSecrets": []any{"one"}, "nodeSelector": map[string]any{"a": "b"}, "injection": map[string]any{"revision": "canary"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for i, u := range list {
		if ns := u.GetNamespace(); ns != "" && ns != "mesh" {
			t.Errorf("%s is elsewhere", Title(u))
		}
		if u.GetLabels()[partLabel] != Part {
			t.Errorf("%s has no label %s", Title(u), partLabel)
		}
		if i > 0 && rank(list[i-1]) > rank(u) {
			t.Errorf("%s comes after %s", Title(u), Title(list[i-1]))
		}
		if rank(u) == len(order) {
			t.Errorf("%s has no place in the order", Title(u))
		}
	}
	d := find(t, list, "Deployment")
	if n, _, _ := unstructured.NestedInt64(d.Object, "spec", "replicas"); n != 3 {
		t.Errorf("%d replicas", n)
	}
	pod, _, _ := unstructured.NestedMap(d.Object, "spec", "template", "spec")
	if got := pod["tolerations"]; !cmp.Equal(got, []any{map[string]any{"operator": "Exists"}}) {
		t.Errorf("tolerations %v", got)
	}
	c := pod["containers"].([]any)[0].(map[string]any)
	if c["image"] != "example.com/weft:v9" {
		t.Errorf("image %v", c["image"])
	}
	for _, path := range [][]string{{"readOnlyRootFilesystem"}, {"allowPrivilegeEscalation"}} {
		got, _, _ := unstructured.NestedBool(c, append([]string{"securityContext"}, path...)...)
		if want := path[0] == "readOnlyRootFilesystem"; got != want {
			t.Errorf("%v is %v", path, got)
		}
	}
	if kind, _, _ := unstructured.NestedString(pod, "securityContext", "seccompProfile", "type"); kind != "RuntimeDefault" {
		t.Errorf("seccomp %q", kind)
	}
	config := find(t, list, "ConfigMap")
	if text, _, _ := unstructured.NestedString(config.Object, "data", "mesh"); text != "rootNamespace: mesh\naccessLogFile: /dev/stdout" {
		t.Errorf("mesh configuration %q", text)
	}
}

// TestValuesUnknown: a value that the chart does not have is named.
func TestValuesUnknown(t *testing.T) {
	if _, err := Objects(Options{Values: Values{"replica": 3}}); err == nil || !strings.Contains(err.Error(), `"replica"`) || !strings.Contains(err.Error(), "replicas") {
		t.Errorf("error %v", err)
	}
}

// TestRules: nothing is written that is not named, and secrets are written in one's own
// namespace only.
func TestRules(t *testing.T) {
	everywhere, own := Rules(file.NewDecoder())
	for _, r := range everywhere {
		writes := slices.ContainsFunc(r.Verbs, func(v string) bool { return !slices.Contains([]string{"get", "list", "watch"}, v) })
		status := !slices.ContainsFunc(r.Resources, func(n string) bool { return !strings.HasSuffix(n, "/status") })
		maps := slices.Equal(r.Resources, []string{"configmaps"}) && slices.Equal(r.Verbs, []string{"create"})
		if writes && len(r.ResourceNames) == 0 && !status && !maps {
			t.Errorf("%+v writes whatever it is called", r)
		}
		if slices.Contains(r.Resources, "*") || slices.Contains(r.Verbs, "*") || slices.Contains(r.APIGroups, "*") {
			t.Errorf("%+v is all", r)
		}
		if writes && slices.Contains(r.Resources, "secrets") {
			t.Errorf("%+v writes secrets of all namespaces", r)
		}
	}
	if len(own) == 0 {
		t.Error("nothing is made in its own namespace")
	}
}

// TestDifferences: what a server changes by itself is no difference.
func TestDifferences(t *testing.T) {
	have := map[string]any{
		"metadata": map[string]any{"generation": int64(1), "name": "a", "labels": map[string]any{"a.b/c": "d"}},
		"spec":     map[string]any{"replicas": int64(1), "list": []any{map[string]any{"name": "x", "image": "one"}}, "old": true},
		"status":   map[string]any{"x": "y"},
	}
	then := map[string]any{
		"metadata": map[string]any{"generation": int64(2), "name": "a", "labels": map[string]any{"a.b/c": "e"}},
		"spec":     map[string]any{"replicas": int64(2), "list": []any{map[string]any{"name": "x", "image": "two"}}},
	}
	want := []string{"metadata.labels.[a.b/c]: d → e", "spec.list[0].image: one → two", "spec.old: true → none", "spec.replicas: 1 → 2"}
	if d := cmp.Diff(want, differences(have, then)); d != "" {
		t.Error(d)
	}
	if got := differences(have, have); got != nil {
		t.Errorf("an object differs from itself: %v", got)
	}
}

// TestWriteChart: the chart that is written has the templates that are rendered here, and the
// values that were given.
func TestWriteChart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "weft")
	if err := WriteChart(dir, Options{Values: Values{"replicas": int64(5)}}, nil); err != nil {
		t.Fatal(err)
	}
	values, err := os.ReadFile(filepath.Join(dir, "values.yaml"))
	if err != nil || !strings.Contains(string(values), "replicas: 5") {
		t.Errorf("values %s: %v", values, err)
	}
	for _, name := range []string{"Chart.yaml", "templates/deployment.yaml", "templates/roles.yaml", "crds/weft.yaml"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if err := WriteChart(dir, Options{}, nil); err == nil {
		t.Error("a chart was overwritten")
	}
}
