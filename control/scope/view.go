package scope

import (
	"cmp"
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
)

// View is what one proxy sees. It is read-only outside of this package; look-ups
// remember their answers, so one View belongs to one goroutine at a time.
type View struct {
	Index *Index
	Proxy *Proxy
	Mesh  *model.Mesh
	// Sidecar is the resource that narrows the view, nil when none does.
	Sidecar *model.Sidecar
	// Services are the visible ones, one per host, sorted by host. Names that only
	// stand for another service are left out (see Index.Aliases).
	Services []*model.Service
	// Listeners are the groups of services by the Sidecar egress listener that
	// shows them; a single group of all services when no Sidecar narrows them.
	Listeners []Egress
	// Gateways are those whose selector picks the proxy, oldest first.
	Gateways []*model.Gateway
	// Patches are those of EnvoyFilters, in the order in which they apply.
	Patches []model.PatchRef
	// Findings are faults that lie in no single proxy's translation, e.g. of delegates.
	Findings []model.Finding

	// Requests are the settings of the proxy that listeners, routes and spans are made by.
	Requests model.RequestSettings

	policyOf map[*model.Service]*Policy
	routesOf map[string][]*model.RouteSet
	said     map[model.Key]bool // see says
}

// Egress is one egress listener: all ports when Port is 0.
type Egress struct {
	Spec     *model.SidecarEgress // nil: no Sidecar
	Port     uint16
	Services []*model.Service
	routes   map[*model.RouteSet]bool
}

// Bound tells whether the listener has its port itself, instead of what is redirected.
func (e *Egress) Bound() bool { return e.Spec != nil && e.Spec.Bound }

// PortOf is the port of a service that the listener leads to, nil: none. One that has
// its port itself leads to a service's only port, whatever its number is.
func (e *Egress) PortOf(s *model.Service) *model.ServicePort {
	if p := s.Port(e.Port); p != nil {
		return p
	}
	if e.Bound() && len(s.Ports) == 1 {
		return &s.Ports[0]
	}
	return nil
}

// Build makes the view of one proxy.
func Build(idx *Index, p Proxy) *View {
	idx.complete(&p)
	v := &View{
		Index: idx, Proxy: &p, Mesh: idx.Mesh,
		policyOf: map[*model.Service]*Policy{},
		routesOf: map[string][]*model.RouteSet{},
		Findings: idx.findings, Requests: idx.Settings(&p).Requests,
	}
	if p.Gateway() {
		v.Gateways = idx.gatewaysOf(&p)
	} else {
		v.Sidecar = idx.sidecarOf(v.Proxy)
	}
	v.Patches = idx.patches(v.Proxy)
	v.pickServices()
	return v
}

// gatewaysOf are the Gateways that pick a gateway's proxy, oldest first.
func (x *Index) gatewaysOf(p *Proxy) (out []*model.Gateway) {
	for _, g := range x.gateways {
		if model.Matches(g.Selector, p.Labels()) && (g.Namespace == "" || g.Namespace == p.Namespace()) {
			out = append(out, g)
		}
	}
	return out
}

// PassesThrough tells whether the proxy is a gateway with a server of mode
// AUTO_PASSTHROUGH, for which every service of the mesh has clusters of their own.
func (v *View) PassesThrough() bool { return passThrough(v.Gateways) }

// CarriesDatagrams tells whether the proxy is a gateway with a server of UDP, for which
// ports of UDP have clusters: nothing else carries datagrams.
func (v *View) CarriesDatagrams() bool { return carriesDatagrams(v.Gateways) }

func carriesDatagrams(list []*model.Gateway) bool {
	for _, g := range list {
		for i := range g.Servers {
			if g.Servers[i].Protocol == model.UDP {
				return true
			}
		}
	}
	return false
}

func passThrough(list []*model.Gateway) bool {
	for _, g := range list {
		for i := range g.Servers {
			if t := g.Servers[i].TLS; t != nil && t.Mode == model.TLSAutoPassthrough {
				return true
			}
		}
	}
	return false
}

// sidecarOf is the Sidecar that holds for a proxy: one that selects it, its
// namespace's, or the root namespace's.
func (x *Index) sidecarOf(p *Proxy) *model.Sidecar {
	own := p.Namespace()
	for _, s := range x.sidecars[own] {
		if len(s.Selector) > 0 && model.Matches(s.Selector, p.Labels()) {
			return s
		}
	}
	for _, namespace := range []string{own, x.Mesh.RootNamespace} {
		for _, s := range x.sidecars[namespace] {
			if len(s.Selector) == 0 {
				return s
			}
		}
	}
	return nil
}

