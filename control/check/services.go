package check

import (
	"cmp"
	"fmt"
	"net/netip"

	"github.com/weftmesh/weft/control/model"
)

// services judges Services and ServiceEntries.
func (c *checker) services() {
	vips := map[netip.Prefix]*model.Service{}
	spoken := map[string]*model.Service{}
	open := map[uint16]*model.Service{} // ports of the host
	for _, s := range c.s.Services {
		if s.Instance != "" {
			continue // what is wrong with it is wrong with its service
		}
		if winner := c.taker(s); winner != nil {
			c.warn(CodeTaken, &s.Meta, hostField(s), fmt.Sprintf("%q is the host of %s (%s) too, which comes first", s.Host, short(&winner.Meta), winner.Origin), "remove one, or narrow exportTo")
		}
		for _, p := range s.VIPs {
			if s.AutoVIP {
				continue
			}
			if winner := vips[p]; winner != nil && winner.Key.Name != s.Key.Name && !sharedEntry(winner, s) {
				c.fail(CodeTaken, &s.Meta, addressField(s), fmt.Sprintf("%s is the address of %s (%s) too", p.Addr(), short(&winner.Meta), winner.Origin), "give each an address of its own")
				continue
			}
			vips[p] = s
		}
		c.undeclared(s)
		c.exposure(s, open)
		c.selection(s)
		if s.FromEntry {
			c.protocols(s, spoken)
			c.addresses(s)
		}
	}
}

// undeclared warns of ports that are for protocols of messages which nobody declares.
func (c *checker) undeclared(s *model.Service) {
	for i := range s.Ports {
		if p := &s.Ports[i]; p.Asked && p.App != "" && p.Protocol.Messages() == "" {
			c.warn(CodeUndeclared, &s.Meta, fmt.Sprintf("spec.ports[%d]", i), fmt.Sprintf("port %d is for %q, and no ApplicationProtocol says what that is: it is carried as %s", p.Port, p.App, spelt(p.Protocol)),
				"add an ApplicationProtocol, or name the port by another protocol")
		}
	}
}

// protocols warns of ServiceEntries that give one port of a host two protocols.
func (c *checker) protocols(s *model.Service, spoken map[string]*model.Service) {
	for i := range s.Ports {
		p := &s.Ports[i]
		key := fmt.Sprint(s.Host, " ", p.Port)
		first := spoken[key]
		if first == nil {
			spoken[key] = s
			continue
		}
		if q := first.Port(p.Port); q.Protocol != p.Protocol && meet(first.Exports, first.Key.Namespace, s.Exports, s.Key.Namespace) {
			c.warn(CodeProtocols, &s.Meta, fmt.Sprintf("spec.ports[%d].protocol", i), fmt.Sprintf("port %d of %s is %s here and %s in %s (%s)", p.Port, s.Host, spelt(p.Protocol), spelt(q.Protocol), short(&first.Meta), first.Origin), "write the same in both")
		}
	}
}

// addresses warns of ports that take all traffic of their number, since neither
// addresses nor anything in the bytes tells whose it is.
func (c *checker) addresses(s *model.Service) {
	if len(s.VIPs) > 0 || s.Key.Name != s.Name {
		return // each host is a Service, the first has the object's name
	}
	for i := range s.Ports {
		if p := &s.Ports[i]; p.Protocol == model.Unknown || p.Protocol.IsTCP() {
			c.warn(CodeAddresses, &s.Meta, fmt.Sprintf("spec.ports[%d]", i), fmt.Sprintf("%s has no addresses: its TCP port %d takes the traffic to every address that nobody else has", s.Host, p.Port),
				"list spec.addresses, or let a resolution other than NONE find them")
			return
		}
	}
}

// spelt is a protocol as people read it.
func spelt(p model.Protocol) string { return cmp.Or(string(p), "unknown") }

// taker returns the service that takes a host before s does, if any sees both.
func (c *checker) taker(s *model.Service) *model.Service {
	for _, o := range c.hosted[s.Host] {
		if o == s {
			return nil
		}
		if meet(o.Exports, o.Key.Namespace, s.Exports, s.Key.Namespace) {
			return o
		}
	}
	return nil
}

// sharedEntry tells whether two services are hosts of one ServiceEntry.
func sharedEntry(a, b *model.Service) bool {
	return a.FromEntry && b.FromEntry && a.Name == b.Name && a.Namespace == b.Namespace
}

func hostField(s *model.Service) string {
	if s.FromEntry {
		return "spec.hosts"
	}
	return "metadata.name"
}

func addressField(s *model.Service) string {
	if s.FromEntry {
		return "spec.addresses"
	}
	return "spec.clusterIP"
}

// exposure judges the ports that a service asks of the host.
func (c *checker) exposure(s *model.Service, open map[uint16]*model.Service) {
	for i := range s.Ports {
		var n uint16
		field := fmt.Sprintf("spec.ports[%d].nodePort", i)
		switch s.Exposure {
		case model.OnNodePort:
			n = s.Ports[i].NodePort
		case model.OnLoadBalancer:
			n, field = s.Ports[i].Port, fmt.Sprintf("spec.ports[%d].port", i)
		}
		if n == 0 {
			continue
		}
		if winner := open[n]; winner != nil && winner != s {
			c.fail(CodeTaken, &s.Meta, field, fmt.Sprintf("port %d of the host is taken by %s (%s)", n, short(&winner.Meta), winner.Origin), "use another port")
			continue
		}
		open[n] = s
	}
}

// selection judges what a service's selector finds.
func (c *checker) selection(s *model.Service) {
	if s.Selector == nil {
		if !s.FromEntry && s.ExternalName == "" {
			c.note(CodeNothing, &s.Meta, "spec", "has no selector: it has no endpoints", "add spec.selector")
		}
		return
	}
	field := "spec.selector"
	if s.FromEntry {
		field = "spec.workloadSelector"
	}
	found := false
	named := map[string]bool{}
	complete := true
	for _, r := range c.runs[s.Namespace] {
		if !model.Matches(s.Selector, r.labels) {
			continue
		}
		found = true
		complete = complete && r.known
		for name := range r.ports {
			named[name] = true
		}
	}
	if !found {
		c.note(CodeNothing, &s.Meta, field, fmt.Sprintf("nothing in namespace %s has the labels %s: the service has no endpoints", s.Namespace, text(s.Selector)), "check the labels of the processes")
		return
	}
	for i := range s.Ports {
		if t := s.Ports[i].TargetName; t != "" && !named[t] && complete {
			var names []string
			for n := range named {
				names = append(names, n)
			}
			remedy := "name the port in the process's spec.ports"
			if best := closest(t, names); best != "" {
				remedy = "did you mean " + best + "?"
			}
			c.fail(CodePort, &s.Meta, fmt.Sprintf("spec.ports[%d].targetPort", i), fmt.Sprintf("no process that the service selects has a port named %q", t), remedy)
		}
	}
}
