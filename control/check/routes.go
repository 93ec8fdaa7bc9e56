package check

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
)

const meshGateway = "mesh"

// routes judges VirtualServices.
func (c *checker) routes() {
	used := map[model.Key]bool{}
	for _, rs := range c.s.Routes {
		if rs.Of != (model.Key{}) {
			continue // control/attach has judged what it is made of
		}
		c.routeGateways(rs)
		c.routeHosts(rs)
		for layer, routes := range map[string][]model.Route{"http": rs.HTTP, "tls": rs.TLS, "tcp": rs.TCP} {
			for i := range routes {
				r, at := &routes[i], fmt.Sprintf("spec.%s[%d]", layer, i)
				c.destinations(rs, r, at)
				if r.Delegate != (model.Key{}) {
					used[r.Delegate] = true
					c.delegate(rs, r, at)
				}
			}
		}
	}
	for _, rs := range c.s.Routes {
		if rs.Delegate && !used[rs.Key] {
			c.note(CodeDelegate, &rs.Meta, "spec", "has no hosts and is nobody's delegate: it is not used", "add spec.hosts, or refer to it with delegate")
		}
	}
	c.duplicateHosts()
	c.ingress()
}

func (c *checker) delegate(rs *model.RouteSet, r *model.Route, at string) {
	field := at + ".delegate"
	target, _ := c.s.Objects.Get(r.Delegate).(*model.RouteSet)
	name := r.Delegate.Namespace + "/" + r.Delegate.Name
	switch {
	case target == nil && c.refused[r.Delegate]:
	case target == nil:
		var names []string
		for _, o := range c.s.Routes {
			if o.Delegate && o.Key.Namespace == r.Delegate.Namespace {
				names = append(names, o.Key.Name)
			}
		}
		remedy := "add it"
		if best := closest(r.Delegate.Name, names); best != "" {
			remedy = "did you mean " + best + "?"
		}
		c.fail(CodeDelegate, &rs.Meta, field, "there is no VirtualService "+name, remedy)
	case !target.Delegate:
		c.fail(CodeDelegate, &rs.Meta, field, "VirtualService "+name+" has hosts of its own", "remove its spec.hosts")
	case !target.Exports.To(rs.Key.Namespace):
		c.fail(CodeInvisible, &rs.Meta, field, "VirtualService "+name+" is not exported to "+rs.Key.Namespace, "add the namespace to its exportTo")
	}
}

// routeGateways judges spec.gateways, and whether each host is one of a gateway's.
func (c *checker) routeGateways(rs *model.RouteSet) {
	if rs.Delegate {
		return
	}
	served := map[string]bool{}
	var idle []int // gateways that serve none of the hosts
	known := true
	for i, g := range rs.Gateways {
		if g == meshGateway {
			continue
		}
		gw := c.gateway(g)
		if gw == nil {
			ns, name, _ := strings.Cut(g, "/")
			if !c.refused[model.Key{Kind: model.KindGateway, Namespace: ns, Name: name}] {
				c.fail(CodeGateway, &rs.Meta, fmt.Sprintf("spec.gateways[%d]", i), "there is no Gateway "+g, c.suggestGateway(g))
			}
			known = false // what it would serve
			continue
		}
		any := false
		for _, h := range rs.Hosts {
			if servesHost(gw, h, rs.Key.Namespace) {
				served[h], any = true, true
			}
		}
		if !any {
			idle = append(idle, i)
		}
	}
	if known {
		c.unserved(rs, served, idle)
	}
}

// unserved warns of hosts that none of the gateways serves, or of gateways that serve
// none of the hosts. Hosts of a route that is for sidecars too may be theirs.
func (c *checker) unserved(rs *model.RouteSet, served map[string]bool, idle []int) {
	if !slices.Contains(rs.Gateways, meshGateway) {
		for j, h := range rs.Hosts {
			if !served[h] {
				c.warn(CodeGatewayHost, &rs.Meta, fmt.Sprintf("spec.hosts[%d]", j), fmt.Sprintf("no server of Gateway %s is for %q", strings.Join(rs.Gateways, ", "), h), "add it to the Gateway's hosts")
			}
		}
		if len(served) == 0 {
			return
		}
	}
	for _, i := range idle {
		c.warn(CodeGatewayHost, &rs.Meta, fmt.Sprintf("spec.gateways[%d]", i), fmt.Sprintf("no server of Gateway %s is for any of the hosts", rs.Gateways[i]), "add them to the Gateway's hosts, or remove it here")
	}
}