// visible returns what a proxy of the namespace would get for each host without
// any Sidecar, sorted by host. It is shared by all proxies of the namespace.
func (x *Index) visible(namespace string) []*model.Service {
	return remember(x.seen, namespace, func() any {
		out := make([]*model.Service, 0, x.services.Len())
		for _, list := range x.services.All {
			if s := choose(list, namespace); s != nil && !x.IsAlias(s) {
				out = append(out, s)
			}
		}
		slices.SortFunc(out, byHost)
		return out
	}).([]*model.Service)
}

func byHost(a, b *model.Service) int { return cmp.Compare(a.Host, b.Host) }

// choose picks one of several services of one host: the client's own namespace
// first, then Kubernetes services before entries, then the oldest.
func choose(list []*model.Service, namespace string) *model.Service {
	var best *model.Service
	for _, s := range list {
		switch {
		case !s.Exports.To(namespace):
		case best == nil,
			best.Namespace != namespace && s.Namespace == namespace,
			(best.Namespace == namespace) == (s.Namespace == namespace) && best.FromEntry && !s.FromEntry:
			best = s
		}
	}
	return best
}

func (v *View) pickServices() {
	all := v.Index.visible(v.Proxy.Namespace())
	if v.Sidecar == nil || len(v.Sidecar.Egress) == 0 {
		v.Services = all
		v.Listeners = []Egress{{Services: all}}
		return
	}
	shown := map[string]*model.Service{}
	known := map[string]*model.Service{}
	for _, s := range all {
		known[s.Host] = s
	}
	for i := range v.Sidecar.Egress {
		spec := &v.Sidecar.Egress[i]
		e := Egress{Spec: spec, Port: spec.Port, routes: map[*model.RouteSet]bool{}}
		f := newHostFilter(spec.Hosts, v.Proxy.Namespace())
		for _, r := range v.visibleRoutes(meshGateway) {
			if f.admitsRoute(r) {
				e.routes[r] = true
			}
		}
		e.Services = pickEgress(all, known, f, &e, shown)
		v.Listeners = append(v.Listeners, e)
	}
	for _, s := range shown {
		v.Services = append(v.Services, s)
	}
	slices.SortFunc(v.Services, byHost)
}

// pickEgress returns the services of an egress listener, and adds them and what
// their routes lead to to shown.
func pickEgress(all []*model.Service, known map[string]*model.Service, f hostFilter, e *Egress, shown map[string]*model.Service) []*model.Service {
	seen := map[string]bool{}
	var out []*model.Service
	add := func(s *model.Service) {
		if s == nil || seen[s.Host] || e.Port != 0 && e.PortOf(s) == nil {
			return
		}
		seen[s.Host] = true
		out = append(out, s)
		shown[s.Host] = s
	}
	for _, s := range all {
		if f.admits(s.Namespace, s.Host) {
			add(s)
		}
	}
	// What an admitted route leads to must be there, or the route leads nowhere.
	for r := range e.routes {
		for _, host := range destinations(r) {
			if s := known[host]; s != nil && shown[host] == nil {
				shown[host] = s
			}
		}
	}
	slices.SortFunc(out, byHost)
	return out
}

// destinations are all hosts that a route set leads to.
func destinations(r *model.RouteSet) []string {
	var out []string
	for _, list := range [][]model.Route{r.HTTP, r.TLS, r.TCP} {
		for _, route := range list {
			for _, d := range route.Destinations {
				out = append(out, d.Host)
			}
			for _, m := range route.Mirrors {
				out = append(out, m.Destination.Host)
			}
		}
	}
	return out
}

// Exported returns what the proxy would see without any Sidecar, sorted by host:
// names stay resolvable even where a Sidecar hides the routes.
func (v *View) Exported() []*model.Service { return v.Index.visible(v.Proxy.Namespace()) }

// ExportedService is the one of Exported that has a host, or nil.
func (v *View) ExportedService(host string) *model.Service {
	list := v.Exported()
	i, ok := slices.BinarySearchFunc(list, host, func(s *model.Service, h string) int { return cmp.Compare(s.Host, h) })
	if !ok {
		return nil
	}
	return list[i]
}

// Service returns the visible service of a host, or nil.
func (v *View) Service(host string) *model.Service {
	i, ok := slices.BinarySearchFunc(v.Services, host, func(s *model.Service, h string) int { return cmp.Compare(s.Host, h) })
	if !ok {
		return nil
	}
	return v.Services[i]
}

// ByRequest are the visible services whose requests say where they go, sorted by host.
func (v *View) ByRequest() []*model.Service {
	type key struct{ namespace string }
	hosts := v.Index.Lasting(key{v.Proxy.Namespace()}, func() any {
		var out []string
		for _, s := range v.Exported() {
			if s.Resolution == model.ByRequest {
				out = append(out, s.Host)
			}
		}
		return out
	}).([]string)
	return v.visibleOf(hosts)
}

