package explain

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/weftmesh/weft/cli"
	"github.com/weftmesh/weft/cmd/xdstext"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/offline"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate"
	"github.com/weftmesh/weft/control/translate/listener"
)

// Effect is the explanation of an object.
type Effect struct {
	Object string `json:"object"`
	Origin string `json:"origin"`
	// Proxies is how many there are, Affected how many of them the object has effect on.
	Proxies  int `json:"proxies"`
	Affected int `json:"affected"`
	// Has and Lacks are what the object does, and why it does nothing, each with the
	// proxies for which that holds.
	Has      []Where         `json:"has"`
	Lacks    []Where         `json:"lacks"`
	Findings []model.Finding `json:"findings"`
}

// Where is something that holds for some proxies.
type Where struct {
	Says    string   `json:"says"`
	Proxies []string `json:"proxies"`
}

// Object explains where an object has effect. An error says that there is none, or
// that objects of its kind are for no proxy.
func Object(ctx context.Context, m *offline.Mesh, k model.Key) (*Effect, error) {
	o := m.Snapshot.Objects.Get(k)
	if o == nil {
		return nil, fmt.Errorf("no %s: %s", k.Title(), kin(m, k))
	}
	meta := o.Head()
	x := &examiner{mesh: &mesh{m, ctx}, object: o}
	if x.look = looks(o); x.look == nil {
		return nil, fmt.Errorf("of a %s it cannot be explained where it has effect: explain what it is for or refers to it, or ask `weft status`", k.Kind)
	}
	out := &Effect{Object: title(meta), Origin: meta.Origin.String(), Proxies: len(m.Proxies), Findings: []model.Finding{}}
	has, lacks := map[string][]string{}, map[string][]string{}
	for _, p := range m.Proxies {
		p.OnDemand = false
		v := scope.Build(m.Index, p.Proxy)
		does, why := x.look(x, v)
		for _, says := range does {
			has[says] = append(has[says], p.Name())
		}
		if len(does) > 0 {
			out.Affected++
		} else {
			lacks[why] = append(lacks[why], p.Name())
		}
	}
	out.Has, out.Lacks = sorted(has), sorted(lacks)
	findings := slices.Clone(m.Snapshot.Findings)
	m.Each(m.Proxies, func(_ offline.Proxy, _ *translate.Resources, f []model.Finding) { findings = append(findings, f...) })
	for _, f := range findings {
		if f.Object == k && !slices.Contains(out.Findings, f) {
			out.Findings = append(out.Findings, f)
		}
	}
	return out, nil
}

// kin names objects of the same kind.
func kin(m *offline.Mesh, k model.Key) string {
	var names []string
	for o := range m.Snapshot.Objects.All {
		if o.Kind == k.Kind {
			names = append(names, strings.Trim(o.Namespace+"/"+o.Name, "/"))
		}
	}
	slices.Sort(names)
	if len(names) == 0 {
		return "there is no " + string(k.Kind) + " at all"
	}
	return "there are " + few(names, 20)
}

func sorted(m map[string][]string) []Where {
	out := []Where{}
	for _, says := range slices.Sorted(maps.Keys(m)) {
		out = append(out, Where{says, m[says]})
	}
	slices.SortStableFunc(out, func(a, b Where) int { return cmp.Compare(len(b.Proxies), len(a.Proxies)) })
	return out
}

// examiner looks for the effect of an object on one proxy after another.
type examiner struct {
	*mesh
	object model.Object
	look   look
}

// look says what an object does for a proxy, or why it does nothing.
type look func(x *examiner, v *scope.View) (does []string, why string)

// looks is how the effect of a kind of object is found; nil: it has none.
func looks(o model.Object) look {
	switch o.(type) {
	case *model.RouteSet:
		return func(x *examiner, v *scope.View) ([]string, string) { return x.routeSet(v, x.object.(*model.RouteSet)) }
	case *model.APIRoute, *model.Ingress:
		return (*examiner).rules
	case *model.EnvoyFilter:
		return (*examiner).envoyFilter
	case *model.TrafficPolicySet:
		return (*examiner).destinationRule
	case *model.Service:
		return (*examiner).service
	case *model.Gateway, *model.APIGateway, *model.ListenerSet:
		return (*examiner).gateways
	case *model.Sidecar, *model.PeerAuth, *model.Authz, *model.RequestAuth, *model.Telemetry:
		return (*examiner).selected
	case *model.Mesh:
		return func(*examiner, *scope.View) ([]string, string) { return []string{"the mesh's defaults"}, "" }
	}
	return nil
}

// madeOf are the objects of a list that an object is, or has become.
func madeOf[T model.Object](list []T, k model.Key) (out []T) {
	for _, o := range list {
		if m := o.Head(); m.Key == k || m.Of == k {
			out = append(out, o)
		}
	}
	return out
}

