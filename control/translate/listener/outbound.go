package listener

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/route"
	"github.com/weftmesh/weft/wire"
)

// spot is where an outbound listener is: "" stands for all addresses.
type spot struct {
	addr string
	port uint16
}

// draft is an outbound listener in the making: several services may share one.
type draft struct {
	spot
	extra []string // further addresses of a dual-stack service
	// rds is the route configuration of the HTTP chain; empty: none.
	rds     string
	sniffed bool
	// chains are TCP chains with a match of their own.
	chains []*listenerv3.FilterChain
	// rest is what takes all other bytes; nil: what the outbound policy says, on
	// a wildcard listener, nothing on one of a virtual IP.
	rest  *listenerv3.FilterChain
	owner *model.Service // who has rest, for conflicts
	// grpcWeb: a service of the port speaks it.
	grpcWeb bool
	// forward: a service of the port is where the request says.
	forward bool
	// bound: see scope.Egress.Bound.
	bound bool
}

// shared tells whether services have the listener that have not its address.
func (d *draft) shared() bool { return d.addr == "" || d.bound }

// outboundSet collects the drafts of a view.
type outboundSet struct {
	*Builder
	drafts map[spot]*draft
	order  []*draft
	routes map[string]bool
	// claimed are the ports that Sidecar egress listeners have for themselves.
	claimed map[uint16]int
}

func (b *Builder) outbound() {
	o := &outboundSet{Builder: b, drafts: map[spot]*draft{}, routes: map[string]bool{}, claimed: map[uint16]int{}}
	for i, e := range b.v.Listeners {
		if e.Port == 0 {
			continue
		}
		if e.Bound() {
			continue
		}
		if e.Spec.Bind != "" {
			b.report(model.Finding{
				Code: CodeBind, Severity: model.Error, Object: b.v.Sidecar.Key, Origin: b.v.Sidecar.Origin,
				Field: "spec.egress[" + strconv.Itoa(i) + "].bind", Message: "an egress listener cannot be bound to " + e.Spec.Bind + "; it is captured instead",
				Remedy: "remove the field",
			})
		}
		if _, taken := o.claimed[e.Port]; !taken {
			o.claimed[e.Port] = i
		}
	}
	b.checkEgressProxy()
	for i := range b.v.Listeners {
		o.egress(i)
	}
	b.out.Listeners = append(b.out.Listeners, b.virtualOutbound())
	for _, d := range o.sorted() {
		b.out.Listeners = append(b.out.Listeners, o.emit(d))
	}
}

// checkEgressProxy reports a Sidecar's egressProxy that is not there for the proxy:
// what the mesh does not know goes nowhere then.
func (b *Builder) checkEgressProxy() {
	if b.v.Sidecar == nil || b.v.Sidecar.EgressProxy == nil {
		return
	}
	to := b.v.Sidecar.EgressProxy
	s := b.v.Service(to.Host)
	if s != nil && s.Port(to.Port) != nil && (to.Subset == "" || b.v.Policy(s).Subset(to.Subset) != nil) {
		return
	}
	f := model.Finding{
		Code: CodeEgress, Severity: model.Error, Object: b.v.Sidecar.Key, Field: "spec.outboundTrafficPolicy.egressProxy",
		Message: "the proxy sees no port " + strconv.Itoa(int(to.Port)) + " of " + to.Host + ", so that unknown traffic goes nowhere",
		Remedy:  "import the host in spec.egress, and name a port and subset that it has",
	}
	f.Origin = b.v.Sidecar.At(f.Field)
	b.report(f)
}

// egress adds the services of one egress listener.
func (o *outboundSet) egress(listener int) {
	e := &o.v.Listeners[listener]
	if e.Bound() {
		o.bound(listener)
		return
	}
	for _, s := range e.Services {
		for i := range s.Ports {
			p := &s.Ports[i]
			owner, claimed := o.claimed[p.Port]
			if claimed && owner != listener || e.Port != 0 && e.Port != p.Port {
				continue
			}
			o.port(listener, s, p)
		}
	}
}

// bound adds the services of an egress listener that has its ports itself: it knows no
// other destination than what HTTP or TLS ask for, and one service where neither is spoken.
func (o *outboundSet) bound(listener int) {
	e := &o.v.Listeners[listener]
	addr := e.Spec.Bind
	if addr == "" {
		addr = o.clusters.Loopback()
	}
	for _, s := range e.Services {
		for i := range s.Ports {
			p := &s.Ports[i]
			at := p.Port
			if e.Port != 0 {
				if at = e.Port; e.PortOf(s) != p {
					continue
				}
			}
			if p.Protocol == model.UDP {
				continue
			}
			d := o.at(spot{addr, at}, nil)
			d.bound = true
			if route.Routable(p.Protocol) {
				d.grpcWeb = d.grpcWeb || p.Protocol == model.GRPCWeb
				d.forward = d.forward || s.Resolution == model.ByRequest
				o.useRoutes(d, listener, at)
			}
			if !p.Protocol.IsHTTP() {
				o.bytes(d, s, p)
			}
		}
	}
}