func (c *checker) gateway(name string) *model.Gateway {
	ns, n, _ := strings.Cut(name, "/")
	gw, _ := c.s.Objects.Get(model.Key{Kind: model.KindGateway, Namespace: ns, Name: n}).(*model.Gateway)
	return gw
}

func (c *checker) suggestGateway(name string) string {
	_, short, _ := strings.Cut(name, "/")
	var names []string
	for _, g := range c.s.Gateways {
		full := g.Key.Namespace + "/" + g.Key.Name
		if g.Key.Name == short {
			return "did you mean " + full + "?"
		}
		names = append(names, full)
	}
	if best := closest(name, names); best != "" {
		return "did you mean " + best + "?"
	}
	return "add it, or write mesh"
}

// servesHost tells whether a server of the gateway and a host have names in common.
func servesHost(gw *model.Gateway, host, namespace string) bool {
	for i := range gw.Servers {
		for _, h := range gw.Servers[i].Hosts {
			ns, name, ok := strings.Cut(h, "/")
			if !ok {
				ns, name = "*", h
			}
			if (ns == "*" || ns == namespace) && overlap(name, host) {
				return true
			}
		}
	}
	return false
}

// overlap tells whether two hosts, wildcards allowed, have names in common.
func overlap(a, b string) bool {
	under := func(wild, host string) bool {
		return wild == "*" || strings.HasPrefix(wild, "*.") && strings.HasSuffix(host, wild[1:])
	}
	return a == b || under(a, b) || under(b, a)
}

// routeHosts warns of hosts that no program of the mesh can call.
func (c *checker) routeHosts(rs *model.RouteSet) {
	if !slices.Contains(rs.Gateways, meshGateway) || len(rs.Gateways) > 1 || rs.Delegate {
		return
	}
	for i, h := range rs.Hosts {
		if c.service(h) == nil && !c.covers(h) && !c.refusedHost(h) {
			used := "the routes are not used"
			if len(rs.HTTP) > 0 {
				used = "its HTTP routes are for port 80, and for ports of services beside it"
			}
			c.warn(CodeNoHost, &rs.Meta, fmt.Sprintf("spec.hosts[%d]", i), fmt.Sprintf("no service has the host %q: %s", h, used), c.suggestHost(h, rs.Key.Namespace))
		}
	}
}

// covers tells whether a wildcard host stands for any service.
func (c *checker) covers(host string) bool {
	return strings.HasPrefix(host, "*") && slices.ContainsFunc(c.hosts, func(h string) bool { return overlap(host, h) })
}

func (c *checker) destinations(rs *model.RouteSet, r *model.Route, at string) {
	var sum uint64
	for i := range r.Destinations {
		d := &r.Destinations[i]
		sum += uint64(d.Weight)
		c.destination(rs, d, fmt.Sprintf("%s.route[%d].destination", at, i))
	}
	if len(r.Destinations) > 1 && sum != 100 && sum != 0 {
		c.warn(CodeWeights, &rs.Meta, at+".route", fmt.Sprintf("the weights add up to %d, not 100", sum), "traffic is shared in proportion; write what you mean")
	}
	for i := range r.Mirrors {
		field := fmt.Sprintf("%s.mirrors[%d].destination", at, i)
		if len(r.Mirrors) == 1 && rs.Lines.Has(at+".mirror") {
			field = at + ".mirror"
		}
		c.destination(rs, &r.Mirrors[i].Destination, field)
	}
}

func (c *checker) destination(rs *model.RouteSet, d *model.Destination, at string) {
	if d.Host == "" {
		return
	}
	s := c.visible(d.Host, rs.Key.Namespace)
	if s == nil {
		if hidden := c.service(d.Host); hidden != nil {
			c.fail(CodeInvisible, &rs.Meta, at+".host", fmt.Sprintf("%s is not exported to namespace %s", d.Host, rs.Key.Namespace), "add the namespace to the exportTo of "+short(&hidden.Meta))
			return
		}
		if !c.refusedHost(d.Host) {
			c.fail(CodeHost, &rs.Meta, at+".host", fmt.Sprintf("there is no service %q: %s", d.Host, outcome(at)), c.suggestHost(d.Host, rs.Key.Namespace))
		}
		return
	}
	for _, ns := range rs.Exports.Namespaces {
		if !rs.Exports.Public && ns != rs.Key.Namespace && c.visible(d.Host, ns) == nil {
			c.fail(CodeInvisible, &rs.Meta, at+".host", fmt.Sprintf("%s is not exported to namespace %s, for which the routes are", d.Host, ns), "add the namespace to the exportTo of "+short(&s.Meta))
			break
		}
	}
	switch {
	case d.Port != 0 && s.Port(d.Port) == nil:
		c.fail(CodePort, &rs.Meta, at+".port.number", fmt.Sprintf("%s has no port %d", short(&s.Meta), d.Port), "it has "+portList(s))
	case d.Port == 0 && len(s.Ports) > 1 && !rs.Delegate:
		c.undecided(rs, s, at)
	}
	if d.Subset != "" {
		c.subset(rs, d, at+".subset")
	}
}

