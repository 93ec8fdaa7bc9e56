package route

import (
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
)

// hostTable says which route set decides for which service or host.
type hostTable struct {
	services map[string]*model.RouteSet // by host
	// others are hosts of route sets that no service has, in the sets' order.
	others []hostRoute
}

type hostRoute struct {
	host string
	set  *model.RouteSet
	// ports are those of the services that the set is for, where they are HTTP. At port 80
	// the host has routes besides, as in istiod.
	ports map[uint16]bool
}

// table is made once per egress listener: every service gets the route set with
// the most specific host, the older one of two.
func (b *Builder) table(listener int) *hostTable {
	if t, ok := b.tables[listener]; ok {
		return t
	}
	services := b.v.Listeners[listener].Services
	byHost := make(map[string]*model.Service, len(services))
	for _, s := range services {
		byHost[s.Host] = s
	}
	t := &hostTable{services: map[string]*model.RouteSet{}}
	exact := map[string]*model.RouteSet{}
	var wild []hostRoute
	for _, set := range b.v.Routes(MeshGateway) {
		if len(set.HTTP) == 0 {
			continue
		}
		ports := map[uint16]bool{}
		for _, h := range set.Hosts {
			b.claim(exact, h, set)
			switch s := byHost[h]; {
			case s != nil:
				if t.services[h] == nil {
					t.services[h] = set
				}
				addPorts(ports, s)
			case strings.HasPrefix(h, "*"):
				wild = append(wild, hostRoute{h, set, ports})
			case exact[h] == set:
				t.others = append(t.others, hostRoute{h, set, ports})
			}
		}
	}
	t.matchWild(services, wild)
	b.tables[listener] = t
	return t
}

// claim remembers who has a host first and reports the second.
func (b *Builder) claim(exact map[string]*model.RouteSet, h string, set *model.RouteSet) {
	first := exact[h]
	if first == nil {
		exact[h] = set
		return
	}
	if first == set || first.Of != (model.Key{}) && set.Of != (model.Key{}) {
		return
	}
	b.report(model.Finding{
		Code: CodeHost, Severity: model.Warning, Object: set.Written(), Origin: set.Origin, Field: "spec.hosts",
		Message: "host " + h + " already belongs to " + first.Written().String() + ", which is older; this one has no effect on it in sidecars",
		Remedy:  "put the routes of one host into one object, or delegate",
	})
}

// matchWild gives services without a set of their own the longest wildcard that
// covers them; wildcards that cover none become hosts of their own.
func (t *hostTable) matchWild(services []*model.Service, wild []hostRoute) {
	if len(wild) == 0 {
		return
	}
	slices.SortStableFunc(wild, func(a, b hostRoute) int { return len(b.host) - len(a.host) })
	used := map[string]bool{}
	for _, s := range services {
		for _, w := range wild {
			if w.host != "*" && !strings.HasSuffix(s.Host, w.host[1:]) {
				continue
			}
			used[w.host] = true
			addPorts(w.ports, s)
			if t.services[s.Host] == nil {
				t.services[s.Host] = w.set
			}
			break
		}
	}
	seen := map[string]bool{}
	for _, w := range wild {
		if !used[w.host] && !seen[w.host] {
			seen[w.host] = true
			t.others = append(t.others, w)
		}
	}
}

func addPorts(ports map[uint16]bool, s *model.Service) {
	for _, p := range s.Ports {
		if Routable(p.Protocol) {
			ports[p.Port] = true
		}
	}
}

// Routable tells whether HTTP routes are for a port: HTTP by name, or not known.
func Routable(p model.Protocol) bool { return p.IsHTTP() || p == model.Unknown }