func (o *outboundSet) port(listener int, s *model.Service, p *model.ServicePort) {
	switch {
	case p.Protocol == model.UDP:
	case p.Protocol.IsHTTP():
		d := o.at(spot{port: p.Port}, nil)
		d.grpcWeb = d.grpcWeb || p.Protocol == model.GRPCWeb
		d.forward = d.forward || s.Resolution == model.ByRequest
		o.useRoutes(d, listener, p.Port)
	case p.Protocol == model.Unknown && !model.ServerFirst(p.Port):
		o.sniffedPort(listener, s, p)
	case o.redisPort(s, p):
		for _, d := range o.spots(s, p) {
			o.redis(d, s, p)
		}
	case o.speaks(p.Protocol):
		for _, d := range o.spots(s, p) {
			o.messages(d, listener, s, p)
		}
		if s.Registry != "" && !o.v.Proxy.OnDemand {
			o.registered(listener, s, p)
		}
	default:
		o.opaque(listener, s, p)
	}
}

// opaque is a port whose bytes go on as they come, but for those of a protocol that Envoy has a proxy for.
func (o *outboundSet) opaque(listener int, s *model.Service, p *model.ServicePort) {
	if n := o.native(listener, s, p); n != nil {
		for _, d := range o.spots(s, p) {
			n.carried(d, s, p)
		}
		return
	}
	if p.Protocol.Messages() != "" && o.v.Proxy.Engine() != scope.EngineGo {
		o.asBytes(s, p)
	}
	for _, d := range o.spots(s, p) {
		o.bytes(d, s, p)
	}
}

// spots are the listeners of a port that is not plain HTTP: one on the service's
// addresses; one for each instance of a headless service; else the wildcard.
func (o *outboundSet) spots(s *model.Service, p *model.ServicePort) []*draft {
	if vips := o.singles(s); len(vips) > 0 {
		var extra []string
		for _, a := range vips[1:] {
			extra = append(extra, a.String())
		}
		return []*draft{o.at(spot{vips[0].String(), p.Port}, extra)}
	}
	if s.Resolution == model.Passthrough && len(ranges(s)) == 0 {
		var out []*draft
		for _, in := range o.v.Index.Instances(s) {
			a, err := netip.ParseAddr(in.Endpoint.Address)
			// The proxy's own address never comes here by capture, and a listener on
			// it would be in the way of the inbound side.
			if err != nil || slices.Contains(o.v.Proxy.Addresses(), a) || !o.family(a) {
				continue
			}
			out = append(out, o.at(spot{a.String(), p.Port}, nil))
		}
		// A headless service of the mesh has no other way in than its instances;
		// an entry without addresses is reached at any.
		if len(out) > 0 || !s.FromEntry {
			return out
		}
	}
	return []*draft{o.at(spot{port: p.Port}, nil)}
}

func (o *outboundSet) family(a netip.Addr) bool {
	v4, v6 := o.v.Proxy.Families()
	return a.Is4() && v4 || a.Is6() && v6
}

func (o *outboundSet) at(s spot, extra []string) *draft {
	d := o.drafts[s]
	if d == nil {
		d = &draft{spot: s, extra: extra}
		o.drafts[s] = d
		o.order = append(o.order, d)
	}
	return d
}

// sorted are the drafts by port and address.
func (o *outboundSet) sorted() []*draft {
	slices.SortFunc(o.order, func(x, y *draft) int {
		return cmp.Or(cmp.Compare(x.port, y.port), cmp.Compare(x.addr, y.addr))
	})
	return o.order
}

// useRoutes makes a draft speak HTTP by the routes of a port.
func (o *outboundSet) useRoutes(d *draft, listener int, port uint16) {
	if d.rds != "" {
		return
	}
	d.rds = strconv.Itoa(int(port))
	if d.bound {
		d.rds = listenerName(d.addr, port)
	}
	if !o.routes[d.rds] {
		o.routes[d.rds] = true
		rc := o.Builder.routes.Sidecar(listener, port)
		rc.Name = d.rds
		o.addRoutes(rc)
	}
}

// sniffedPort is a port whose protocol is not declared: HTTP if the first bytes
// look like it, else opaque.
func (o *outboundSet) sniffedPort(listener int, s *model.Service, p *model.ServicePort) {
	for _, d := range o.spots(s, p) {
		if d.addr == "" {
			o.useRoutes(d, listener, p.Port)
			o.bytes(d, s, p)
			continue
		}
		if d.rds == "" {
			d.rds, d.sniffed = o.serviceRoutes(listener, s, p.Port), true
		}
		o.bytes(d, s, p)
	}
}

