package route

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/wire"
)

// defaultPort is where a client goes that names no port.
const defaultPort = 80

// vhdsWait bounds how long a proxy waits for a first virtual host. It is short: a
// second set of routes on one stream is never sent one.
const vhdsWait = 100 * time.Millisecond

// maxRounds is after how many rounds a source comes again.
const maxRounds = 1000

// OnDemand makes the route configuration of a proxy that asks for each virtual
// host when its first request comes. For another round the proxy forgets what it asked
// for, which it does for another source only.
func OnDemand(round int) *routev3.RouteConfiguration {
	out := config(wire.OnDemandRoute)
	source := pb.ADS()
	// A proxy that waits for a first virtual host for ever would never be ready.
	source.InitialFetchTimeout = pb.Duration(vhdsWait + time.Duration(round%maxRounds)*time.Microsecond)
	out.Vhds = &routev3.Vhds{ConfigSource: source}
	return out
}

// OnDemandHost makes the virtual host "on-demand/AUTHORITY" that a proxy asks for:
// of the service or route set that the authority means to this proxy, or else what
// the outbound policy says of strangers. It has the one domain that was asked for.
//
// An authority without a port means port 80, or the first HTTP port of a service
// that has no port 80. One with a port that is not HTTP by declaration is served as
// HTTP too: the proxy asks only when HTTP has come.
//
// patch changes the virtual host as Istio has it, given the name of the route
// configuration that it is in there; where it takes that away, the authority is a stranger.
func (b *Builder) OnDemandHost(authority string, patch func(config string, vh *routev3.VirtualHost) *routev3.VirtualHost) *routev3.VirtualHost {
	host, port := splitAuthority(authority)
	config, out := b.eagerHost(host, port)
	if out = patch(config, out); out == nil {
		out = b.rest()
	}
	// The resource's name too: a proxy forgets a virtual host by that.
	out.Name = wire.OnDemandRoute + "/" + authority
	out.Domains = []string{authority}
	for _, r := range out.Routes {
		// The connection manager bounds how long a virtual host is waited for; a
		// stream that has its route is not bounded.
		if a := r.GetRoute(); a != nil && a.IdleTimeout == nil {
			a.IdleTimeout = pb.Duration(0)
		}
	}
	return out
}

// eagerHost makes the virtual host that an authority leads to in Istio's layout, and
// names the route configuration that it is in there.
func (b *Builder) eagerHost(host string, port uint16) (config string, vh *routev3.VirtualHost) {
	config = strconv.Itoa(int(orDefault(port)))
	fresh := func() *domainSet { return &domainSet{known: map[string]bool{}} }
	if s, listener, p := b.demanded(host, port); s != nil {
		if vh = b.serviceHost(b.table(listener), s, p, fresh()); vh != nil {
			return strconv.Itoa(int(p)), vh
		}
	} else if o, ok := b.demandedOther(host, port); ok {
		if vh = b.otherHost(o, orDefault(port), fresh()); vh != nil {
			return config, vh
		}
	}
	return config, b.rest()
}

func orDefault(port uint16) uint16 {
	if port == 0 {
		return defaultPort
	}
	return port
}

// splitAuthority takes "reviews:9080" apart; no port is 0.
func splitAuthority(s string) (host string, port uint16) {
	at := strings.LastIndexByte(s, ':')
	if at < 0 || strings.HasSuffix(s, "]") {
		return s, 0
	}
	n, err := strconv.ParseUint(s[at+1:], 10, 16)
	if err != nil {
		return s, 0
	}
	return s[:at], uint16(n)
}

// demanded finds the service, the egress listener that shows it, and the port.
func (b *Builder) demanded(host string, port uint16) (s *model.Service, listener int, at uint16) {
	for _, s := range b.named(host) {
		if at := portOf(s, port); at != 0 {
			if l, ok := b.showing(s, at); ok {
				return s, l, at
			}
		}
	}
	return nil, 0, 0
}

// portOf is the port that a client means; 0: the service has no such port.
func portOf(s *model.Service, port uint16) uint16 {
	if p := s.Port(orDefault(port)); p != nil && p.Protocol != model.UDP {
		return p.Port
	}
	if port != 0 {
		return 0
	}
	for _, p := range s.Ports {
		if Routable(p.Protocol) {
			return p.Port
		}
	}
	return 0
}

// showing finds the egress listener that shows a service's port. A listener with a
// port has that port for itself.
func (b *Builder) showing(s *model.Service, port uint16) (listener int, ok bool) {
	has := func(e *scope.Egress) bool {
		_, found := slices.BinarySearchFunc(e.Services, s.Host, func(x *model.Service, h string) int { return strings.Compare(x.Host, h) })
		return found
	}
	for i := range b.v.Listeners {
		if e := &b.v.Listeners[i]; e.Port == port {
			return i, has(e)
		}
	}
	for i := range b.v.Listeners {
		if e := &b.v.Listeners[i]; e.Port == 0 && has(e) {
			return i, true
		}
	}
	return 0, false
}

