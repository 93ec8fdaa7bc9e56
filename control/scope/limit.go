package scope

import (
	"strings"

	"github.com/weftmesh/weft/control/model"
)

// LimitRef is one rule of a SmartLimiter that is for a proxy.
type LimitRef struct {
	Limits *model.Limits
	Index  int
}

// Rule is what is written.
func (r LimitRef) Rule() *model.LimitRule { return &r.Limits.Limiter.Rules[r.Index] }

// Quota is what is in force of it.
func (r LimitRef) Quota() *model.LimitQuota { return &r.Limits.Quotas[r.Index] }

// Limits are the rules that are for the view's proxy, whether they are in force at the moment or not.
func (v *View) Limits() []LimitRef { return v.Index.limits(v.Proxy) }

func (x *Index) limits(p *Proxy) (out []LimitRef) {
	for _, l := range x.Snapshot.Limits {
		if !x.limited(p, l.Limiter) {
			continue
		}
		for i := range l.Limiter.Rules {
			if x.inSubset(p, l.Limiter.Service, l.Limiter.Rules[i].Set) {
				out = append(out, LimitRef{l, i})
			}
		}
	}
	return out
}

// limited tells whether a SmartLimiter is for a proxy.
func (x *Index) limited(p *Proxy, l *model.SmartLimiter) bool {
	if p.Gateway() != l.Gateway || p.Proxyless() || !model.Matches(l.Selector, p.Labels()) {
		return false
	}
	if l.Service == "" {
		return p.Namespace() == l.Key.Namespace || l.Key.Namespace == x.Mesh.RootNamespace
	}
	if p.Workload == nil {
		return false
	}
	for _, s := range x.Served(p.Workload) {
		if s.Host == l.Service {
			return true
		}
	}
	return false
}

// inSubset tells whether a proxy is one of a service's subset.
func (x *Index) inSubset(p *Proxy, host, name string) bool {
	if name == model.WholeService {
		return true
	}
	for _, set := range x.Snapshot.Policies {
		if set.Host != host {
			continue
		}
		for i := range set.Subsets {
			if set.Subsets[i].Name == name {
				return model.Matches(set.Subsets[i].Labels, p.Labels())
			}
		}
	}
	return false
}

// outboundLimits names what limits a proxy's way out, for its Group.
func (x *Index) outboundLimits(p *Proxy) string {
	var b strings.Builder
	for _, r := range x.limits(p) {
		if r.Rule().Target.Outbound {
			b.WriteString(" limit " + r.Quota().ID)
		}
	}
	return b.String()
}
