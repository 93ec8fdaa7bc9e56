package inject

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	kyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/control/model"
)

// templatesOf is where the pods of each kind are described; a Pod describes itself.
var templatesOf = map[string][]string{
	"Pod": nil, "CronJob": {"spec", "jobTemplate", "spec", "template"},
	"Deployment": {"spec", "template"}, "StatefulSet": {"spec", "template"}, "DaemonSet": {"spec", "template"}, "ReplicaSet": {"spec", "template"},
	"ReplicationController": {"spec", "template"}, "Job": {"spec", "template"}, "DeploymentConfig": {"spec", "template"}, "Rollout": {"spec", "template"},
}

// groupsOf are the API groups of those kinds: others may have kinds of these names.
var groupsOf = map[string]string{
	"Pod": "", "ReplicationController": "", "CronJob": "batch", "Job": "batch", "DeploymentConfig": "apps.openshift.io", "Rollout": "argoproj.io",
	"Deployment": "apps", "StatefulSet": "apps", "DaemonSet": "apps", "ReplicaSet": "apps",
}

// maxDocument bounds one document; etcd takes less.
const maxDocument = 8 << 20

// Documents injects what runs pods among the YAML or JSON documents of in, and writes all
// to out; what runs none passes unchanged. Namespace is that of documents that name
// none. What Namespaces among the documents say of themselves counts; of others it is
// taken that they are injected. The Findings are about what was left as it was, and
// what of pods has no effect.
func (i *Injector) Documents(in io.Reader, out io.Writer, namespace string) ([]model.Finding, error) {
	reader := kyaml.NewYAMLReader(bufio.NewReader(io.LimitReader(in, maxDocument*16)))
	var docs [][]byte
	for {
		raw, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if len(raw) > maxDocument {
			return nil, fmt.Errorf("document %d is larger than %d MiB", len(docs)+1, maxDocument>>20)
		}
		docs = append(docs, raw)
	}
	f := &file{Injector: i, namespace: namespace, namespaces: namespacesOf(docs)}
	for k, raw := range docs {
		text, err := f.document(raw)
		if err != nil {
			return f.findings, fmt.Errorf("document %d: %w", k+1, err)
		}
		if k > 0 {
			text = append([]byte("---\n"), text...)
		}
		if !bytes.HasSuffix(text, []byte("\n")) {
			text = append(text, '\n')
		}
		if _, err := out.Write(text); err != nil {
			return f.findings, err
		}
	}
	return f.findings, nil
}

// file is what is known while documents are gone through.
type file struct {
	*Injector
	namespace  string
	namespaces map[string]Namespace
	findings   []model.Finding
}

// namespacesOf are the Namespaces among documents.
func namespacesOf(docs [][]byte) map[string]Namespace {
	out := map[string]Namespace{}
	for _, raw := range docs {
		var n corev1.Namespace
		if yaml.Unmarshal(raw, &n) != nil || n.Kind != "Namespace" || n.APIVersion != "v1" {
			continue
		}
		ns := Namespace{Name: n.Name, Labels: n.Labels, Annotations: n.Annotations}
		if ns.Labels == nil {
			ns.Labels = map[string]string{}
		}
		out[n.Name] = ns
	}
	return out
}

// document injects one document.
func (f *file) document(raw []byte) ([]byte, error) {
	var tree map[string]any
	if err := yaml.Unmarshal(raw, &tree); err != nil {
		// What is no object is not for us to judge.
		return raw, nil //nolint:nilerr // it passes unchanged
	}
	changed, err := f.object(tree)
	if err != nil || !changed {
		return raw, err
	}
	return yaml.Marshal(tree)
}