// serviceRoutes makes the route configuration of one service's port alone, and returns its name.
func (o *outboundSet) serviceRoutes(listener int, s *model.Service, port uint16) string {
	name := s.Host + ":" + strconv.Itoa(int(port))
	if !o.routes[name] {
		o.routes[name] = true
		o.addRoutes(o.Builder.routes.Sniffed(listener, s, port))
	}
	return name
}

// bytes adds the opaque chains of a service's port.
func (o *outboundSet) bytes(d *draft, s *model.Service, p *model.ServicePort) {
	tls, tcp := o.streamRoutes(s)
	for _, set := range tls {
		o.tlsRoutes(d, set, p.Port)
	}
	for _, set := range tcp {
		if o.tcpRoutes(d, s, set, p.Port) {
			return
		}
	}
	name := wire.ClusterName(wire.Outbound, p.Port, "", s.Host)
	var match *listenerv3.FilterChainMatch
	if d.shared() {
		switch r := ranges(s); {
		case len(r) > 0 && !d.bound:
			match = &listenerv3.FilterChainMatch{PrefixRanges: r}
		case p.Protocol.IsTLS():
			match = &listenerv3.FilterChainMatch{ServerNames: []string{s.Host}}
		}
	}
	o.addChain(d, s, match, o.tcp(outbound, name, []share{{name, 0}}))
}

// addChain adds a chain; without a match it takes the rest, which one service
// only can have.
func (o *outboundSet) addChain(d *draft, s *model.Service, match *listenerv3.FilterChainMatch, filters []*listenerv3.Filter) {
	if match != nil {
		if slices.ContainsFunc(d.chains, func(c *listenerv3.FilterChain) bool { return sameMatch(c.FilterChainMatch, match) }) {
			return
		}
		d.chains = append(d.chains, chain("", match, filters))
		return
	}
	if d.rest != nil {
		if d.owner != s {
			o.report(model.Finding{
				Code: CodeConflict, Severity: model.Warning, Object: s.Key, Origin: s.Origin, Field: "spec.ports",
				Message: "port " + strconv.Itoa(int(d.port)) + " of " + s.Host + " cannot be told from that of " + d.owner.Host + ", which has it",
				Remedy:  "give the service an address of its own, or name the port after its protocol",
			})
		}
		return
	}
	d.rest, d.owner = chain("", nil, filters), s
}

func sameMatch(a, b *listenerv3.FilterChainMatch) bool {
	if !samePrefixes(a.SourcePrefixRanges, b.SourcePrefixRanges) {
		return false
	}
	if len(a.ServerNames) > 0 || len(b.ServerNames) > 0 {
		for _, n := range a.ServerNames {
			if slices.Contains(b.ServerNames, n) && a.DestinationPort.GetValue() == b.DestinationPort.GetValue() && samePrefixes(a.PrefixRanges, b.PrefixRanges) {
				return true
			}
		}
		return false
	}
	return samePrefixes(a.PrefixRanges, b.PrefixRanges)
}

func samePrefixes(a, b []*corev3.CidrRange) bool {
	return slices.EqualFunc(a, b, func(x, y *corev3.CidrRange) bool {
		return x.AddressPrefix == y.AddressPrefix && x.PrefixLen.GetValue() == y.PrefixLen.GetValue()
	})
}

// emit turns a draft into a listener.
func (o *outboundSet) emit(d *draft) *listenerv3.Listener {
	addr, extra := d.addr, d.extra
	if addr == "" {
		addr, extra = o.wildcard()
	}
	name := listenerName(addr, d.port)
	l := newListener(name, addr, d.port, extra)
	if !d.bound {
		l.BindToPort = falseValue()
	}
	l.TrafficDirection = outbound.direction()
	if d.rds != "" {
		o.emitHTTP(l, d, name)
	} else {
		l.FilterChains = append(l.FilterChains, d.chains...)
		switch {
		case d.rest != nil:
			l.FilterChains = append(l.FilterChains, d.rest)
		case d.addr == "":
			l.DefaultFilterChain = o.passthroughChain()
		}
	}
	needTLS := slices.ContainsFunc(l.FilterChains, func(c *listenerv3.FilterChain) bool {
		return len(c.GetFilterChainMatch().GetServerNames()) > 0
	})
	if needTLS || d.rds != "" {
		l.ListenerFilters = append(l.ListenerFilters, tlsInspector())
		o.sniff(l)
	}
	if d.rds != "" {
		l.ListenerFilters = append(l.ListenerFilters, httpInspector())
	}
	return l
}

