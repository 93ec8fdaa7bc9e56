// Package install puts a mesh's control plane into a Kubernetes cluster, and takes it out
// again.
//
// There is one source of what is installed: the Helm chart in this folder, which is in the
// binary. Install renders its templates itself (they use a few functions only, see funcs), so
// that `weft install`, `weft install -o yaml` and Helm make the same objects. What a
// template cannot know, the permissions, is written into the chart from what the code asks
// for (see Rules); a test holds the two together.
//
// Objects are applied by the server (server-side apply), as the manager "weft-install":
// doing so twice changes nothing, and what others have set is theirs. Definitions of kinds
// that others have installed are left alone.
//
// It makes no certificates: the control plane makes its root when it first runs.
package install

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"text/template"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// DefaultNamespace is where the control plane is installed when nobody says otherwise.
const DefaultNamespace = "weft-system"

// Names of what is installed, and of what the control plane makes.
const (
	// Name is that of the Deployment, the Service, and most of the rest.
	Name = "weft-control"
	// Part is the value of partLabel on all objects.
	Part      = "weft"
	partLabel = "app.kubernetes.io/part-of"
)

//go:embed chart
var chart embed.FS

// Values are what the chart's values.yaml has, by its names. A nil value leaves the chart's.
type Values map[string]any

// Options are what is to be installed.
type Options struct {
	// Namespace of the control plane; "": DefaultNamespace.
	Namespace string
	// Values go over those of the chart.
	Values Values
}

// Objects are what is installed beside the definitions of kinds, in the order in which it is
// to be applied.
func Objects(o Options) ([]*unstructured.Unstructured, error) {
	if o.Namespace == "" {
		o.Namespace = DefaultNamespace
	}
	values, err := o.values()
	if err != nil {
		return nil, err
	}
	names, err := fs.Glob(chart, "chart/templates/*.yaml")
	if err != nil {
		return nil, err
	}
	out := []*unstructured.Unstructured{namespace(o.Namespace)}
	for _, name := range names {
		text, err := render(name, o.Namespace, values)
		if err != nil {
			return nil, err
		}
		list, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("BUG: chart: %s: %w", path.Base(name), err)
		}
		out = append(out, list...)
	}
	slices.SortStableFunc(out, func(a, b *unstructured.Unstructured) int { return rank(a) - rank(b) })
	return out, nil
}

// values are the chart's with the user's over them.
func (o Options) values() (Values, error) {
	raw, err := chart.ReadFile("chart/values.yaml")
	if err != nil {
		return nil, err
	}
	values := Values{}
	if err := yaml.Unmarshal(raw, &values); err != nil {
		return nil, fmt.Errorf("BUG: chart: values.yaml: %w", err)
	}
	var known []string
	for k := range values {
		known = append(known, k)
	}
	slices.Sort(known)
	for k, v := range o.Values {
		if !slices.Contains(known, k) {
			return nil, fmt.Errorf("value %q: want one of %s", k, strings.Join(known, ", "))
		}
		if v != nil {
			values[k] = v
		}
	}
	return values, nil
}

// namespace is the control plane's, which lets in only pods that ask for nothing special.
func namespace(name string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace"}}
	u.SetName(name)
	u.SetLabels(map[string]string{partLabel: Part, "pod-security.kubernetes.io/enforce": "restricted", "istio-injection": "disabled"})
	return u
}

// funcs are what the templates may use: those of Helm that have the same meaning here.
var funcs = template.FuncMap{
	"toYaml": func(v any) (string, error) {
		raw, err := yaml.Marshal(v)
		return strings.TrimSuffix(string(raw), "\n"), err
	},
	"nindent": func(n int, s string) string {
		pad := "\n" + strings.Repeat(" ", n)
		return pad + strings.ReplaceAll(s, "\n", pad)
	},
}

func render(name, namespace string, values Values) (string, error) {
	raw, err := chart.ReadFile(name)
	if err != nil {
		return "", err
	}
	t, err := template.New(path.Base(name)).Funcs(funcs).Option("missingkey=error").Parse(string(raw))
	if err != nil {
		return "", fmt.Errorf("BUG: chart: %w", err)
	}
	var out bytes.Buffer
	err = t.Execute(&out, map[string]any{"Values": map[string]any(values), "Release": map[string]any{"Namespace": namespace}})
	if err != nil {
		return "", fmt.Errorf("chart: %w", err)
	}
	return out.String(), nil
}

// parse reads documents.
func parse(text string) (out []*unstructured.Unstructured, err error) {
	for doc := range strings.SplitSeq(text, "\n---\n") {
		if strings.TrimSpace(doc) == "" {
			continue
		}
		raw, err := yaml.YAMLToJSON([]byte(doc))
		if err != nil {
			return nil, err
		}
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON(raw); err != nil {
			return nil, err
		}
		out = append(out, u)
	}
	return out, nil
}

// order is that of kinds: what others need comes first, and webhooks come last, so that
// they do not wait for who is not there yet.
var order = []string{
	"CustomResourceDefinition", "Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "Service", "Deployment",
	"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration",
}

func rank(u *unstructured.Unstructured) int {
	if i := slices.Index(order, u.GetKind()); i >= 0 {
		return i
	}
	return len(order)
}

// YAML writes objects as documents.
func YAML(list []*unstructured.Unstructured) ([]byte, error) {
	var out []byte
	for i, u := range list {
		doc, err := yaml.Marshal(u.Object)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", Title(u), err)
		}
		if i > 0 {
			out = append(out, "---\n"...)
		}
		out = append(out, doc...)
	}
	return out, nil
}

// Title is how an object is called: "Deployment weft-system/weft-control".
func Title(u *unstructured.Unstructured) string {
	if ns := u.GetNamespace(); ns != "" {
		return u.GetKind() + " " + ns + "/" + u.GetName()
	}
	return u.GetKind() + " " + u.GetName()
}
