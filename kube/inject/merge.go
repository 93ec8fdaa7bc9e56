package inject

import (
	"encoding/json"
	"fmt"
	"strconv"
	"sync"

	"istio.io/api/annotation"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// podMeta says how lists of a Pod are merged: containers by their names, and so on.
var podMeta = sync.OnceValues(func() (strategicpatch.PatchMetaFromStruct, error) {
	return strategicpatch.NewPatchMetaFromStruct(corev1.Pod{})
})

// merge lays a tree over a pod, by the rules of kubectl's strategic merge.
func merge(pod *corev1.Pod, over map[string]any) (*corev1.Pod, error) {
	meta, err := podMeta()
	if err != nil {
		return nil, err
	}
	base, err := treeOf(pod)
	if err != nil {
		return nil, err
	}
	tree, err := strategicpatch.StrategicMergeMapPatchUsingLookupPatchMeta(base, over, meta)
	if err != nil {
		return nil, fmt.Errorf("cannot be merged: %w", err)
	}
	raw, err := json.Marshal(tree)
	if err != nil {
		return nil, err
	}
	out := &corev1.Pod{}
	if err := json.Unmarshal(raw, out); err != nil {
		return nil, fmt.Errorf("makes no Pod: %w", err)
	}
	return out, nil
}

// treeOf is a value as JSON, without what is null: nulls would remove.
func treeOf(v any) (map[string]any, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var tree map[string]any
	if err := json.Unmarshal(raw, &tree); err != nil {
		return nil, err
	}
	tree, _ = prune(tree).(map[string]any)
	return tree, nil
}

// status is what an injection has added: Istio's annotation.
type status struct {
	InitContainers   []string `json:"initContainers"`
	Containers       []string `json:"containers"`
	Volumes          []string `json:"volumes"`
	ImagePullSecrets []string `json:"imagePullSecrets"`
	Revision         string   `json:"revision"`
}

func statusOf(pod *corev1.Pod) *status {
	text := pod.Annotations[annotation.SidecarStatus.Name]
	if text == "" {
		return nil
	}
	s := &status{}
	if json.Unmarshal([]byte(text), s) != nil {
		return nil
	}
	return s
}

func (w *work) statusFor(added *corev1.Pod) status {
	s := status{Revision: revisionOf(w.settings.Revision)}
	for _, c := range added.Spec.InitContainers {
		s.InitContainers = append(s.InitContainers, c.Name)
	}
	for _, c := range added.Spec.Containers {
		s.Containers = append(s.Containers, c.Name)
	}
	for _, v := range added.Spec.Volumes {
		s.Volumes = append(s.Volumes, v.Name)
	}
	for _, p := range added.Spec.ImagePullSecrets {
		s.ImagePullSecrets = append(s.ImagePullSecrets, p.Name)
	}
	return s
}

// overrides are containers that a pod has itself under the names of injected ones: what
// it says of them counts. They are kept in an annotation, for a second injection.
type overrides struct {
	Containers     []corev1.Container `json:"containers,omitempty"`
	InitContainers []corev1.Container `json:"initContainers,omitempty"`
}

// overridesOf reads the annotation.
func overridesOf(pod *corev1.Pod) (o overrides) {
	if text := pod.Annotations[annotation.ProxyOverrides.Name]; text != "" {
		_ = json.Unmarshal([]byte(text), &o) // what is not readable was not written by an injector
	}
	return o
}

// strip is the pod without what an earlier injection added, and with what it had of its
// own under those names.
func (w *work) strip() *corev1.Pod {
	pod := w.r.Pod.DeepCopy()
	if w.before != nil {
		for _, name := range w.before.Containers {
			pod.Spec.Containers = without(pod.Spec.Containers, name)
		}
		for _, name := range w.before.InitContainers {
			pod.Spec.InitContainers = without(pod.Spec.InitContainers, name)
		}
		if port, ok := metricsNote(pod, notePort); ok && port == strconv.Itoa(w.agentPort()) {
			clearMetricsNotes(pod)
		}
		delete(pod.Annotations, annotation.SidecarStatus.Name)
	}
	o := overridesOf(pod)
	for _, c := range o.Containers {
		if find(pod.Spec.Containers, c.Name) == nil {
			pod.Spec.Containers = append(pod.Spec.Containers, c)
		}
	}
	for _, c := range o.InitContainers {
		if find(pod.Spec.InitContainers, c.Name) == nil {
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, c)
		}
	}
	return pod
}

