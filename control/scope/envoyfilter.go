package scope

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/wire"
)

// CodeEager: an EnvoyFilter needs what the layout on demand lacks.
const CodeEager = "WEFT0302"

// barred names a patch that an engine does not get.
type barred struct {
	filter  model.Key
	version uint64
	index   int
	engine  string
}

func (x *Index) indexEnvoyFilters() {
	plugins := model.ModuleOn(x.Snapshot.Boots, model.ModulePlugin)
	for _, f := range x.Snapshot.EnvoyFilters {
		if (f.Key.Kind == model.KindEnvoyPlugin || f.Key.Kind == model.KindPluginManager) && !plugins {
			continue // a SlimeBoot has them off
		}
		x.envoyFilters[f.Key.Namespace] = append(x.envoyFilters[f.Key.Namespace], f)
		for i := range f.Patches {
			if v := f.Patches[i].ProxyVersion; v != "" && x.versions[v] == nil {
				x.versions[v], _ = regexp.Compile(v)
			}
		}
	}
	for _, q := range x.Snapshot.Quarantines {
		x.barred[barred{q.Filter, q.Version, q.Index, q.Engine}] = true
	}
}

// patches are those of EnvoyFilters that a proxy gets, in the order in which they
// apply: by priority, the root namespace's before those of the proxy's own, the oldest
// first.
func (x *Index) patches(p *Proxy) []model.PatchRef {
	own, root := p.Namespace(), x.Mesh.RootNamespace
	if len(x.envoyFilters[own]) == 0 && len(x.envoyFilters[root]) == 0 {
		return nil
	}
	var filters []*model.EnvoyFilter
	for _, namespace := range slices.Compact([]string{root, own}) {
		for _, f := range x.envoyFilters[namespace] {
			if picks(f, p.Labels()) {
				filters = append(filters, f)
			}
		}
	}
	// Root filters come first in the list, so that a stable sort leaves them there.
	slices.SortStableFunc(filters, func(a, b *model.EnvoyFilter) int { return cmp.Or(rank(a)-rank(b), cmp.Compare(a.Priority, b.Priority)) })
	var out []model.PatchRef
	for _, f := range filters {
		for i := range f.Patches {
			if x.matches(p, &f.Patches[i]) && !x.barred[barred{f.Key, f.Hash, i, p.Engine()}] {
				out = append(out, model.PatchRef{Filter: f, Index: i})
			}
		}
	}
	return out
}

// rank has plug-ins put in by their phases, and before EnvoyFilters apply, so that these can be about them.
func rank(f *model.EnvoyFilter) int {
	if f.Fields != nil {
		return f.Phase
	}
	return model.PhaseLast + 1
}

func picks(f *model.EnvoyFilter, labels map[string]string) bool {
	if f.Gateways != nil {
		return slices.Contains(f.Gateways, labels[gatewayName])
	}
	return model.Matches(f.Selector, labels)
}

// matches tells whether a patch is for proxies like this one.
func (x *Index) matches(p *Proxy, e *model.EnvoyPatch) bool {
	if p.Gateway() != (e.Context == model.GatewayContext) && e.Context != model.AnyContext {
		return false
	}
	if e.ProxyVersion != "" {
		// The front end has seen to it that it can be compiled; what cannot matches nothing.
		v, re := p.IstioVersion(), x.versions[e.ProxyVersion]
		if v == "" || re == nil || !re.MatchString(v) {
			return false
		}
	}
	for k, v := range e.Metadata {
		if p.Raw[k] != v {
			return false
		}
	}
	return true
}

// IstioVersion is the version of Istio's that the proxy goes by; empty: it says none.
func (p *Proxy) IstioVersion() string {
	if p.Meta.IstioVersion == "" && p.Meta.Engine != "" {
		return wire.IstioVersion // one of ours
	}
	return p.Meta.IstioVersion
}

// textOfPatches names patches shortly, for a Group.
func textOfPatches(list []model.PatchRef) string {
	h := xxhash.New()
	for _, r := range list {
		_, _ = h.WriteString(r.Filter.Key.String() + " " + strconv.FormatUint(r.Filter.Hash, 16) + " " + strconv.Itoa(r.Index) + "\n")
	}
	return " patches:" + strconv.FormatUint(h.Sum64(), 16)
}

// Layout decides whether a proxy asks for what it uses: as its workload says or else
// byDefault or a fence does, unless an EnvoyFilter needs the other layout.
func (x *Index) Layout(p Proxy, byDefault bool) Proxy {
	if !byDefault {
		_, byDefault = x.FencesOf(&p)
	}
	if p.OnDemand = p.Asks(byDefault); p.OnDemand {
		p.Moved = x.eager(p)
		p.OnDemand = len(p.Moved) == 0
	}
	return p
}

// eager are Findings for each patch of a proxy's that changes what only the eager layout
// has: a proxy with such a patch cannot be on demand.
func (x *Index) eager(p Proxy) []model.Finding {
	x.complete(&p)
	var out []model.Finding
	for _, r := range x.patches(&p) {
		what := lacking(r.Patch())
		if what == "" {
			continue
		}
		field := r.Filter.Field(r.Index)
		if r.Filter.Fields == nil {
			field += ".match"
		}
		out = append(out, model.Finding{
			Code: CodeEager, Severity: model.Info, Object: r.Filter.Key, Origin: r.Filter.At(field), Field: field,
			Message: "needs " + what + ", which proxies on demand do not have: those that the EnvoyFilter is for get all that they may see instead",
			Remedy:  "leave out what names it, if the patch may apply to all traffic of the kind",
		})
	}
	return out
}

// lacking says what a patch needs that the layout on demand lacks; empty: nothing. There
// is one outbound listener there with one route configuration; virtual hosts and
// clusters are patched as they are asked for.
func lacking(p *model.EnvoyPatch) string {
	if p.Context == model.SidecarInbound || p.Context == model.GatewayContext {
		return ""
	}
	switch p.ApplyTo {
	case model.ToListener, model.ToListenerFilter, model.ToFilterChain, model.ToNetworkFilter, model.ToHTTPFilter:
		return lackingListener(p.Listener)
	case model.ToRouteConfig:
		m := p.Route
		switch {
		case m == nil || strings.HasPrefix(m.Name, wire.Inbound+"|"):
		case m.Name != "":
			return "the route configuration " + m.Name
		case m.Port != 0:
			return "the route configuration of port " + strconv.Itoa(int(m.Port))
		}
	case model.ToVirtualHost:
		if p.Operation == model.PatchAdd {
			return "a route configuration that virtual hosts can be added to"
		}
	}
	return ""
}

func lackingListener(m *model.ListenerMatch) string {
	switch {
	case m == nil || m.Name == wire.VirtualInbound:
		return ""
	case m.Name != "" && m.Name != wire.VirtualOutbound:
		return "the listener " + m.Name
	case m.Port != 0:
		return "the listener of port " + strconv.Itoa(int(m.Port))
	case m.Chain == nil:
		return ""
	}
	c := m.Chain
	if c.Name != "" || c.SNI != "" || c.TransportProtocol != "" || len(c.ApplicationProtocols) > 0 || c.Port != 0 {
		return "a filter chain that it matches"
	}
	return ""
}
