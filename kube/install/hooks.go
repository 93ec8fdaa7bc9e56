package install

import (
	"strings"

	admission "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/kube/inject"
)

// placeholder stands for the namespace, which Helm fills in.
const placeholder = "{{ .Release.Namespace }}"

// injecting is the template of the injector's webhooks: whom they are asked about is the
// injector's to say. While nobody answers, the pods that they are about do not start: without
// their proxy they would be reachable past all policies.
func injecting() (string, error) {
	path, port, fail, none, seconds, scope := "/inject", int32(443), admission.Fail, admission.SideEffectClassNone, int32(10), admission.NamespacedScope
	hooks := inject.Webhooks("", placeholder)
	for i := range hooks {
		h := &hooks[i]
		h.ClientConfig.Service = &admission.ServiceReference{Namespace: placeholder, Name: Name, Path: &path, Port: &port}
		h.FailurePolicy, h.SideEffects, h.TimeoutSeconds, h.AdmissionReviewVersions = &fail, &none, &seconds, []string{"v1"}
		for r := range h.Rules {
			h.Rules[r].Scope = &scope
		}
	}
	text, err := yaml.Marshal(map[string]any{
		"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "webhooks": hooks,
		"metadata": map[string]any{"name": "weft-inject", "labels": map[string]string{"app.kubernetes.io/name": Name, partLabel: Part}},
	})
	if err != nil {
		return "", err
	}
	const head = "# Made of whom the injector is for: go test ./kube/install -update\n"
	return head + strings.ReplaceAll(string(text), "'"+placeholder+"'", placeholder), nil
}
