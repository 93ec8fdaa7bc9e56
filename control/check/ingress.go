package check

import (
	"fmt"
	"slices"

	"github.com/weftmesh/weft/control/model"
)

// ingress judges what routes of gateways leave to others: subsets that are chosen
// by routes of the mesh, and claims of tokens.
func (c *checker) ingress() {
	splits := map[string]*model.RouteSet{} // by host: routes of the mesh that choose subsets of it
	for _, rs := range c.s.Routes {
		if rs.Of != (model.Key{}) || !slices.Contains(rs.Gateways, meshGateway) {
			continue
		}
		for i := range rs.HTTP {
			for _, d := range rs.HTTP[i].Destinations {
				if d.Subset != "" && slices.Contains(rs.Hosts, d.Host) && splits[d.Host] == nil {
					splits[d.Host] = rs
				}
			}
		}
	}
	for _, rs := range c.s.Routes {
		if rs.Of == (model.Key{}) && slices.ContainsFunc(rs.Gateways, func(g string) bool { return g != meshGateway }) {
			c.unseen(rs, splits)
			c.claims(rs)
		}
	}
}

// unseen notes destinations of a gateway's routes whose subsets other routes choose,
// which hold for requests between workloads only.
func (c *checker) unseen(rs *model.RouteSet, splits map[string]*model.RouteSet) {
	for i := range rs.HTTP {
		for j, d := range rs.HTTP[i].Destinations {
			if by := splits[d.Host]; d.Subset == "" && by != nil && by != rs {
				c.note(CodeIngressSubset, &rs.Meta, fmt.Sprintf("spec.http[%d].route[%d].destination", i, j),
					fmt.Sprintf("the subsets that %s (%s) chooses have no effect on requests through the gateway", short(&by.Meta), by.Origin), "choose a subset here too, or leave it if all are meant")
			}
		}
	}
}

// claims judges routes by claims: the gateway has to read the token first.
func (c *checker) claims(rs *model.RouteSet) {
	field := ""
	for i := range rs.HTTP {
		for j, m := range rs.HTTP[i].Matches {
			if field == "" && slices.ContainsFunc(m.Conditions, func(x model.Condition) bool { return x.Attr == model.AttrClaim }) {
				field = fmt.Sprintf("spec.http[%d].match[%d].headers", i, j)
			}
		}
	}
	if field == "" {
		return
	}
	for _, name := range rs.Gateways {
		if gw := c.gateway(name); gw != nil && !c.authenticated(gw) {
			c.fail(CodeClaim, &rs.Meta, field, "no RequestAuthentication is for the workloads of Gateway "+name+": no claim is known there, and the route never matches",
				"add one with selector "+text(gw.Selector)+" in the gateway's namespace")
		}
	}
}

// authenticated tells whether every workload of a gateway reads tokens.
func (c *checker) authenticated(gw *model.Gateway) bool {
	reads := func(namespace string, labels map[string]string) bool {
		return slices.ContainsFunc(c.s.RequestAuths, func(r *model.RequestAuth) bool {
			same := r.Key.Namespace == namespace
			return (same || r.Key.Namespace == c.s.Mesh.RootNamespace) && model.AppliesTo(r.Selector, r.Targets, labels, same)
		})
	}
	known := false
	for namespace, list := range c.runs {
		for _, r := range list {
			if model.Matches(gw.Selector, r.labels) && (gw.Namespace == "" || gw.Namespace == namespace) {
				known = true
				if !reads(namespace, r.labels) {
					return false
				}
			}
		}
	}
	return known || slices.ContainsFunc(c.s.RequestAuths, func(r *model.RequestAuth) bool { return model.Matches(r.Selector, gw.Selector) })
}