// each joins what is said of all that an object has become.
func each[T model.Object](list []T, v *scope.View, look func(*scope.View, T) ([]string, string)) (does []string, why string) {
	why = "nothing of it is in force: see what is found wrong with it"
	for _, o := range list {
		d, w := look(v, o)
		does = append(does, d...)
		why = w
	}
	slices.Sort(does)
	return slices.Compact(does), why
}

// routeSet finds the routes that a VirtualService has become.
func (x *examiner) routeSet(v *scope.View, set *model.RouteSet) (does []string, why string) {
	configs, places := listener.Routes(v)
	for _, c := range configs {
		for _, vh := range c.VirtualHosts {
			n, total := 0, len(vh.Routes)
			via := ""
			for _, r := range vh.Routes {
				p, ok := places[r]
				if !ok {
					continue
				}
				rule := p.Set.HTTP[p.Rule].Place
				switch {
				case rule != nil && rule.Object == set.Key:
					n++
					via = ", as a delegate of " + title(&p.Set.Meta)
				case p.Set.Key == set.Key && (rule == nil || rule.Object == model.Key{}):
					n++
				}
			}
			if n > 0 {
				does = append(does, fmt.Sprintf("routes %s, host %s: %d of %d routes%s", c.Name, few(xdstext.Domains(vh.Domains), 1), n, total, via))
			}
		}
	}
	for _, g := range set.Gateways {
		if slices.ContainsFunc(v.Routes(g), func(r *model.RouteSet) bool { return r.Key == set.Key }) && len(set.TLS)+len(set.TCP) > 0 && x.binds(v, g) {
			does = append(does, fmt.Sprintf("connections: %d TLS and %d TCP routes for %s", len(set.TLS), len(set.TCP), strings.Join(set.Hosts, ", ")))
		}
	}
	if len(does) > 0 {
		return does, ""
	}
	return nil, x.whyNoRoute(v, set)
}

func (x *examiner) gateways(v *scope.View) (does []string, why string) {
	return each(madeOf(x.Snapshot.Gateways, x.object.Head().Key), v, x.gateway)
}

// binds tells whether a proxy serves what route sets are bound to.
func (x *examiner) binds(v *scope.View, gateway string) bool {
	if !v.Proxy.Gateway() {
		return gateway == "mesh"
	}
	return slices.ContainsFunc(v.Gateways, func(g *model.Gateway) bool { return g.Key.Namespace+"/"+g.Key.Name == gateway })
}

// boundTo names gateways; "mesh" is that of all sidecars.
func boundTo(gateways []string) string {
	var out []string
	for _, g := range gateways {
		if g == "mesh" {
			g = "the mesh's sidecars"
		}
		out = append(out, g)
	}
	return strings.Join(out, ", ")
}

func (x *examiner) whyNoRoute(v *scope.View, set *model.RouteSet) string {
	switch {
	case len(set.Hosts) == 0:
		return "it has no hosts: it is a delegate, and nothing that the proxy sees delegates to it"
	case !set.Exports.To(v.Proxy.Namespace()):
		return "it is not exported to namespace " + v.Proxy.Namespace() + " (exportTo)"
	case !slices.ContainsFunc(set.Gateways, func(g string) bool { return x.binds(v, g) }):
		if v.Proxy.Gateway() {
			return "it is bound to " + boundTo(set.Gateways) + ": no such Gateway selects this proxy"
		}
		return "it is bound to " + boundTo(set.Gateways) + ", not to the mesh"
	}
	if first := x.older(v, set); first != "" {
		return first
	}
	if v.Sidecar != nil && !slices.ContainsFunc(v.Routes("mesh"), func(r *model.RouteSet) bool { return r.Key == set.Key }) {
		return title(&v.Sidecar.Meta) + " does not import its hosts"
	}
	if v.Proxy.Gateway() {
		return "its hosts " + strings.Join(set.Hosts, ", ") + " are none of the Gateway's"
	}
	for _, h := range set.Hosts {
		if s := v.Service(h); s != nil {
			return h + " has no HTTP port, or the matches are for other clients, ports or gateways"
		}
	}
	return "the proxy has no HTTP port on which its hosts could be called: " + strings.Join(set.Hosts, ", ")
}

// older names the route set that has the hosts instead.
func (x *examiner) older(v *scope.View, set *model.RouteSet) string {
	for _, other := range x.Snapshot.Routes {
		if other.Key == set.Key {
			return ""
		}
		if len(other.HTTP) == 0 || !other.Exports.To(v.Proxy.Namespace()) || !slices.ContainsFunc(other.Gateways, func(g string) bool { return x.binds(v, g) }) {
			continue
		}
		for _, h := range set.Hosts {
			if slices.Contains(other.Hosts, h) {
				return "host " + h + " belongs to " + title(&other.Meta) + ", which is older"
			}
		}
	}
	return ""
}

