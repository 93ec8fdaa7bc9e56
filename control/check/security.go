package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
)

// security judges the policies about requests: whom they are for, the services that
// CUSTOM ones ask, and whether tokens are read where conditions look at them.
func (c *checker) security() {
	for _, r := range c.s.RequestAuths {
		if len(r.Targets) == 0 {
			c.selector(&r.Meta, r.Selector, "spec.selector", nil) // several add up
			c.targeted(&r.Meta, r.Selector)
		}
	}
	spaces := c.namespaces()
	for _, a := range c.s.Authz {
		if len(a.Targets) == 0 {
			c.selector(&a.Meta, a.Selector, "spec.selector", nil)
			c.targeted(&a.Meta, a.Selector)
		}
		c.sources(a, spaces)
		if a.Action == model.Custom {
			c.authorizer(a)
		}
		if field := tokenField(a); field != "" && !slices.ContainsFunc(c.s.RequestAuths, func(r *model.RequestAuth) bool { return c.together(a, r) }) {
			c.warn(CodeToken, &a.Meta, field, "no RequestAuthentication is for the same workloads: no request has a token that is looked at", "add one that names the issuer")
		}
	}
	for i := range c.s.Mesh.Authorizers {
		x := &c.s.Mesh.Authorizers[i]
		switch s := c.service(x.Service); {
		case s == nil:
			c.warn(CodeHost, &c.s.Mesh.Meta, "extensionProviders", fmt.Sprintf("there is no service %q for the provider %s", x.Service, x.Name), c.suggestHost(x.Service, c.s.Mesh.RootNamespace))
		case s.Port(x.Port) == nil:
			c.warn(CodePort, &c.s.Mesh.Meta, "extensionProviders", fmt.Sprintf("%s has no port %d for the provider %s", short(&s.Meta), x.Port, x.Name), "it has "+portList(s))
		}
	}
}

// targeted notes a selector that picks proxies of a Gateway of the Gateway API:
// Istio may be told to leave those to targetRefs.
func (c *checker) targeted(m *model.Meta, selector map[string]string) {
	if selector == nil {
		return
	}
	for _, r := range c.runs[m.Key.Namespace] {
		if name := r.labels[model.GatewayNameLabel]; name != "" && model.Matches(selector, r.labels) {
			c.note(CodeSelector, m, "spec.selector", fmt.Sprintf("picks the proxies of Gateway %s of the Gateway API, where not every mesh carries selectors out", name), "use targetRefs")
			return
		}
	}
}

// namespaces are all in which anything is.
func (c *checker) namespaces() []string {
	known := map[string]bool{c.s.Mesh.RootNamespace: true}
	for _, n := range c.s.Namespaces {
		known[n.Key.Name] = true
	}
	for ns := range c.runs {
		known[ns] = true
	}
	for _, s := range c.s.Services {
		known[s.Namespace] = true
	}
	for _, a := range c.s.Accounts {
		known[a.Key.Namespace] = true
	}
	return slices.Sorted(maps.Keys(known))
}

// sources warns of namespaces in rules in which nothing is.
func (c *checker) sources(a *model.Authz, known []string) {
	for i := range a.Rules {
		for j := range a.Rules[i].From {
			s := &a.Rules[i].From[j]
			for k, list := range [][]string{s.Namespaces, s.NotNamespaces} {
				for n, name := range list {
					if slices.ContainsFunc(known, func(ns string) bool { return like(name, ns) }) {
						continue
					}
					remedy := "check the name"
					if best := closest(name, known); best != "" {
						remedy = "did you mean " + best + "?"
					}
					c.warn(CodeNamespace, &a.Meta, fmt.Sprintf("spec.rules[%d].from[%d].source.%s[%d]", i, j, [...]string{"namespaces", "notNamespaces"}[k], n), fmt.Sprintf("there is nothing in a namespace %q", name), remedy)
				}
			}
		}
	}
}

// like compares with a pattern that may have a "*" at one end.
func like(pattern, s string) bool {
	if rest, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(s, rest)
	}
	if rest, ok := strings.CutPrefix(pattern, "*"); ok {
		return strings.HasSuffix(s, rest)
	}
	return s == pattern
}

// authorizer judges the provider that a CUSTOM policy names.
func (c *checker) authorizer(a *model.Authz) {
	if c.s.Mesh.ExtAuthz(a.Provider) != nil {
		return
	}
	var known []string
	for i := range c.s.Mesh.Authorizers {
		known = append(known, c.s.Mesh.Authorizers[i].Name)
	}
	remedy := "add it to extensionProviders of the mesh configuration, with envoyExtAuthzHttp or envoyExtAuthzGrpc"
	if best := closest(a.Provider, known); best != "" {
		remedy = "did you mean " + best + "?"
	}
	c.fail(CodeProvider, &a.Meta, "spec.provider.name", fmt.Sprintf("the mesh configuration has no provider %q that authorizes: what the policy matches is denied", a.Provider), remedy)
}

// tokenField is the first field of a policy that looks at a request's token; "" for none.
func tokenField(a *model.Authz) string {
	for i := range a.Rules {
		r := &a.Rules[i]
		for j := range r.From {
			s := &r.From[j]
			for _, f := range []struct {
				name string
				list []string
			}{{"requestPrincipals", s.RequestPrincipals}, {"notRequestPrincipals", s.NotRequestPrincipals}} {
				if len(f.list) > 0 {
					return fmt.Sprintf("spec.rules[%d].from[%d].source.%s", i, j, f.name)
				}
			}
		}
		for j := range r.When {
			if strings.HasPrefix(r.When[j].Key, "request.auth.") {
				return fmt.Sprintf("spec.rules[%d].when[%d].key", i, j)
			}
		}
	}
	return ""
}

// together tells whether a policy and a request authentication may be for one
// workload, as far as they themselves tell.
func (c *checker) together(a *model.Authz, r *model.RequestAuth) bool {
	root := c.s.Mesh.RootNamespace
	if a.Key.Namespace != r.Key.Namespace && a.Key.Namespace != root && r.Key.Namespace != root {
		return false
	}
	for k, v := range a.Selector {
		if w, ok := r.Selector[k]; ok && v != w {
			return false
		}
	}
	switch {
	case len(r.Targets) == 0:
		return true
	case len(a.Targets) == 0:
		return len(a.Selector) == 0
	}
	return slices.ContainsFunc(a.Targets, func(t model.TargetRef) bool { return slices.Contains(r.Targets, t) })
}
