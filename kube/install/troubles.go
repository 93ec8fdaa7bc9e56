package install

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// podKind is that of pods.
var podKind = schema.GroupVersionKind{Version: "v1", Kind: "Pod"}

// troubles says what keeps the pods of a Deployment from being ready.
func (i *Installer) troubles(ctx context.Context, u *unstructured.Unstructured) string {
	pods, err := i.Client.Resource(podKind, u.GetNamespace())
	if err != nil {
		return ""
	}
	list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: selector(u)})
	if err != nil {
		return ""
	}
	var out strings.Builder
	if _, why := condition(u, "ReplicaFailure"); why != "" {
		fmt.Fprintf(&out, "; %s", why)
	}
	for k := range list.Items {
		p := &list.Items[k]
		if why := waiting(p); why != "" {
			fmt.Fprintf(&out, "; pod %s: %s", p.GetName(), why)
		} else if status, why := condition(p, "PodScheduled"); status == "False" {
			fmt.Fprintf(&out, "; pod %s: %s", p.GetName(), why)
		}
	}
	return out.String()
}

// selector finds the pods of a Deployment.
func selector(u *unstructured.Unstructured) string {
	labels, _, _ := unstructured.NestedStringMap(u.Object, "spec", "selector", "matchLabels")
	return metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: labels})
}

// waiting says what the containers of a pod wait for, or how they ended.
func waiting(p *unstructured.Unstructured) string {
	list, _, _ := unstructured.NestedSlice(p.Object, "status", "containerStatuses")
	for _, c := range list {
		m, _ := c.(map[string]any)
		for _, state := range []string{"state", "lastState"} {
			for _, how := range []string{"waiting", "terminated"} {
				s, _, _ := unstructured.NestedMap(m, state, how)
				if reason, _ := s["reason"].(string); reason != "" && reason != "ContainerCreating" {
					message, _ := s["message"].(string)
					return strings.TrimSpace(reason + " " + strings.TrimSpace(message))
				}
			}
		}
	}
	return ""
}