// named are the visible services that a name may mean, the one that is meant most
// first. It is the inverse of hostNames.
func (b *Builder) named(host string) []*model.Service {
	var out []*model.Service
	add := func(s *model.Service) {
		if s != nil && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	if full, ok := strings.CutSuffix(host, "."); ok {
		if host = full; full == "" {
			return nil
		}
		add(b.byName(full)) // a full name, as DNS knows it; it is short for nothing
	} else {
		for _, full := range b.fullNames(host) {
			add(b.byName(full))
		}
	}
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		for _, s := range b.v.ByAddress(a) {
			add(s)
		}
	}
	// An instance of a headless service, or a name under a wildcard.
	for first, rest, ok := strings.Cut(host, "."); ok; first, rest, ok = strings.Cut(rest, ".") {
		if first+"."+rest == host {
			for _, full := range b.fullNames(rest) {
				if s := b.byName(full); s != nil && s.Headless && !s.FromEntry {
					add(s)
				}
			}
		}
		add(b.v.Service("*." + rest))
	}
	return out
}

// byName is a visible service by its name, or by another that it has.
func (b *Builder) byName(full string) *model.Service {
	if s := b.v.Service(full); s != nil {
		return s
	}
	if a := b.v.Index.ServiceAny(full); a != nil && b.v.Index.IsAlias(a) {
		return b.v.Service(a.ExternalName)
	}
	return nil
}

// fullNames are the full names that may be meant by one.
func (b *Builder) fullNames(host string) []string {
	out := []string{host}
	domain := b.v.Proxy.Domain(b.v.Mesh.ClusterDomain)
	for rest, ok := domain, domain != ""; ok; _, rest, ok = strings.Cut(rest, ".") {
		full := host + "." + rest
		if slices.Contains(shortNames(full, domain), host) {
			out = append(out, full)
		}
	}
	return out
}

// demandedOther finds the route set of a host that no service has: one of that name
// before wildcards, and of these the longest.
func (b *Builder) demandedOther(host string, port uint16) (best hostRoute, ok bool) {
	domain := b.v.Proxy.Domain(b.v.Mesh.ClusterDomain)
	for i := range b.v.Listeners {
		if e := &b.v.Listeners[i]; e.Port != 0 && e.Port != orDefault(port) {
			continue
		}
		for _, o := range b.table(i).others {
			if at := orDefault(port); !o.ports[at] && at != defaultPort {
				continue
			}
			wild := strings.HasPrefix(o.host, "*")
			switch {
			case o.host == host, slices.Contains(shortNames(o.host, domain), host):
				return o, true
			case wild && strings.HasSuffix(host, o.host[1:]) && (!ok || len(o.host) > len(best.host)):
				best, ok = o, true
			}
		}
	}
	return best, ok
}

// Destinations are the clusters that a virtual host names, mirrors included.
func Destinations(vh *routev3.VirtualHost) []string {
	seen := map[string]bool{}
	var out []string
	add := func(name string) {
		if name != "" && !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	for _, r := range vh.Routes {
		a := r.GetRoute()
		add(a.GetCluster())
		for _, c := range a.GetWeightedClusters().GetClusters() {
			add(c.Name)
		}
		for _, m := range a.GetRequestMirrorPolicies() {
			add(m.Cluster)
		}
	}
	return out
}

// Found is what an authority means to a client: a service, or the host of a route
// set that no service has.
type Found struct {
	Host string
	Port uint16

	service  *model.Service
	listener int
	set      *model.RouteSet // of a host that is no service
}

// Find tells what an authority means, as for OnDemandHost; not ok: nothing that the
// mesh knows.
func (b *Builder) Find(authority string) (f Found, ok bool) {
	host, port := splitAuthority(authority)
	if s, listener, at := b.demanded(host, port); s != nil {
		return Found{Host: s.Host, Port: at, service: s, listener: listener}, true
	}
	if o, ok := b.demandedOther(host, port); ok {
		return Found{Host: host, Port: orDefault(port), set: o.set}, true
	}
	return Found{}, false
}

// Routes are the routes of what was found, and the route set that they are of; nil:
// nobody wrote one.
func (b *Builder) Routes(f Found) ([]*routev3.Route, *model.RouteSet) {
	if f.service == nil {
		return (&site{Builder: b, gateway: MeshGateway, port: f.Port}).routes(f.set), f.set
	}
	t := b.table(f.listener)
	return b.serviceRoutes(t, f.service, f.Port), t.services[f.service.Host]
}
