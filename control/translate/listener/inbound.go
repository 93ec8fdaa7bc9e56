package listener

import (
	"net/netip"
	"slices"
	"strconv"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/cluster"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/control/translate/tlsctx"
	"github.com/weftmesh/weft/wire"
)

// Application protocols by which a client's proxy says what it sends inside mTLS.
var (
	meshHTTP = []string{"istio-http/1.0", "istio-http/1.1", "istio-h2"}
	meshTCP  = []string{"istio-peer-exchange", "istio"}
	meshAny  = []string{"istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"}
)

// port is one inbound port with what its chains need.
type port struct {
	cluster.Inbound
	mode model.MTLSMode
	// to is the cluster; passthrough ports share one.
	to string
	// match is the destination port in chain matches; 0: none.
	match uint16
	// tls, when set, is TLS that the user's Sidecar ingress ends here, where mTLS is off;
	// tlsField is where it is said.
	tls      *tlsv3.DownstreamTlsContext
	tlsField string
	// name is the chains' name.
	name string
	// bound: the port has a listener of its own, at bind.
	bound bool
	bind  string
	// limited: the port's routes are among those that come by themselves.
	limited bool
	// service is the number that the port has for clients of its first service.
	service uint16
}

// virtualInbound takes all captured connections to the program.
func (b *Builder) virtualInbound() {
	addr, extra := b.wildcard()
	l := newListener(wire.VirtualInbound, addr, wire.PortInbound, extra)
	l.TrafficDirection = inbound.direction()
	b.sniff(l)
	l.FilterChains = []*listenerv3.FilterChain{
		chain("virtualInbound-blackhole", &listenerv3.FilterChainMatch{DestinationPort: portValue(wire.PortInbound)},
			b.tcp(inbound, wire.BlackHoleCluster, []share{{wire.BlackHoleCluster, 0}})),
	}
	mtls := b.v.MTLS()
	known := map[uint16]bool{}
	var look inspection
	for _, i := range b.ports() {
		b.unlimited(&i)
		if i.bound {
			i.mode = mtls.For(i.Port)
			b.boundInbound(&i)
			continue
		}
		known[i.Port] = true
		b.out.Clusters = append(b.out.Clusters, b.inboundCluster(&i))
		i.to = i.ClusterName()
		i.match = i.Port
		i.mode = mtls.For(i.Port)
		if i.tls != nil && i.mode != model.MTLSDisable {
			b.noUserTLS(&i)
		}
		i.name = listenerName(addr, i.Port)
		look.add(&i)
		l.FilterChains = append(l.FilterChains, b.inboundChains(&i)...)
	}
	// Ports that no service names, but a policy: they pass through by its mode.
	for _, n := range sortedPorts(mtls.Ports) {
		if !known[n] {
			p := &port{mode: mtls.For(n), to: wire.InboundPassthrough4, match: n, name: listenerName(addr, n)}
			p.Port = n
			look.add(p)
			l.FilterChains = append(l.FilterChains, b.inboundChains(p)...)
		}
	}
	l.FilterChains = append(l.FilterChains, b.inboundChains(&port{
		mode: mtls.Mode, to: wire.InboundPassthrough4, name: "virtualInbound",
	})...)
	l.ListenerFilters = look.filters()
	b.out.Listeners = append(b.out.Listeners, l)
}

// inboundCluster is the cluster of a port, with how many requests at a time are let through to it.
func (b *Builder) inboundCluster(p *port) *clusterv3.Cluster {
	c := b.clusters.Inbound(&p.Inbound)
	if most := b.limits[false].Most(p.service); most > 0 {
		cluster.Bound(c, most)
	}
	return c
}

// boundInbound makes the listener of an ingress that has its port itself.
func (b *Builder) boundInbound(p *port) {
	b.out.Clusters = append(b.out.Clusters, b.inboundCluster(p))
	p.to = p.ClusterName()
	addr, extra := p.bind, []string(nil)
	if addr == "" {
		addr, extra = b.wildcard()
	}
	p.name = listenerName(addr, p.Port)
	l := newListener(p.name, addr, p.Port, extra)
	b.finishInbound(l, p)
}

