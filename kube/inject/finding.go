package inject

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"istio.io/api/annotation"
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/control/model"
)

// Codes of what is found out about a pod.
const (
	CodeNoEffect    = "WEFT0490" // an annotation without effect
	CodeOld         = "WEFT0491" // a deprecated annotation
	CodeUnknown     = "WEFT0492" // no annotation of that name, for pods
	CodeUser        = "WEFT0493" // a program that runs as the proxy's user
	CodeDNS         = "WEFT0494" // names that do not lead to the control plane
	CodeNotInjected = "WEFT0495" // a workload that was left as it is
	CodeRefused     = "WEFT0496" // a pod that cannot be injected as it asks
)

// findings are about what of the pod has no effect, or one that its author may not want.
func (w *work) findings() []model.Finding {
	var out []model.Finding
	add := func(code string, severity model.Severity, where, remedy, format string, args ...any) {
		out = append(out, model.Finding{
			Code: code, Severity: severity, Object: model.Key{Kind: "Pod", Namespace: w.r.Namespace.Name, Name: podName(w.r.Pod)},
			Field: where, Message: fmt.Sprintf(format, args...), Remedy: remedy,
		})
	}
	for _, name := range slices.Sorted(maps.Keys(w.r.Pod.Annotations)) {
		field := "metadata.annotations." + name
		e, ok := effects[name]
		switch {
		case !ok && isIstios(name):
			add(CodeUnknown, model.Warning, field, "check the spelling, and what kind of object it is for", "is no annotation for pods: it has no effect")
		case e.none != "":
			add(CodeNoEffect, model.Warning, field, e.none, "has no effect")
		case e.old != "":
			add(CodeOld, model.Info, field, e.old, "is deprecated")
		}
	}
	if w.notTPROXY {
		add(CodeNoEffect, model.Warning, "metadata.annotations."+annotation.SidecarInterceptionMode.Name, "write REDIRECT, there or as interceptionMode of the ProxyConfig",
			"TPROXY is carried out as REDIRECT: programs see the proxy's address, and that of clients in headers")
	}
	if w.mode != modeNone && w.redirects() {
		for _, c := range w.r.Pod.Spec.Containers {
			if c.Name != proxyName && w.runsAsProxy(c) {
				add(CodeUser, model.Warning, "spec.containers["+c.Name+"].securityContext.runAsUser", "give it another user",
					"runs as user %d, the proxy's: what it sends is not redirected", w.uid)
			}
		}
	}
	if p := w.r.Pod.Spec.DNSPolicy; p != "" && p != corev1.DNSClusterFirst {
		add(CodeDNS, model.Warning, "spec.dnsPolicy", "use "+string(corev1.DNSClusterFirst)+", or see that the name of the control plane is known there",
			"is %s: the proxy may not find the control plane", p)
	}
	return out
}

// redirects tells whether the templates redirect.
func (w *work) redirects() bool { return slices.Contains(w.templateNames(), TemplateSidecar) }

func (w *work) runsAsProxy(c corev1.Container) bool {
	var user *int64
	if s := w.r.Pod.Spec.SecurityContext; s != nil {
		user = s.RunAsUser
	}
	if c.SecurityContext != nil && c.SecurityContext.RunAsUser != nil {
		user = c.SecurityContext.RunAsUser
	}
	return user != nil && *user == w.uid
}

func podName(pod *corev1.Pod) string {
	if pod.Name != "" {
		return pod.Name
	}
	return pod.GenerateName
}

// isIstios tells whether an annotation's name is Istio's, of those that people write.
func isIstios(name string) bool {
	domain, _, _ := strings.Cut(name, "/")
	return (domain == "istio.io" || strings.HasSuffix(domain, ".istio.io")) && name != annotation.GalleyAnalyzeSuppress.Name
}
