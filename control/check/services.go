package check

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

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
		if winner := c.taker(s); winner != nil && winner.Namespace == s.Namespace {
			c.joins(s, winner)
		} else if winner != nil {
			c.warn(CodeTaken, &s.Meta, hostField(s), fmt.Sprintf("%q is the host of %s (%s) too, which comes first", s.Host, short(&winner.Meta), winner.Origin), "remove one, or narrow exportTo")
		}
		for _, p := range s.VIPs {
			if s.AutoVIP {
				continue
			}
			if winner := vips[p]; winner != nil && winner.Key.Name != s.Key.Name && !sharedEntry(winner, s) && !sameHost(winner, s) {
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

// joins judges services of one host and namespace, whose endpoints are joined: the ports
// are too, unless something else is different.
func (c *checker) joins(s, winner *model.Service) {
	if s.Merges(winner) {
		return
	}
	if winner.FromEntry && !s.FromEntry {
		s, winner = winner, s // a Service comes before entries
	}
	what := "resolution, labels, workloadSelector or exportTo are others"
	if s.FromEntry != winner.FromEntry {
		what = "one is a Service"
	}
	c.warn(CodeTaken, &s.Meta, hostField(s), fmt.Sprintf("%q is the host of %s (%s) too, which comes first: only the endpoints of both count, since %s", s.Host, short(&winner.Meta), winner.Origin, what),
		"write the same in both, or put them into one")
}

func portNames(s *model.Service) string {
	names := make([]string, 0, len(s.Ports))
	for i := range s.Ports {
		names = append(names, strconv.Quote(s.Ports[i].Name))
	}
	return strings.Join(names, ", ")
}

// sameHost tells whether two services are parts of one.
func sameHost(a, b *model.Service) bool { return a.Host == b.Host && a.Namespace == b.Namespace }

// slices judges EndpointSlices and Endpoints.
func (c *checker) slices() {
	for _, sl := range c.s.Slices {
		if sl.Service == "" {
			continue // has been said
		}
		key := model.Key{Kind: model.KindService, Namespace: sl.Key.Namespace, Name: sl.Service}
		s, _ := c.s.Objects.Get(key).(*model.Service)
		field := "metadata.labels"
		if sl.Mirrored {
			field = "metadata.name"
		}
		switch {
		case s == nil:
			c.warn(CodeNothing, &sl.Meta, field, "there is no "+key.Title()+": the endpoints are nobody's", "add the Service, or correct the name")
			continue
		case s.ExternalName != "":
			c.warn(CodeNothing, &sl.Meta, field, short(&s.Meta)+" is an ExternalName: it has no endpoints", "remove one")
			continue
		case sl.Mirrored && len(s.Selector) > 0:
			c.note(CodeNothing, &sl.Meta, field, short(&s.Meta)+" has a selector, which says what its endpoints are: these have no effect", "remove one")
			continue
		}
		for _, name := range sl.Ports {
			if s.Named(name) == nil {
				c.warn(CodePort, &sl.Meta, "ports", fmt.Sprintf("%s has no port named %q", short(&s.Meta), name), "its ports are named "+portNames(s))
			}
		}
	}
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
	if len(s.Inline) > 0 || len(s.Joined) > 0 {
		return // it has endpoints besides
	}
	if s.Selector == nil {
		if !s.FromEntry && s.ExternalName == "" {
			c.note(CodeNothing, &s.Meta, "spec", "has no selector and no EndpointSlice: it has no endpoints", "add spec.selector, or an EndpointSlice")
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