// Routes returns the route sets for a gateway ("mesh" or "namespace/name") that
// the proxy may see, the one that wins first.
func (v *View) Routes(gateway string) []*model.RouteSet {
	if gateway == meshGateway && len(v.Listeners) > 0 && v.Listeners[0].Spec != nil {
		if r, ok := v.routesOf[gateway]; ok {
			return r
		}
		var out []*model.RouteSet
		for _, r := range v.visibleRoutes(gateway) {
			for i := range v.Listeners {
				if v.Listeners[i].routes[r] {
					out = append(out, r)
					break
				}
			}
		}
		v.routesOf[gateway] = out
		return out
	}
	return v.visibleRoutes(gateway)
}

func (v *View) visibleRoutes(gateway string) []*model.RouteSet {
	namespace := v.Proxy.Namespace()
	type key struct{ gateway, namespace string }
	return v.Index.Lasting(key{gateway, namespace}, func() any {
		var out []*model.RouteSet
		for _, r := range v.Index.routes[gateway] {
			if r.Exports.To(namespace) {
				out = append(out, r)
			}
		}
		return out
	}).([]*model.RouteSet)
}

// OutboundPolicy is what holds for destinations that the proxy does not know.
func (v *View) OutboundPolicy() model.OutboundPolicy {
	if v.Sidecar != nil && v.Sidecar.OutboundPolicy != nil {
		return *v.Sidecar.OutboundPolicy
	}
	return v.Mesh.Outbound
}

// Served returns the services that the proxy's own workload serves; what stands for this
// workload alone is another name for its part in one of these.
func (v *View) Served() []*model.Service {
	if v.Proxy.Workload == nil {
		return nil
	}
	all := v.Index.Served(v.Proxy.Workload)
	if !slices.ContainsFunc(all, alone) {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), alone)
}

func alone(s *model.Service) bool { return s.Instance != "" }

// hostFilter is a Sidecar's egress host list: "namespace/host".
type hostFilter struct {
	admit, refuse []nsHost
}

type nsHost struct{ namespace, host string }

func newHostFilter(hosts []string, own string) hostFilter {
	var f hostFilter
	for _, h := range hosts {
		namespace, host, ok := strings.Cut(h, "/")
		if !ok {
			namespace, host = "*", h
		}
		not := len(namespace) > 1 && namespace[0] == '~'
		if not {
			namespace = namespace[1:]
		}
		// In the root namespace's default Sidecar "." is the proxy's namespace.
		if namespace == "." {
			namespace = own
		}
		if not {
			f.refuse = append(f.refuse, nsHost{namespace, host})
		} else {
			f.admit = append(f.admit, nsHost{namespace, host})
		}
	}
	return f
}

func (n nsHost) covers(namespace, host string) bool {
	return n.namespace != "~" && (n.namespace == "*" || n.namespace == namespace) && hostMatches(n.host, host)
}

func (f hostFilter) admits(namespace, host string) bool {
	for _, n := range f.refuse {
		if n.covers(namespace, host) {
			return false
		}
	}
	for _, n := range f.admit {
		if n.covers(namespace, host) {
			return true
		}
	}
	return false
}

// admitsRoute tells whether a route set is imported: one of its hosts is asked for.
func (f hostFilter) admitsRoute(r *model.RouteSet) bool {
	for _, h := range r.Hosts {
		if f.admits(r.Key.Namespace, h) {
			return true
		}
		// "ns/*.example.com" imports nothing of "*", but "ns/a.example.com" does
		// import a route set for "*.example.com".
		for _, n := range f.admit {
			if n.namespace != "~" && (n.namespace == "*" || n.namespace == r.Key.Namespace) && hostMatches(h, n.host) {
				return true
			}
		}
	}
	return false
}

// Credential resolves a credentialName ("namespace/name"): a proxy gets Secrets
// of its own namespace only, so that a name written elsewhere means the one of
// that name beside the proxy, as in Istio. The Secret is nil when there is none.
func (v *View) Credential(ref string) (name string, s *model.Secret) {
	if model.Granted(ref) {
		return ref, v.Index.Secret(ref)
	}
	_, short, ok := strings.Cut(ref, "/")
	if !ok {
		short = ref
	}
	name = v.Proxy.Namespace() + "/" + short
	return name, v.Index.Secret(name)
}

// ClientCA returns the CA that goes with a Secret "namespace/name": its own, or
// that of a Secret with "-cacert" behind the name; nil when there is none.
func (v *View) ClientCA(name string) (ca, crl model.PrivateBytes) {
	if s := v.Index.Secret(name); s != nil && len(s.CA) > 0 {
		return s.CA, s.CRL
	}
	if s := v.Index.Secret(name + "-cacert"); s != nil {
		if len(s.CA) > 0 {
			return s.CA, s.CRL
		}
	}
	return nil, nil
}
