package inject

import (
	"fmt"

	"istio.io/api/label"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// namespaceLabel says of a namespace whether its pods are injected; Istio's api module
// has no name for it.
const namespaceLabel = "istio-injection"

// DefaultRevision is the one that injects where only istio-injection is written.
const DefaultRevision = "default"

// Unselected says why the webhooks of a revision ("": the default one) leave a pod
// alone; "": they do not. These are Istio's rules: a namespace that says no has the last
// word, then the pod that says no, then the namespace that says yes, or the pod where the
// namespace says nothing.
func Unselected(revision string, namespace, pod map[string]string) string {
	own := revisionOf(revision)
	injection, hasInjection := namespace[namespaceLabel]
	rev, hasRev := namespace[label.IoIstioRev.Name]
	isDefault := own == DefaultRevision
	if pod[label.SidecarInject.Name] == "false" {
		return fmt.Sprintf("its label %s is false", label.SidecarInject.Name)
	}
	switch {
	case hasInjection && injection == "enabled":
		if isDefault {
			return ""
		}
		return fmt.Sprintf("its namespace has %s=enabled, which is for the default revision", namespaceLabel)
	case hasInjection:
		return fmt.Sprintf("its namespace has %s=%s", namespaceLabel, injection)
	case hasRev && rev == own:
		return ""
	case hasRev:
		return fmt.Sprintf("its namespace is of revision %s", rev)
	}
	podRev, hasPodRev := pod[label.IoIstioRev.Name]
	switch {
	case hasPodRev && podRev == own:
		return ""
	case hasPodRev:
		return fmt.Sprintf("it is of revision %s", podRev)
	case isDefault && pod[label.SidecarInject.Name] == "true":
		return ""
	}
	return fmt.Sprintf("neither its namespace (%s=enabled) nor itself (%s=true) asks for it", namespaceLabel, label.SidecarInject.Name)
}

func revisionOf(s string) string {
	if s == "" {
		return DefaultRevision
	}
	return s
}

// Webhooks are those of a revision, with the selectors that pick what Unselected does
// not leave alone; where they lead, and whether they may fail, is for who installs them.
// System is the control plane's own namespace, of which only gateways are asked about.
func Webhooks(revision, system string) []admissionv1.MutatingWebhook {
	own := revisionOf(revision)
	is := func(key string, values ...string) metav1.LabelSelectorRequirement {
		return metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpIn, Values: values}
	}
	not := func(key string, values ...string) metav1.LabelSelectorRequirement {
		return metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpNotIn, Values: values}
	}
	absent := func(key string) metav1.LabelSelectorRequirement {
		return metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpDoesNotExist}
	}
	inject, rev := label.SidecarInject.Name, label.IoIstioRev.Name
	// The API server labels every namespace by its name.
	quiet := not("kubernetes.io/metadata.name", append([]string{system}, never...)...)
	cluster := not("kubernetes.io/metadata.name", never...)
	hook := func(name string, namespace, object []metav1.LabelSelectorRequirement) admissionv1.MutatingWebhook {
		return admissionv1.MutatingWebhook{
			Name: name + ".sidecar-injector.weft.dev", NamespaceSelector: &metav1.LabelSelector{MatchExpressions: namespace}, ObjectSelector: &metav1.LabelSelector{MatchExpressions: object},
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{admissionv1.Create},
				Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}},
		}
	}
	type reqs = []metav1.LabelSelectorRequirement
	out := []admissionv1.MutatingWebhook{
		hook("rev.namespace", reqs{is(rev, own), absent(namespaceLabel), quiet}, reqs{not(inject, "false")}),
		hook("rev.object", reqs{absent(rev), absent(namespaceLabel), cluster}, reqs{not(inject, "false"), is(rev, own)}),
	}
	if own != DefaultRevision {
		return out
	}
	return append(out,
		hook("namespace", reqs{is(namespaceLabel, "enabled"), quiet}, reqs{not(inject, "false")}),
		hook("object", reqs{absent(namespaceLabel), absent(rev), cluster}, reqs{is(inject, "true"), absent(rev)}),
	)
}