// finishInbound adds what a listener of one inbound port has, and keeps it.
func (b *Builder) finishInbound(l *listenerv3.Listener, p *port) {
	l.TrafficDirection = inbound.direction()
	if p.needsTLS() {
		l.ListenerFilters = append(l.ListenerFilters, tlsInspector())
	}
	if p.needsHTTP() {
		l.ListenerFilters = append(l.ListenerFilters, httpInspector())
	}
	if len(l.ListenerFilters) > 0 {
		b.sniff(l)
	}
	l.FilterChains = b.inboundChains(p)
	b.out.Listeners = append(b.out.Listeners, l)
}

func sortedPorts(m map[uint16]model.MTLSMode) []uint16 {
	out := make([]uint16, 0, len(m))
	for n := range m {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// ports are the workload's ports that services target, or those of its Sidecar's
// ingress. The first service of a port decides its protocol.
func (b *Builder) ports() []port {
	if b.v.Sidecar != nil && len(b.v.Sidecar.Ingress) > 0 {
		return b.ingressPorts()
	}
	var out []port
	at := map[uint16]int{}
	w := b.v.Proxy.Workload
	for _, s := range b.v.Served() {
		for i := range s.Ports {
			p := &s.Ports[i]
			if p.Protocol == model.UDP {
				continue
			}
			for _, own := range b.v.Index.Own(s, w) {
				target, ok := scope.TargetPort(own, s, p)
				if !ok {
					continue
				}
				if j, taken := at[target]; taken {
					b.joinPort(&out[j], s, p)
					continue
				}
				at[target] = len(out)
				out = append(out, port{service: p.Port, Inbound: cluster.Inbound{
					Port: target, Protocol: p.Protocol, Service: s, All: []*model.Service{s},
				}})
			}
		}
	}
	slices.SortFunc(out, func(x, y port) int { return int(x.Port) - int(y.Port) })
	return out
}

// joinPort adds a further service to a port that one already has.
func (b *Builder) joinPort(have *port, s *model.Service, p *model.ServicePort) {
	if have.Protocol != p.Protocol {
		b.report(model.Finding{
			Code: CodeConflict, Severity: model.Warning, Object: s.Key, Origin: s.Origin, Field: "spec.ports",
			Message: "port " + strconv.Itoa(int(have.Port)) + " of the workload is " + protocolName(p.Protocol) + " here and " +
				protocolName(have.Protocol) + " in " + have.Service.Key.String() + ", which is older and wins",
			Remedy: "give both service ports the same protocol",
		})
	}
	if !slices.Contains(have.All, s) {
		have.All = append(have.All, s)
	}
}

func protocolName(p model.Protocol) string {
	if p == model.Unknown {
		return "undeclared"
	}
	return string(p)
}

// ingressPorts are those that a Sidecar's ingress names.
func (b *Builder) ingressPorts() []port {
	var out []port
	for i := range b.v.Sidecar.Ingress {
		spec := &b.v.Sidecar.Ingress[i]
		fail := func(field, message, remedy string) {
			b.report(model.Finding{
				Code: CodeIngress, Severity: model.Error, Object: b.v.Sidecar.Key, Origin: b.v.Sidecar.Origin,
				Field: "spec.ingress[" + strconv.Itoa(i) + "]." + field, Message: message, Remedy: remedy,
			})
		}
		if slices.ContainsFunc(out, func(p port) bool { return p.Port == spec.Port }) {
			fail("port", "port "+strconv.Itoa(int(spec.Port))+" is given twice", "remove one")
			continue
		}
		if !spec.Bound && spec.Bind != "" && spec.Bind != "0.0.0.0" && spec.Bind != "::" {
			fail("bind", "an ingress cannot be bound to "+spec.Bind+"; it takes captured traffic to all addresses", "remove the field")
		}
		p := port{bound: spec.Bound, bind: spec.Bind, service: spec.Port, Inbound: cluster.Inbound{Port: spec.Port, Protocol: spec.Protocol, Pool: spec.Pool}}
		for _, s := range b.v.Served() {
			if s.Port(spec.Port) != nil {
				p.All = append(p.All, s)
			}
		}
		if len(p.All) > 0 {
			p.Service = p.All[0]
		}
		if spec.DefaultEndpoint != "" {
			to, pipe, err := cluster.ParseDefaultEndpoint(spec.DefaultEndpoint)
			if err != nil {
				fail("defaultEndpoint", err.Error(), "correct it; until then the program is asked at the port itself")
			}
			p.To, p.Pipe = b.ownAddress(to), pipe
		}
		if spec.TLS != nil {
			tls, err := b.serverTLS(spec.TLS, spec.Protocol)
			if err != "" {
				fail("tls", err, "use SIMPLE, MUTUAL or ISTIO_MUTUAL with a certificate")
				continue
			}
			p.tls, p.tlsField = tls, "spec.ingress["+strconv.Itoa(i)+"].tls"
		}
		out = append(out, p)
	}
	return out
}

// noUserTLS leaves the TLS of an ingress out, as Istio does: proxies of the mesh come with
// mTLS, which one chain cannot end beside it.
func (b *Builder) noUserTLS(p *port) {
	p.tls = nil
	b.report(model.Finding{
		Code: CodeIngress, Severity: model.Warning, Object: b.v.Sidecar.Key, Origin: b.v.Sidecar.Origin, Field: p.tlsField,
		Message: "has no effect: the mesh's own TLS is on at port " + strconv.Itoa(int(p.Port)),
		Remedy:  "switch that off for the port: a PeerAuthentication with portLevelMtls {" + strconv.Itoa(int(p.Port)) + ": {mode: DISABLE}}",
	})
}

// ownAddress replaces "all addresses" by the workload's own.
func (b *Builder) ownAddress(to netip.AddrPort) netip.AddrPort {
	if !to.IsValid() || !to.Addr().IsUnspecified() {
		return to
	}
	for _, a := range b.v.Proxy.Addresses() {
		if a.Is4() == to.Addr().Is4() {
			return netip.AddrPortFrom(a, to.Port())
		}
	}
	return to
}

// inboundChains are the chains of one port by what mTLS it demands and what it
// speaks. A connection that is TLS but not the mesh's own goes to the program
// undecrypted where that is allowed.
func (b *Builder) inboundChains(p *port) []*listenerv3.FilterChain {
	c := chainSet{b: b, p: p}
	if p.tls != nil {
		return c.userTLS()
	}
	isHTTP, isTCP := p.Protocol.IsHTTP(), !p.Protocol.IsHTTP() && p.Protocol != model.Unknown
	switch {
	case isHTTP && p.mode == model.MTLSStrict:
		c.addHTTP("tls", nil, true)
	case isHTTP && p.mode == model.MTLSDisable:
		c.addHTTP("", nil, false)
	case isHTTP:
		c.addHTTP("tls", meshAny, true)
		c.addHTTP("raw_buffer", nil, false)
	case isTCP && p.mode == model.MTLSStrict:
		c.addTCP("tls", nil, true)
	case isTCP && p.mode == model.MTLSDisable:
		c.addTCP("", nil, false)
	case isTCP:
		c.addTCP("tls", meshTCP, true)
		// What a client's proxy took for HTTP is bytes here all the same.
		c.addTCP("tls", meshHTTP, true)
		c.addTCP("raw_buffer", nil, false)
		c.addTCP("tls", nil, false)
	case p.mode == model.MTLSStrict:
		c.addHTTP("tls", meshHTTP, true)
		c.addTCP("tls", nil, true)
	case p.mode == model.MTLSDisable:
		c.addHTTP("raw_buffer", plainHTTP, false)
		c.addTCP("", nil, false)
	default:
		c.addHTTP("tls", meshHTTP, true)
		c.addTCP("tls", meshTCP, true)
		c.addHTTP("raw_buffer", plainHTTP, false)
		c.addTCP("raw_buffer", nil, false)
		c.addTCP("tls", nil, false)
	}
	return c.out
}

// chainSet builds the chains of one port.
type chainSet struct {
	b    *Builder
	p    *port
	http []*listenerv3.Filter
	tcp  []*listenerv3.Filter
	out  []*listenerv3.FilterChain
}

func (c *chainSet) add(transport string, alpn []string, mtls, isHTTP bool, filters []*listenerv3.Filter) {
	name := c.p.name
	if name == "virtualInbound" && isHTTP {
		name = "virtualInbound-catchall-http"
	}
	m := &listenerv3.FilterChainMatch{TransportProtocol: transport, ApplicationProtocols: alpn}
	if c.p.match != 0 {
		m.DestinationPort = portValue(c.p.match)
	}
	if transport == "" && alpn == nil && c.p.match == 0 {
		m = nil
	}
	fc := chain(name, m, filters)
	if mtls {
		fc.TransportSocket = tlsctx.Downstream(c.b.meshServer(isHTTP && c.p.Protocol.IsHTTP()))
	}
	c.out = append(c.out, fc)
}

func (c *chainSet) addHTTP(transport string, alpn []string, mtls bool) {
	if c.http == nil {
		c.http = []*listenerv3.Filter{c.b.inboundRequests(c.p, "")}
	}
	c.add(transport, alpn, mtls, true, c.http)
}

func (c *chainSet) addTCP(transport string, alpn []string, mtls bool) {
	if c.tcp == nil && c.b.speaks(c.p.Protocol) {
		c.tcp = []*listenerv3.Filter{c.b.inboundRequests(c.p, c.p.Protocol.Messages())}
	}
	if c.tcp == nil {
		c.tcp = c.b.tcpOf(c.p.Protocol.Messages(), inbound, c.p.to, []share{{c.p.to, 0}})
	}
	c.add(transport, alpn, mtls, false, c.tcp)
}

// userTLS ends TLS with the certificate of a Sidecar's ingress.
func (c *chainSet) userTLS() []*listenerv3.FilterChain {
	if c.p.Protocol.IsTCP() || c.p.Protocol == model.TLS || c.p.Protocol.Messages() != "" {
		c.addTCP("tls", nil, false)
	} else {
		c.addHTTP("tls", nil, false)
	}
	c.out[0].TransportSocket = tlsctx.Downstream(c.p.tls)
	return c.out
}

// inboundRequests takes a port's requests: HTTP, or a protocol of messages where one is named.
func (b *Builder) inboundRequests(p *port, messages string) *listenerv3.Filter {
	operation := ":" + strconv.Itoa(int(p.service)) + "/*"
	if p.Service != nil {
		operation = p.Service.Host + operation
	}
	wild, _ := b.wildcard()
	h := httpChain{stage: inbound, stat: listenerName(wild, p.Port), grpcWeb: p.Protocol == model.GRPCWeb, messages: messages}
	routes := b.routes.Inbound(p.to, operation, p.service, !p.Protocol.IsGRPC())
	if limits := b.limits[false]; limits.Empty() || p.Service == nil {
		h.inline = routes
	} else {
		// What is limited changes by the minute: routes that come by themselves cost no connection then.
		limits.Host(routes.VirtualHosts[0], p.service)
		if !p.limited {
			b.addRoutes(routes)
			p.limited = true
		}
		h.rds = routes.Name
	}
	if messages != "" && p.Service != nil {
		h.limits = b.rateLimits(p.Service.Host, routes)
	}
	return b.http(h)
}

// meshServer is the server's side of mTLS. It offers application protocols only
// where HTTP is declared: elsewhere the bytes decide.
func (b *Builder) meshServer(declaredHTTP bool) *tlsv3.DownstreamTlsContext {
	var peers []string
	for _, d := range append([]string{b.v.Mesh.TrustDomain}, b.v.Mesh.TrustAliases...) {
		peers = append(peers, "spiffe://"+d+"/*")
	}
	ctx := tlsctx.Mesh(tlsctx.URIs(peers))
	tlsctx.Bound(ctx, &b.v.Mesh.MeshTLS)
	if declaredHTTP {
		ctx.AlpnProtocols = []string{"h2", "http/1.1"}
	}
	return &tlsv3.DownstreamTlsContext{CommonTlsContext: ctx, RequireClientCertificate: pb.True()}
}
