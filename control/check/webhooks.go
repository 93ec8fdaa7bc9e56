package check

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/control/model"
)

// hook is a webhook and whose it is.
type hook struct {
	of *model.Webhook
	*model.Hook
	field string
}

func (h hook) name() string { return h.of.Key.Name + "/" + h.Name }

// webhooks judges those of sidecar injectors and validators.
func (c *checker) webhooks() {
	var injectors []hook
	revisions := map[string]bool{}
	for _, w := range c.s.Cluster.Webhooks {
		mutating := w.Key.Kind == model.KindMutatingWebhook
		mine := w.Labels[labelRevision] != "" || slices.ContainsFunc(w.Hooks, func(h model.Hook) bool { return strings.HasSuffix(h.Name, "istio.io") })
		for i := range w.Hooks {
			h := hook{w, &w.Hooks[i], fmt.Sprintf("webhooks[%d]", i)}
			if ours(w) {
				c.address(h)
			}
			if mutating && mine {
				injectors = append(injectors, h)
				revisionsOf(h, revisions)
			}
		}
	}
	c.twice(injectors, slices.Sorted(maps.Keys(revisions)))
	for _, h := range injectors {
		if h.Service.Name != "" && c.s.Objects.Get(h.Service) == nil && !c.refused[h.Service] {
			c.fail(CodeWebhook, &h.of.Meta, h.field+".clientConfig.service", fmt.Sprintf("there is no Service %s/%s: nothing is injected", h.Service.Namespace, h.Service.Name), "name the control plane's")
		}
	}
}

// ours tells whether a configuration is called as Istio's are.
func ours(w *model.Webhook) bool {
	if w.Key.Kind == model.KindMutatingWebhook {
		return strings.HasPrefix(w.Key.Name, "istio-sidecar-injector")
	}
	return w.Key.Name == "istiod-default-validator" || strings.HasPrefix(w.Key.Name, "istio-validator")
}

// revisionsOf collects the revisions that a webhook tells apart.
func revisionsOf(h hook, into map[string]bool) {
	if r := h.of.Labels[labelRevision]; r != "" {
		into[r] = true
	}
	for _, s := range []*model.LabelSelector{h.Namespaces, h.Objects} {
		if s == nil {
			continue
		}
		if r := s.Labels[labelRevision]; r != "" {
			into[r] = true
		}
		for _, e := range s.Expressions {
			if e.Key == labelRevision {
				for _, v := range e.Values {
					into[v] = true
				}
			}
		}
	}
}

// twice finds webhooks that select one pod together, by trying all labels that
// injection goes by: the sidecar would be injected twice.
func (c *checker) twice(hooks []hook, revisions []string) {
	said := map[string]bool{}
	for _, ns := range labelSets(labelInject, []string{"enabled", "disabled"}, revisions) {
		for _, pod := range labelSets(podInject, []string{"true", "false"}, revisions) {
			var hit []hook
			for _, h := range hooks {
				if selects(h.Namespaces, ns) && selects(h.Objects, pod) {
					hit = append(hit, h)
				}
			}
			for _, h := range hit[min(1, len(hit)):] {
				if said[h.name()] {
					continue
				}
				said[h.name()] = true
				c.fail(CodeWebhook, &h.of.Meta, h.field, fmt.Sprintf("selects what %s (%s) selects too: sidecars are injected twice", hit[0].name(), hit[0].of.Origin), "narrow one of the selectors")
			}
		}
	}
}

// labelSets are all combinations of a label's values and a revision, none included.
func labelSets(name string, values, revisions []string) []map[string]string {
	var out []map[string]string
	for _, v := range append([]string{""}, values...) {
		for _, r := range append([]string{""}, revisions...) {
			m := map[string]string{}
			if v != "" {
				m[name] = v
			}
			if r != "" {
				m[labelRevision] = r
			}
			out = append(out, m)
		}
	}
	return out
}

// address judges where a webhook of Istio's leads.
func (c *checker) address(h hook) {
	field := h.field + ".clientConfig"
	if h.URL == "" {
		if h.Service.Name == "" {
			c.warn(CodeWebhookURL, &h.of.Meta, field, "names neither a Service nor a URL", "name one")
		}
		return
	}
	u, err := url.Parse(h.URL)
	if err != nil || u.Hostname() == "" {
		c.warn(CodeWebhookURL, &h.of.Meta, field+".url", fmt.Sprintf("%q is no URL of a control plane", h.URL), "write https://host:port/path")
		return
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		c.note(CodeWebhookIP, &h.of.Meta, field+".url", u.Hostname()+" is an IP address, not a name", "use a name, so that the control plane may move")
	}
}

// oldest are the lowest versions of Gateway API in which kinds are read, and removed
// the kinds that Istio had once.
var oldest = map[string]string{
	"grpcroutes.gateway.networking.k8s.io": "v1.1.0", "backendtlspolicies.gateway.networking.k8s.io": "v1.4.0",
	"tlsroutes.gateway.networking.k8s.io": "v1.5.0", "tcproutes.gateway.networking.k8s.io": "v1.6.0",
}

var removed = []string{"ClusterRbacConfig", "RbacConfig", "ServiceRole", "ServiceRoleBinding"}

// definitions judges CustomResourceDefinitions.
func (c *checker) definitions() {
	for _, d := range c.s.Cluster.CRDs {
		if least := oldest[d.Key.Name]; least != "" && d.Bundle != "" && older(d.Bundle, least) {
			c.warn(CodeCRD, &d.Meta, "metadata.annotations", fmt.Sprintf("is of version %s of the Gateway API: objects of the kind are not read before %s", d.Bundle, least), "install a newer one")
		}
		if d.Group == "rbac.istio.io" && slices.Contains(removed, d.Kind) {
			c.warn(CodeRemoved, &d.Meta, "spec.names.kind", d.Kind+" of rbac.istio.io is there no more", "use an AuthorizationPolicy")
		}
	}
}

// older compares versions such as "v1.4.0-rc.1", what stands behind "-" left out.
func older(a, b string) bool {
	x, y := numbers(a), numbers(b)
	return x != nil && y != nil && slices.Compare(x, y) < 0
}

func numbers(v string) []int {
	v, _, _ = strings.Cut(strings.TrimPrefix(v, "v"), "-")
	var out []int
	for part := range strings.SplitSeq(v, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil
		}
		out = append(out, n)
	}
	return out
}