// emitHTTP adds the HTTP chain before the opaque ones.
func (o *outboundSet) emitHTTP(l *listenerv3.Listener, d *draft, name string) {
	h := httpChain{stage: outbound, stat: name, rds: d.rds, sniffed: d.sniffed, grpcWeb: d.grpcWeb, forward: d.forward,
		demand: o.v.Proxy.OnDemand} // whose clusters are asked for
	l.FilterChains = append(l.FilterChains, chain("", &listenerv3.FilterChainMatch{
		TransportProtocol: "raw_buffer", ApplicationProtocols: plainHTTP,
	}, []*listenerv3.Filter{o.http(h)}))
	for _, c := range d.chains {
		l.FilterChains = append(l.FilterChains, c)
		if m := c.FilterChainMatch; len(m.SourcePrefixRanges) > 0 && len(m.PrefixRanges)+len(m.ServerNames) == 0 {
			// Matching does not come back from the transport protocol, which is looked at first.
			raw := &listenerv3.FilterChainMatch{TransportProtocol: "raw_buffer", SourcePrefixRanges: m.SourcePrefixRanges}
			l.FilterChains = append(l.FilterChains, chain("", raw, c.Filters))
		}
	}
	if d.rest != nil {
		l.DefaultFilterChain = d.rest
		return
	}
	if !d.bound {
		l.DefaultFilterChain = o.passthroughChain()
	}
}

func (b *Builder) passthroughChain() *listenerv3.FilterChain {
	to := b.routes.Passthrough()
	return chain("PassthroughFilterChain", nil, b.tcp(outbound, to, []share{{to, 0}}))
}

// virtualOutbound takes all captured connections and hands them to the listener
// of their destination; what has none is passed through, or not.
func (b *Builder) virtualOutbound() *listenerv3.Listener {
	addr, extra := b.wildcard()
	l := newListener(wire.VirtualOutbound, addr, wire.PortOutbound, extra)
	l.UseOriginalDst = trueValue()
	l.TrafficDirection = outbound.direction()
	to := b.routes.Passthrough()
	l.FilterChains = []*listenerv3.FilterChain{
		// A connection to the port itself would go round for ever.
		chain("virtualOutbound-blackhole", &listenerv3.FilterChainMatch{DestinationPort: portValue(wire.PortOutbound)},
			b.tcp(outbound, wire.BlackHoleCluster, []share{{wire.BlackHoleCluster, 0}})),
		chain("virtualOutbound-catchall-tcp", nil, b.tcp(outbound, to, []share{{to, 0}})),
	}
	if b.v.OutboundPolicy() == model.AllowAnyDynamic {
		l.ListenerFilters = []*listenerv3.ListenerFilter{originalDst(), httpInspector()}
		b.sniff(l)
		l.FilterChains = slices.Insert(l.FilterChains, 1, chain("virtualOutbound-catchall-tcp-http",
			&listenerv3.FilterChainMatch{ApplicationProtocols: plainHTTP}, []*listenerv3.Filter{b.http(httpChain{
				stage: outbound, stat: "virtualOutbound_allow_any_dynamic_dns", inline: b.routes.Dynamic(),
			})}))
	}
	return l
}

// streamRoutes are the route sets whose TLS and TCP routes are for a service.
func (b *Builder) streamRoutes(s *model.Service) (tls, tcp []*model.RouteSet) {
	if b.streams == nil {
		b.streams = newStreamTable(b.v)
	}
	return b.streams.find(s.Host)
}

// streamTable finds route sets with TLS or TCP routes by host.
type streamTable struct {
	exact map[string][]*model.RouteSet
	wild  []*model.RouteSet
}

func newStreamTable(v *scope.View) *streamTable {
	t := &streamTable{exact: map[string][]*model.RouteSet{}}
	for _, set := range v.Routes(route.MeshGateway) {
		if len(set.TLS) == 0 && len(set.TCP) == 0 {
			continue
		}
		wild := false
		for _, h := range set.Hosts {
			if h[0] == '*' {
				wild = true
			} else {
				t.exact[h] = append(t.exact[h], set)
			}
		}
		if wild {
			t.wild = append(t.wild, set)
		}
	}
	return t
}

func (t *streamTable) find(host string) (tls, tcp []*model.RouteSet) {
	list := slices.Clone(t.exact[host])
	for _, set := range t.wild {
		if len(route.Intersect([]string{host}, set)) > 0 && !slices.Contains(list, set) {
			list = append(list, set)
		}
	}
	for _, set := range list {
		if len(set.TLS) > 0 {
			tls = append(tls, set)
		}
		if len(set.TCP) > 0 {
			tcp = append(tcp, set)
		}
	}
	return tls, tcp
}