// object injects an object in its place, and tells whether it has.
func (f *file) object(tree map[string]any) (bool, error) {
	kind, _ := tree["kind"].(string)
	version, _ := tree["apiVersion"].(string)
	if kind == "List" && version == "v1" {
		return f.list(tree)
	}
	at, ok := templatesOf[kind]
	group, _, has := strings.Cut(version, "/")
	if !has {
		group = ""
	}
	if !ok || group != groupsOf[kind] && !(kind == "DeploymentConfig" && group == "") {
		return false, nil
	}
	template := tree
	for _, k := range at {
		if template, ok = template[k].(map[string]any); !ok {
			return false, fmt.Errorf("%s %s: %s is missing", kind, nameOf(tree), strings.Join(at, "."))
		}
	}
	r, err := f.request(tree, template, Owner{APIVersion: version, Kind: kind})
	if err != nil {
		return false, err
	}
	got, err := f.Inject(r)
	if err != nil && kind != "Pod" {
		err = fmt.Errorf("%s %s: %w", kind, nameOf(tree), err)
	}
	if err != nil {
		return false, err
	}
	key := model.Key{Kind: model.Kind(kind), Namespace: r.Namespace.Name, Name: r.Owner.Name}
	for _, x := range got.Findings {
		x.Object = key
		f.findings = append(f.findings, x)
	}
	if got.Pod == nil {
		f.findings = append(f.findings, model.Finding{
			Code: CodeNotInjected, Severity: model.Info, Object: key, Message: "is left as it is: " + got.Reason, Remedy: "nothing, if that is meant",
		})
		return false, nil
	}
	return true, f.replace(template, r.Pod, got.Pod)
}

func nameOf(tree map[string]any) string {
	meta, _ := tree["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	return name
}

// request makes the pod that an object describes.
func (f *file) request(tree, template map[string]any, owner Owner) (Request, error) {
	raw, err := json.Marshal(map[string]any{"metadata": template["metadata"], "spec": template["spec"]})
	if err != nil {
		return Request{}, err
	}
	pod := &corev1.Pod{}
	if err := json.Unmarshal(raw, pod); err != nil {
		return Request{}, fmt.Errorf("%s %s: the pod that it describes: %w", owner.Kind, nameOf(tree), err)
	}
	meta, _ := tree["metadata"].(map[string]any)
	space, _ := meta["namespace"].(string)
	owner.Name, owner.Namespace = nameOf(tree), space
	if pod.Namespace == "" {
		pod.Namespace = space
	}
	name := or(space, or(pod.Namespace, f.namespace))
	ns, ok := f.namespaces[name]
	if !ok {
		ns = Namespace{Name: name}
	}
	if owner.Kind == "Pod" {
		if o := ownerOf(pod, space); o.Kind != "Pod" {
			owner = o
		}
	}
	return Request{Pod: pod, Namespace: ns, Owner: owner}, nil
}

// replace changes the object as the pod was changed.
func (f *file) replace(template map[string]any, before, after *corev1.Pod) error {
	ops, err := Patch(before, after)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(ops)
	if err != nil {
		return err
	}
	patch, err := jsonpatch.DecodePatch(raw)
	if err != nil {
		return err
	}
	// The patch is of a whole pod: what a pod always has has to be there.
	whole, err := treeOf(before)
	if err != nil {
		return err
	}
	fill(whole, map[string]any{"metadata": template["metadata"], "spec": template["spec"]})
	text, err := json.Marshal(whole)
	if err != nil {
		return err
	}
	if text, err = patch.Apply(text); err != nil {
		return fmt.Errorf("BUG: the patch of %s: %w", title(before, before.Namespace), err)
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		return err
	}
	meta, _ := out["metadata"].(map[string]any)
	if original, _ := template["metadata"].(map[string]any); original["namespace"] == nil {
		delete(meta, "namespace")
	}
	template["metadata"], template["spec"] = meta, out["spec"]
	return nil
}

// fill adds what of more is not there: fields that this program does not know.
func fill(tree, more map[string]any) {
	for k, v := range more {
		old, ok := tree[k]
		switch {
		case !ok:
			if v != nil {
				tree[k] = v
			}
		default:
			a, isMap := old.(map[string]any)
			b, both := v.(map[string]any)
			if isMap && both {
				fill(a, b)
				continue
			}
			fillList(old, v)
		}
	}
}

func fillList(old, more any) {
	a, _ := old.([]any)
	b, _ := more.([]any)
	if len(a) != len(b) {
		return
	}
	for i := range a {
		x, ok := a[i].(map[string]any)
		y, ok2 := b[i].(map[string]any)
		if ok && ok2 {
			fill(x, y)
		}
	}
}

// list injects the items of a List.
func (f *file) list(tree map[string]any) (bool, error) {
	items, _ := tree["items"].([]any)
	some := false
	for k, x := range items {
		item, ok := x.(map[string]any)
		if !ok {
			continue
		}
		changed, err := f.object(item)
		if err != nil {
			return false, fmt.Errorf("items[%d]: %w", k, err)
		}
		some = some || changed
	}
	return some, nil
}
