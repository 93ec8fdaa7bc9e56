package inject

import (
	"fmt"
	"slices"

	"istio.io/api/annotation"
	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// never are namespaces of which no pod is injected, whatever it says: what keeps the
// cluster and its storage alive does not wait for a mesh.
var never = []string{"kube-system", "kube-public", "kube-node-lease", "local-path-storage"}

// decide says why a pod is not injected; "": it is.
func (i *Injector) decide(r Request) string {
	s, ns := i.settings, r.Namespace
	if r.Pod.Spec.HostNetwork {
		// Redirection would be that of the node.
		return "it has host networking"
	}
	if r.Pod.Spec.OS != nil && r.Pod.Spec.OS.Name == corev1.Windows {
		return "it is for Windows"
	}
	if slices.Contains(never, ns.Name) {
		return fmt.Sprintf("no pod of the namespace %s is", ns.Name)
	}
	if ns.Name == s.SystemNamespace && !isGateway(r.Pod) {
		// The control plane may not wait for its own webhook.
		return fmt.Sprintf("of the control plane's namespace %s only gateways are", ns.Name)
	}
	if ns.Labels != nil {
		if why := Unselected(s.Revision, ns.Labels, r.Pod.Labels); why != "" {
			return why
		}
	}
	return i.ownWord(r.Pod)
}

// isGateway tells whether a pod asks to become a gateway.
func isGateway(pod *corev1.Pod) bool {
	return pod.Annotations[annotation.InjectTemplates.Name] == TemplateGateway && pod.Labels[label.SidecarInject.Name] == "true"
}

// ownWord is what the pod says of itself: its label before its annotation, then the
// selectors, then the policy.
func (i *Injector) ownWord(pod *corev1.Pod) string {
	s := i.settings
	word, where := pod.Annotations[annotation.SidecarInject.Name], "annotation"
	if l, ok := pod.Labels[label.SidecarInject.Name]; ok {
		word, where = l, "label"
	}
	switch word {
	case "true":
		return ""
	case "false":
		return fmt.Sprintf("its %s %s is false", where, label.SidecarInject.Name)
	}
	if k := match(s.NeverInject, pod.Labels); k >= 0 {
		return fmt.Sprintf("neverInjectSelector[%d] matches its labels", k)
	}
	if match(s.AlwaysInject, pod.Labels) >= 0 {
		return ""
	}
	if s.Policy == PolicyDisabled {
		return "the policy is " + string(PolicyDisabled) + " and it does not ask for it"
	}
	return ""
}

// match finds the first selector that matches; an empty one matches nothing.
func match(list []metav1.LabelSelector, set map[string]string) int {
	return slices.IndexFunc(list, func(l metav1.LabelSelector) bool {
		s, err := metav1.LabelSelectorAsSelector(&l)
		return err == nil && !s.Empty() && s.Matches(labels.Set(set))
	})
}