// destinationRule finds the clusters that a DestinationRule has a say in.
func (x *examiner) destinationRule(v *scope.View) (does []string, why string) {
	set := x.object.(*model.TrafficPolicySet)
	why = "no service that the proxy sees has the host " + set.Host
	for _, s := range v.Services {
		p := v.Policy(s)
		if slices.Contains(p.Keys, set.Key) {
			var subsets []string
			for _, sub := range set.Subsets {
				subsets = append(subsets, sub.Name)
			}
			says := "clusters of " + s.Host + policyText(set.Policy)
			if len(subsets) > 0 {
				says += "; subsets " + strings.Join(subsets, ", ")
			}
			does = append(does, says)
			continue
		}
		if s.Host != set.Host {
			continue
		}
		switch {
		case !set.Exports.To(v.Proxy.Namespace()):
			why = "it is not exported to namespace " + v.Proxy.Namespace() + " (exportTo)"
		case set.Selector != nil && !model.Matches(set.Selector, v.Proxy.Labels()):
			why = "its workloadSelector is for other clients"
		case len(p.Sets) > 0:
			why = title(&p.Sets[0].Meta) + " has the word: the client's namespace comes first, then the service's, then the root's"
		default:
			why = "rules count in the client's namespace, the service's and the root's; it is in " + set.Key.Namespace
		}
	}
	return does, why
}

// service tells whether a proxy can call a Service or ServiceEntry.
func (x *examiner) service(v *scope.View) (does []string, why string) {
	s := x.object.(*model.Service)
	switch seen := v.Service(s.Host); {
	case seen != nil && seen.Key == s.Key:
		return []string{fmt.Sprintf("%s on ports %s", s.Host, portsOf(s))}, ""
	case !s.Exports.To(v.Proxy.Namespace()):
		return nil, "it is not exported to namespace " + v.Proxy.Namespace() + " (exportTo)"
	case seen != nil:
		return nil, title(&seen.Meta) + " has the host " + s.Host
	case v.Sidecar != nil:
		return nil, title(&v.Sidecar.Meta) + " does not import it"
	}
	return nil, "it only stands for another service"
}

// gateway tells whether a proxy opens a Gateway's ports.
func (x *examiner) gateway(v *scope.View, g *model.Gateway) (does []string, why string) {
	if !v.Proxy.Gateway() {
		return nil, "it is no gateway"
	}
	if !slices.ContainsFunc(v.Gateways, func(o *model.Gateway) bool { return o.Key == g.Key }) {
		return nil, "its labels are not those of the selector " + labels(g.Selector)
	}
	for i := range g.Servers {
		does = append(does, fmt.Sprintf("port %d, hosts %s", g.Servers[i].Port, strings.Join(g.Servers[i].Hosts, ", ")))
	}
	return does, ""
}

// selected tells whether an object holds for a proxy's workload.
func (x *examiner) selected(v *scope.View) (does []string, why string) {
	key := x.object.Head().Key
	holds := false
	what := ""
	switch o := x.object.(type) {
	case *model.Sidecar:
		holds, what = v.Sidecar != nil && v.Sidecar.Key == key, fmt.Sprintf("what the proxy sees: %d of %d services", len(v.Services), len(v.Exported()))
	case *model.Authz:
		holds, what = slices.ContainsFunc(v.Authz(), func(p *model.Authz) bool { return p.Key == key }), action(o.Action)+" for what comes in"
	case *model.RequestAuth:
		holds, what = slices.ContainsFunc(v.RequestAuths(), func(p *model.RequestAuth) bool { return p.Key == key }), "tokens of what comes in"
	case *model.Telemetry:
		holds, what = slices.ContainsFunc(v.Telemetries(), func(p *model.Telemetry) bool { return p.Key == key }), "telemetry"
	case *model.PeerAuth:
		root := key.Namespace == v.Mesh.RootNamespace && len(o.Selector) == 0
		holds = (key.Namespace == v.Proxy.Namespace() || root) && model.Matches(o.Selector, v.Proxy.Labels())
		what = "mTLS of what comes in: " + o.Mode.String() + " here, " + v.MTLS().Mode.String() + " with what others say"
	}
	if holds {
		return []string{what}, ""
	}
	if key.Namespace != v.Proxy.Namespace() && key.Namespace != v.Mesh.RootNamespace {
		return nil, "it is for workloads of namespace " + key.Namespace
	}
	return nil, "its selector is for other workloads, or an older one has the word"
}

// Write shows an effect to people.
func (e *Effect) Write(w io.Writer) {
	colour := cli.Colour(w)
	fmt.Fprintf(w, "%s (%s) has effect on %d of %d proxies\n", cli.Strong.Paint(e.Object, colour), e.Origin, e.Affected, e.Proxies)
	for _, part := range []struct {
		list  []Where
		style cli.Style
		sign  string
	}{{e.Has, cli.Good, "+"}, {e.Lacks, cli.Warn, "-"}} {
		for _, x := range part.list {
			fmt.Fprintf(w, "\n%s %s\n    %s\n", part.style.Paint(part.sign, colour), x.Says, few(x.Proxies, 6))
		}
	}
	for _, f := range e.Findings {
		fmt.Fprintf(w, "\n%s: %s\n", f.Severity, f)
	}
}
