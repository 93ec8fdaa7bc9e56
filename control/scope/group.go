package scope

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
)

// Group says on what of a proxy the way out depends that it has: proxies of one
// group get the same clusters, endpoints, listeners, routes and names for it. It
// holds for one snapshot, and for those that follow with no more than a Change.
//
// It has to name all that translation reads of a Proxy; labels, of which each
// workload has its own, count only as far as something asks for them.
type Group string

// Group returns the group of a proxy, and the proxy as Build would complete it.
func (x *Index) Group(p Proxy) (Group, Proxy) {
	x.complete(&p)
	namespace, labels := p.Namespace(), p.Labels()
	v4, v6 := p.Families()
	port, _ := p.HTTPProxy()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s %t %t %q %s ", p.ID.Type, namespace, p.Engine(), v4, v6, port, p.Domain(x.Mesh.ClusterDomain))
	if p.OnDemand {
		b.WriteString("on-demand ")
	}
	if p.Proxyless() {
		b.WriteString("proxyless ")
	}
	if p.Gateway() {
		gateways := x.gatewaysOf(&p)
		if passThrough(gateways) {
			b.WriteString("passes-through ")
		}
		if carriesDatagrams(gateways) {
			b.WriteString("datagrams ")
		}
	}
	if p.SelfDiscovery() {
		b.WriteString("knows-itself ")
		if p.Workload != nil {
			fmt.Fprintf(&b, "%q ", p.Workload.App)
		}
	}
	if len(p.Moved) > 0 {
		b.WriteString("moved ")
	}
	if l := p.Locality(); l != (model.Locality{}) {
		fmt.Fprintf(&b, "%q ", []string{l.Region, l.Zone, l.SubZone})
	}
	t := x.traits(namespace)
	if t.nodes {
		fmt.Fprintf(&b, "on %q ", p.Node())
	}
	if n := p.Network(); n != "" {
		fmt.Fprintf(&b, "in %q ", n)
	}
	for _, selector := range t.selectors {
		if model.Matches(selector, labels) {
			b.WriteByte('y')
		} else {
			b.WriteByte('n')
		}
	}
	if t.labels {
		b.WriteString(textOf(labels))
	}
	for _, a := range p.Addresses() {
		if t.addresses[a] {
			b.WriteString(" @" + a.String())
		}
	}
	if list := x.patches(&p); len(list) > 0 {
		b.WriteString(textOfPatches(list))
	}
	if len(x.Snapshot.Limits) > 0 {
		b.WriteString(x.outboundLimits(&p))
	}
	requests := x.Settings(&p).Requests
	if t.traced || requests.Spans != nil {
		fmt.Fprintf(&b, " %q %q", p.SpanName(requests.Name), p.SpanTags())
	}
	if !requests.Empty() {
		text, err := json.Marshal(requests)
		if err != nil {
			panic("BUG: scope: settings of a proxy: " + err.Error())
		}
		b.Write(text)
	}
	return Group(b.String()), p
}

// complete finds the workload of a proxy in the snapshot. One of an older snapshot
// must not be mixed with this one.
func (x *Index) complete(p *Proxy) {
	namespace, name := p.ID.Namespace, p.ID.Name
	if p.Workload != nil {
		namespace, name = p.Workload.Namespace, p.Workload.Name
	}
	if w := x.Workload(namespace, name); w != nil {
		p.Workload = w
	}
}

// traits are what in a mesh asks for what single proxies of a namespace are.
type traits struct {
	// selectors are those of Sidecars, policies, Telemetry and routes.
	selectors []map[string]string
	// labels: all labels matter, since failover goes by them.
	labels bool
	// traced: spans may be made, which name what each proxy serves.
	traced bool
	// nodes: services have instances that are preferred, or used, by where clients run.
	nodes bool
	// addresses are those of instances that have listeners of their own.
	addresses map[netip.Addr]bool
}

func (x *Index) traits(namespace string) *traits {
	type key struct{ namespace string }
	return x.Lasting(key{namespace}, func() any {
		t := &traits{addresses: map[netip.Addr]bool{}}
		known := map[string]map[string]string{}
		add := func(selector map[string]string) {
			if len(selector) > 0 {
				known[textOf(selector)] = selector
			}
		}
		for _, s := range x.sidecars[namespace] {
			add(s.Selector)
		}
		for _, p := range x.Snapshot.Policies {
			if p.Key.Namespace == namespace {
				add(p.Selector)
			}
		}
		t.traced = x.Mesh.Tracing != nil || len(x.Mesh.DefaultTracing) > 0
		for _, o := range x.Snapshot.Telemetry {
			t.traced = t.traced || len(o.Tracing) > 0
			if o.Key.Namespace == namespace {
				add(o.Selector)
				for _, g := range o.Gateways {
					add(map[string]string{gatewayName: g})
				}
			}
		}
		for _, set := range x.routes[meshGateway] {
			for _, list := range [][]model.Route{set.HTTP, set.TLS, set.TCP} {
				for _, r := range list {
					for _, m := range r.Matches {
						add(m.SourceLabels)
					}
				}
			}
		}
		for _, k := range slices.Sorted(maps.Keys(known)) {
			t.selectors = append(t.selectors, known[k])
		}
		t.labels = x.failsOverByLabels()
		for _, s := range x.Snapshot.Services {
			t.nodes = t.nodes || s.NodeLocal || s.Distribution == model.PreferSameNode
			if s.Resolution == model.Passthrough {
				for _, in := range x.Instances(s) {
					if a, err := netip.ParseAddr(in.Endpoint.Address); err == nil {
						t.addresses[a] = true
					}
				}
			}
		}
		return t
	}).(*traits)
}

func (x *Index) failsOverByLabels() bool {
	by := func(l *model.LocalityLB) bool { return l != nil && l.Enabled && len(l.Priority) > 0 }
	zones := func(z *model.ZoneLB) bool { return z != nil && z.Enabled && len(z.Priority) > 0 }
	if by(x.Mesh.LocalityLB) || zones(x.Mesh.ZoneLB) {
		return true
	}
	for _, set := range x.Snapshot.Policies {
		p := Policy{Traffic: set.Policy, Subsets: set.Subsets}
		for _, t := range p.Parts() {
			if t.LB != nil && (by(t.LB.Locality) || zones(t.LB.Zone)) {
				return true
			}
		}
	}
	return false
}

func textOf(labels map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		fmt.Fprintf(&b, "%q=%q,", k, labels[k])
	}
	return b.String()
}
