package check

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
)

// workloads judges Processes and the policies that select workloads.
func (c *checker) workloads() {
	accounts := map[string][]string{}
	for _, a := range c.s.Accounts {
		accounts[a.Key.Namespace] = append(accounts[a.Key.Namespace], a.Key.Name)
	}
	for _, p := range c.s.Processes {
		key := model.Key{Kind: model.KindServiceAccount, Namespace: p.Key.Namespace, Name: p.ServiceAccount}
		if p.ServiceAccount != "default" && c.s.Objects.Get(key) == nil && !c.refused[key] {
			remedy := "add it: apiVersion: v1, kind: ServiceAccount"
			if best := closest(p.ServiceAccount, accounts[p.Key.Namespace]); best != "" {
				remedy = "did you mean " + best + "?"
			}
			c.fail(CodeAccount, &p.Meta, "spec.serviceAccountName", fmt.Sprintf("there is no ServiceAccount %q in namespace %s", p.ServiceAccount, p.Key.Namespace), remedy)
		}
	}
	defaults := map[model.Key]*model.Meta{}
	both := chosen{}
	for _, s := range c.s.Sidecars {
		c.selector(&s.Meta, s.Selector, "spec.workloadSelector", defaults)
		c.both(both, &s.Meta, s.Selector, "spec.workloadSelector")
		c.egress(s)
	}
	for _, p := range c.s.PeerAuths {
		c.selector(&p.Meta, p.Selector, "spec.selector", defaults)
	}
	for _, p := range c.s.ProxyConfigs {
		c.selector(&p.Meta, p.Selector, "spec.selector", defaults)
	}
	c.telemetry(defaults)
	c.security()
}

// selector judges whom an object is for. Of those without a selector only one
// can be in force in a namespace; only collects them.
func (c *checker) selector(m *model.Meta, selector map[string]string, field string, only map[model.Key]*model.Meta) {
	if selector == nil {
		if only == nil {
			if ns := m.Key.Namespace; len(c.runs) > 0 && len(c.runs[ns]) == 0 && ns != c.s.Mesh.RootNamespace {
				c.note(CodeNothing, m, "metadata.namespace", "nothing runs in namespace "+ns+": it is not used", "check the namespace")
			}
			return
		}
		k := model.Key{Kind: m.Key.Kind, Namespace: m.Key.Namespace}
		if winner := only[k]; winner != nil {
			c.warn(CodeTaken, m, field, fmt.Sprintf("%s (%s) is for the whole namespace already, which is used", short(winner), winner.Origin), "keep one, or add a selector")
			return
		}
		only[k] = m
		return
	}
	ns := m.Key.Namespace
	if ns == c.s.Mesh.RootNamespace {
		ns = "" // the root namespace's objects are for all
	}
	if !c.selects(ns, selector) {
		c.note(CodeNothing, m, field, "nothing has the labels "+text(selector)+": it is not used", "check the labels of the processes")
	}
}

// chosen are the objects of one kind that select each workload.
type chosen map[model.Key]*model.Meta

// both warns when an object selects a workload that another of its kind does: only
// one is in force there.
func (c *checker) both(by chosen, m *model.Meta, selector map[string]string, field string) {
	if len(selector) == 0 {
		return
	}
	said := map[*model.Meta]bool{}
	for _, r := range c.runs[m.Key.Namespace] {
		if !model.Matches(selector, r.labels) {
			continue
		}
		winner := by[r.key]
		if winner == nil {
			by[r.key] = m
		} else if !said[winner] {
			said[winner] = true
			c.warn(CodeBoth, m, field, fmt.Sprintf("selects %s, as %s (%s) does, which is used", r.key.Title(), short(winner), winner.Origin), "let each workload have one")
		}
	}
}

// egress notes hosts of a Sidecar that nothing has.
func (c *checker) egress(s *model.Sidecar) {
	for i := range s.Egress {
		for j, h := range s.Egress[i].Hosts {
			ns, name, _ := strings.Cut(h, "/")
			if ns == "." {
				ns = s.Key.Namespace
			}
			if ns == "~" || name == "*" && ns == "*" {
				continue
			}
			if !c.anyService(ns, name) {
				c.note(CodeNoHost, &s.Meta, fmt.Sprintf("spec.egress[%d].hosts[%d]", i, j), fmt.Sprintf("%q admits no service", h), "check namespace and host")
			}
		}
	}
}

func (c *checker) anyService(ns, host string) bool {
	for _, s := range c.s.Services {
		if (ns == "*" || s.Namespace == ns) && overlap(host, s.Host) {
			return true
		}
	}
	return false
}

// mesh judges the mesh configuration.
func (c *checker) mesh() {
	m := c.s.Mesh
	for k, o := range c.s.Objects.All {
		if k.Kind == model.KindMeshConfig && k != m.Key {
			c.warn(CodeMesh, o.Head(), "", fmt.Sprintf("is not used: %s (%s) is", short(&m.Meta), m.Origin), "keep one")
		}
	}
	used := slices.Concat(m.DefaultTracing, m.DefaultLogs)
	for _, t := range c.s.Telemetry {
		used = append(used, named(t)...)
	}
	for _, p := range slices.Concat([]*model.Provider{m.Tracing}, m.Providers) {
		if p != nil && p.Service != "" && (p == m.Tracing || slices.Contains(used, p.Name)) && c.service(p.Service) == nil {
			c.warn(CodeHost, &m.Meta, p.Field, fmt.Sprintf("there is no service %q for the provider %s", p.Service, p.Name), c.suggestHost(p.Service, m.RootNamespace))
		}
	}
}