// reapply lays what the pod says of injected containers over them once more: the
// templates were merged over that.
func (w *work) reapply(merged, added *corev1.Pod) (*corev1.Pod, error) {
	kept := overridesOf(w.r.Pod)
	var before status
	if w.before != nil {
		before = *w.before
	}
	var found overrides
	// own is the pod's own container of that name; nil: it has none, or it is what was
	// injected before, whose place the new one takes.
	own := func(name string, injected []string, known []corev1.Container, elsewhere ...[]corev1.Container) *corev1.Container {
		for _, n := range injected {
			if n == name {
				return nil
			}
		}
		c := find(known, name)
		for _, list := range elsewhere {
			if c == nil {
				c = find(list, name)
			}
		}
		if c == nil {
			return nil
		}
		c = c.DeepCopy()
		if c.Image == autoImage {
			c.Image = ""
		}
		return c
	}
	var err error
	for _, a := range added.Spec.Containers {
		if c := own(a.Name, before.Containers, kept.Containers, w.r.Pod.Spec.Containers); c != nil {
			found.Containers = append(found.Containers, *c)
			if merged, err = layContainer(merged, "containers", c); err != nil {
				return nil, err
			}
		}
	}
	for _, a := range added.Spec.InitContainers {
		if c := own(a.Name, before.InitContainers, kept.InitContainers, w.r.Pod.Spec.Containers, w.r.Pod.Spec.InitContainers); c != nil {
			found.InitContainers = append(found.InitContainers, *c)
			if merged, err = layContainer(merged, "initContainers", c); err != nil {
				return nil, err
			}
		}
	}
	if w.before == nil && (len(found.Containers) > 0 || len(found.InitContainers) > 0) {
		text, err := json.Marshal(found)
		if err != nil {
			return nil, err
		}
		if merged.Annotations == nil {
			merged.Annotations = map[string]string{}
		}
		merged.Annotations[annotation.ProxyOverrides.Name] = string(text)
	}
	w.alignUser(merged)
	return merged, nil
}

func layContainer(pod *corev1.Pod, list string, c *corev1.Container) (*corev1.Pod, error) {
	tree, err := treeOf(c)
	if err != nil {
		return nil, err
	}
	return merge(pod, map[string]any{"spec": map[string]any{list: []any{tree}}})
}

// alignUser lets what redirects leave out the user that the pod gives its proxy.
func (w *work) alignUser(pod *corev1.Pod) {
	own := proxyOf(w.r.Pod)
	if own == nil || own.SecurityContext == nil {
		return
	}
	user, group := own.SecurityContext.RunAsUser, own.SecurityContext.RunAsGroup
	redirects := find(pod.Spec.InitContainers, initName)
	check := find(pod.Spec.InitContainers, validationName)
	if w.mode == modeTPROXY {
		// Packets that are led on as they are need root.
		if c := proxyOf(pod); user != nil && c != nil && c.SecurityContext != nil {
			root := int64(0)
			c.SecurityContext.RunAsUser = &root
		}
	} else if check != nil {
		if check.SecurityContext == nil {
			check.SecurityContext = &corev1.SecurityContext{}
		}
		if user != nil {
			check.SecurityContext.RunAsUser = user
		}
		if group != nil {
			check.SecurityContext.RunAsGroup = group
		}
	}
	if user == nil || *user == 0 {
		return
	}
	if redirects == nil {
		redirects = check
	}
	if redirects == nil {
		return
	}
	for k := range len(redirects.Args) - 1 {
		if redirects.Args[k] == "-u" {
			redirects.Args[k+1] = strconv.FormatInt(*user, 10)
			return
		}
	}
}
