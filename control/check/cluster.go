package check

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/control/model"
)

// Labels and names of Istio's injection.
const (
	labelInject   = "istio-injection"
	labelRevision = "istio.io/rev"
	labelMode     = "istio.io/dataplane-mode"
	podInject     = "sidecar.istio.io/inject"
	podImage      = "sidecar.istio.io/proxyImage"
	ambient       = "ambient"
	proxyName     = "istio-proxy"
	reservedUser  = 1337
)

// cluster judges what runs in a Kubernetes cluster, and how it is injected.
func (c *checker) cluster() {
	labels := map[string]map[string]string{}
	for _, n := range c.s.Namespaces {
		labels[n.Key.Name] = n.Labels
		c.namespace(n)
	}
	images := map[string][]string{} // pods with another image than their injector's, by namespace
	for _, p := range c.s.Cluster.Pods {
		c.user(p)
		c.autoImage(p, labels[p.Key.Namespace])
		if p.Template() {
			c.served(p, labels[p.Key.Namespace])
			c.keys(p)
			continue
		}
		c.sidecar(p, labels[p.Key.Namespace])
		if c.otherImage(p, labels[p.Key.Namespace]) {
			images[p.Key.Namespace] = append(images[p.Key.Namespace], p.Key.Name)
		}
	}
	for _, n := range c.s.Namespaces {
		if pods := images[n.Key.Name]; len(pods) > 0 {
			c.warn(CodeProxyImage, &n.Meta, "", "the sidecars of "+strings.Join(pods, ", ")+" are of another image than the injector's", "start the pods anew")
		}
	}
	c.ambient(labels)
	c.webhooks()
	c.definitions()
}

// injector is the one for a namespace's revision, or nil.
func (c *checker) injector(labels map[string]string) *model.Injector {
	name := "istio-sidecar-injector"
	if rev := labels[labelRevision]; rev != "" && rev != "default" {
		name += "-" + rev
	}
	for _, i := range c.s.Cluster.Injectors {
		if i.Key.Name == name {
			return i
		}
	}
	return nil
}

// namespace judges the labels that decide about injection.
func (c *checker) namespace(n *model.Namespace) {
	if n.Key.Name == c.s.Mesh.RootNamespace {
		return
	}
	inject, says := n.Labels[labelInject]
	var set []string
	if says {
		set = append(set, labelInject+"="+inject)
	}
	for _, l := range []string{labelRevision, labelMode} {
		if v, ok := n.Labels[l]; ok && (!says || inject == "enabled") {
			set = append(set, l+"="+v)
		}
	}
	if len(set) > 1 {
		c.warn(CodeInjectLabels, &n.Meta, "metadata.labels", "has several labels about injection: "+strings.Join(set, ", "), "keep one")
	}
	if _, rev := n.Labels[labelRevision]; n.Labels[labelMode] == ambient || says || rev || !c.holds(n.Key.Name) {
		return
	}
	if i := c.injector(n.Labels); i != nil && i.ByDefault {
		c.note(CodeInjectDefault, &n.Meta, "metadata.labels", "is injected by default, as "+short(&i.Meta)+" says", "label it to make that plain")
		return
	}
	c.note(CodeNotInjected, &n.Meta, "metadata.labels", "does not say whether its pods get a sidecar: they get none", "label it "+labelInject+"=enabled, or =disabled")
}

// holds tells whether a namespace is the user's, as far as one can tell.
func (c *checker) holds(name string) bool { return !strings.HasPrefix(name, "kube-") }

// sidecar warns of a pod that should have one.
func (c *checker) sidecar(p *model.Pod, namespace map[string]string) {
	says := p.PodAnnotations[podInject]
	if v, ok := p.PodLabels[podInject]; ok {
		says = v
	}
	if namespace[labelInject] != "enabled" || strings.EqualFold(says, "false") || p.HostNetwork || proxyOf(p) != nil {
		return
	}
	c.warn(CodeNoProxy, &p.Meta, "", "has no sidecar, although its namespace is injected", "start it anew")
}

// proxyOf is a pod's sidecar, or nil.
func proxyOf(p *model.Pod) *model.Container {
	for i := range p.Containers {
		if p.Containers[i].Name == proxyName && p.Containers[i].Image != "" {
			return &p.Containers[i]
		}
	}
	return nil
}

// otherImage tells whether a pod's sidecar is not the one that would be injected now.
// A variant ("-distroless") counts as the same.
func (c *checker) otherImage(p *model.Pod, namespace map[string]string) bool {
	_, rev := namespace[labelRevision]
	x, i := proxyOf(p), c.injector(namespace)
	if x == nil || i == nil || namespace[labelInject] != "enabled" && !rev || p.PodAnnotations[podImage] != "" {
		return false
	}
	return x.Image != i.Image && x.Image != i.Image+"-distroless" && x.Image != i.Image+"-debug"
}

// autoImage judges a sidecar whose image the injector is to fill in.
func (c *checker) autoImage(p *model.Pod, namespace map[string]string) {
	if x := proxyOf(p); x == nil || x.Image != "auto" {
		return
	}
	if !p.Template() {
		c.fail(CodeAutoImage, &p.Meta, "spec.containers", "has image: auto, which no injector has replaced", "delete the pod, and see that its namespace is injected")
		return
	}
	for _, w := range c.s.Cluster.Webhooks {
		for i := range w.Hooks {
			h := &w.Hooks[i]
			if w.Key.Kind == model.KindMutatingWebhook && strings.HasSuffix(h.Name, "istio.io") && selects(h.Namespaces, namespace) && selects(h.Objects, p.PodLabels) {
				return
			}
		}
	}
	c.warn(CodeAutoImage, &p.Meta, "spec.template.spec.containers", "has image: auto, and no injector's webhook selects its pods", "label the namespace or the pods for injection")
}