// undecided judges a destination that names none of a service's ports: sidecars take
// the one that the client has asked for, which has to be one of them.
func (c *checker) undecided(rs *model.RouteSet, s *model.Service, at string) {
	remedy := "write port: {number: …}, it has " + portList(s)
	if !slices.Contains(rs.Gateways, meshGateway) {
		c.fail(CodeUndecided, &rs.Meta, at+".port", short(&s.Meta)+" has several ports", remedy)
		return
	}
	for _, h := range rs.Hosts {
		from := c.service(h)
		if from == nil || from == s {
			continue
		}
		for i := range from.Ports {
			if n := from.Ports[i].Port; s.Port(n) == nil {
				c.warn(CodeUndecided, &rs.Meta, at+".port", fmt.Sprintf("%s has several ports, and not %d, which %s is called at", short(&s.Meta), n, h), remedy)
				return
			}
		}
	}
}

// outcome says what clients see of a route that leads nowhere.
func outcome(field string) string {
	if strings.HasPrefix(field, "spec.http") {
		return "requests get 503"
	}
	return "connections are closed"
}

func portList(s *model.Service) string {
	var out []string
	for i := range s.Ports {
		out = append(out, fmt.Sprint(s.Ports[i].Port))
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

// short names an object as people do: "Service default/reviews".
func short(m *model.Meta) string { return strings.Replace(m.Key.String(), "/", " ", 1) }

func (c *checker) subset(rs *model.RouteSet, d *model.Destination, field string) {
	var names []string
	for _, p := range c.policiesFor(d.Host) {
		for i := range p.Subsets {
			if p.Subsets[i].Name == d.Subset {
				return
			}
			names = append(names, p.Subsets[i].Name)
		}
	}
	remedy := c.perhaps(model.KindDestinationRule, "add it to a DestinationRule for the host")
	if best := closest(d.Subset, names); best != "" {
		remedy = "did you mean " + best + "?"
	} else if len(names) > 0 {
		remedy = "there are " + strings.Join(names, ", ")
	}
	c.fail(CodeSubset, &rs.Meta, field, fmt.Sprintf("no DestinationRule has a subset %q of %s: %s", d.Subset, d.Host, outcome(field)), remedy)
}

// policiesFor returns the DestinationRules for a host: exact ones, else those
// with a wildcard over it.
func (c *checker) policiesFor(host string) []*model.TrafficPolicySet {
	if exact := c.rules[host]; exact != nil {
		return exact
	}
	var out []*model.TrafficPolicySet
	for _, p := range c.s.Policies {
		if strings.HasPrefix(p.Host, "*") && overlap(p.Host, host) {
			out = append(out, p)
		}
	}
	return out
}

// duplicateHosts finds VirtualServices that claim the same host for the mesh:
// Routes is sorted so that the first one wins.
func (c *checker) duplicateHosts() {
	first := map[string]*model.RouteSet{}
	for _, rs := range c.s.Routes {
		if !slices.Contains(rs.Gateways, meshGateway) || rs.Of != (model.Key{}) {
			continue
		}
		for i, h := range rs.Hosts {
			winner := first[h]
			if winner == nil {
				first[h] = rs
				continue
			}
			if meet(winner.Exports, winner.Key.Namespace, rs.Exports, rs.Key.Namespace) {
				c.warn(CodeTaken, &rs.Meta, fmt.Sprintf("spec.hosts[%d]", i),
					fmt.Sprintf("%q has routes in %s (%s) already, which is used", h, short(&winner.Meta), winner.Origin), "put the routes into one VirtualService")
			}
		}
	}
}

// meet tells whether any namespace sees both.
func meet(a model.Visibility, aNS string, b model.Visibility, bNS string) bool {
	switch {
	case a.Public && b.Public:
		return true
	case a.Public:
		return len(b.Namespaces) > 0 || aNS == bNS
	case b.Public:
		return len(a.Namespaces) > 0
	}
	return slices.ContainsFunc(a.Namespaces, func(n string) bool { return slices.Contains(b.Namespaces, n) })
}