func selects(s *model.LabelSelector, labels map[string]string) bool {
	return s == nil || s.Matches(labels)
}

// user warns of programs that run as the sidecar's user, whose traffic is not caught.
func (c *checker) user(p *model.Pod) {
	if p.Labels["istio"] != "" || p.Labels["release"] == "istio" {
		return
	}
	uid := p.RunAsUser
	for i := range p.Containers {
		if x := &p.Containers[i]; x.Name != proxyName && !x.Init && x.RunAsUser != nil && *x.RunAsUser == reservedUser {
			uid = x.RunAsUser
		}
	}
	if uid != nil && *uid == reservedUser {
		at := "spec"
		if p.Template() {
			at = "spec.template.spec"
		}
		c.warn(CodeUser, &p.Meta, at+".securityContext.runAsUser", "1337 is the sidecar's user: the traffic of the program is not caught", "use another")
	}
}

// served judges the Services of the pods of a template together.
func (c *checker) served(p *model.Pod, namespace map[string]string) {
	in := namespace[labelInject] == "enabled" || proxyOf(p) != nil
	for _, m := range []map[string]string{p.PodAnnotations, p.PodLabels} {
		if v, ok := m[podInject]; ok {
			in = proxyOf(p) != nil || v == "true"
		}
	}
	if !in {
		return
	}
	transports := map[uint16]map[string][]string{} // by port and kind of protocol: services
	ports := map[string]map[uint16]string{}        // by target port and port: service
	for _, s := range c.s.Services {
		if s.FromEntry || s.Namespace != p.Key.Namespace || len(s.Selector) == 0 || !model.Matches(s.Selector, p.PodLabels) {
			continue
		}
		for i := range s.Ports {
			sp := &s.Ports[i]
			if kind := strings.ToUpper(kindOf(sp.Protocol)); kind != "" {
				put(transports, sp.Port, kind, append(transports[sp.Port][kind], s.Name))
			}
			put(ports, cmp.Or(sp.TargetName, strconv.Itoa(int(cmp.Or(sp.TargetPort, sp.Port)))), sp.Port, s.Name)
		}
	}
	for _, port := range slices.Sorted(maps.Keys(transports)) {
		if by := transports[port]; len(by) > 1 {
			var parts []string
			for _, kind := range slices.Sorted(maps.Keys(by)) {
				parts = append(parts, kind+" in Service "+strings.Join(by[kind], ", "))
			}
			c.warn(CodeManyServices, &p.Meta, "", fmt.Sprintf("port %d is %s", port, strings.Join(parts, " and ")), "give each a port of its own")
		}
	}
	for _, t := range slices.Sorted(maps.Keys(ports)) {
		if by := ports[t]; len(by) > 1 {
			var names []string
			for _, n := range slices.Sorted(maps.Keys(by)) {
				names = append(names, fmt.Sprintf("%d (Service %s)", n, by[n]))
			}
			c.warn(CodeTargetPort, &p.Meta, "", fmt.Sprintf("target port %s stands behind several ports: %s", t, strings.Join(names, ", ")), "use one port for it")
		}
	}
}

// put sets an element of a map of maps.
func put[K, L comparable, V any](m map[K]map[L]V, k K, l L, v V) {
	if m[k] == nil {
		m[k] = map[L]V{}
	}
	m[k][l] = v
}

// keys warns of an istiod that fetches keys of tokens from wherever it is told.
func (c *checker) keys(p *model.Pod) {
	if p.Labels["app"] != "istiod" || len(c.s.RequestAuths) == 0 {
		return
	}
	for i := range p.Containers {
		if p.Containers[i].Env["BLOCKED_CIDRS_IN_JWKS_URIS"] != "" {
			return
		}
	}
	c.warn(CodeJWKS, &p.Meta, "spec.template.spec.containers", "fetches keys of tokens from any address that a RequestAuthentication names", "set BLOCKED_CIDRS_IN_JWKS_URIS")
}

// ambient warns of Sidecars for workloads that have none.
func (c *checker) ambient(namespaces map[string]map[string]string) {
	for _, s := range c.s.Sidecars {
		l := namespaces[s.Key.Namespace]
		if s.Selector == nil && l[labelMode] == ambient && l[labelInject] != "enabled" && l[labelRevision] == "" {
			c.warn(CodeAmbient, &s.Meta, "", "has no effect: its namespace has no sidecars, but ambient mode", "remove it")
			continue
		}
		if s.Selector != nil && slices.ContainsFunc(c.s.Cluster.Pods, func(p *model.Pod) bool {
			return p.Key.Namespace == s.Key.Namespace && model.Matches(s.Selector, p.PodLabels) && p.PodAnnotations["ambient.istio.io/redirection"] == "enabled"
		}) {
			c.warn(CodeAmbient, &s.Meta, "spec.workloadSelector", "has no effect on pods in ambient mode", "remove it")
		}
	}
}
