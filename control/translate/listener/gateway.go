package listener

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/control/translate/route"
	"github.com/weftmesh/weft/control/translate/tlsctx"
	"github.com/weftmesh/weft/wire"
)

// handshakeTimeout is how long a client of a gateway may take for its TLS handshake
// (Istio's): of itself Envoy waits for ever.
const handshakeTimeout = 15 * time.Second

// gatewayPort is one listener of a gateway: the servers of all Gateways with one
// address and port.
type gatewayPort struct {
	spot
	plain   []route.GatewayServer // HTTP without TLS: one chain for all
	streams []route.GatewayServer // everything else: chains by server name
}

// gateway makes the listeners of all Gateways that pick the proxy.
func (b *Builder) gateway() {
	ports := map[spot]*gatewayPort{}
	var order []*gatewayPort
	for _, g := range b.v.Gateways {
		for i := range g.Servers {
			s := &g.Servers[i]
			if s.Protocol == model.UDP {
				b.gatewayDatagrams(route.GatewayServer{Gateway: g, Server: s})
				continue
			}
			at := spot{s.Bind, b.targetPort(s.Port, false)}
			p := ports[at]
			if p == nil {
				p = &gatewayPort{spot: at}
				ports[at] = p
				order = append(order, p)
			}
			gs := route.GatewayServer{Gateway: g, Server: s}
			if plainServer(s) {
				p.plain = append(p.plain, gs)
			} else {
				p.streams = append(p.streams, gs)
			}
		}
	}
	slices.SortFunc(order, func(x, y *gatewayPort) int {
		return cmp.Or(cmp.Compare(x.port, y.port), cmp.Compare(x.addr, y.addr))
	})
	for _, p := range order {
		if l := b.gatewayListener(p); l != nil {
			b.out.Listeners = append(b.out.Listeners, l)
		}
	}
}

// plainServer tells whether a server speaks HTTP without TLS.
func plainServer(s *model.Server) bool {
	return s.Protocol.IsHTTP() || s.Protocol == model.Unknown
}

// targetPort is where the gateway listens for a server's port: its Service may
// map the port.
func (b *Builder) targetPort(n uint16, datagrams bool) uint16 {
	w := b.v.Proxy.Workload
	for _, s := range b.v.Served() {
		if p := s.PortFor(n, datagrams); p != nil {
			if t, ok := scope.ServedPort(w, s, p); ok {
				return t
			}
		}
	}
	return n
}

func (b *Builder) gatewayListener(p *gatewayPort) *listenerv3.Listener {
	addr, extra := b.wildcard()
	if p.addr != "" {
		if _, err := netip.ParseAddr(p.addr); err != nil {
			g := append(slices.Clone(p.plain), p.streams...)[0].Gateway
			b.gatewayFinding(g, CodeBind, "bind", p.addr+" is no IP address", "give an address of the gateway, or none")
			return nil
		}
		addr, extra = p.addr, nil
	}
	l := newListener(listenerName(addr, p.port), addr, p.port, extra)
	l.TrafficDirection = gateway.direction()
	taken := map[string]route.GatewayServer{}
	for _, s := range p.streams {
		b.gatewayChains(l, p, s, taken)
	}
	if len(p.plain) > 0 {
		name := route.GatewayRouteName(p.plain[0], p.port)
		b.addRoutes(b.routes.Gateway(name, p.plain))
		for _, s := range p.plain {
			b.fallback(s)
		}
		var match *listenerv3.FilterChainMatch
		if len(l.FilterChains) > 0 {
			match = &listenerv3.FilterChainMatch{TransportProtocol: "raw_buffer"}
		}
		l.FilterChains = append(l.FilterChains, chain("", match, []*listenerv3.Filter{b.http(httpChain{
			stage: gateway, stat: l.Name, rds: name, grpcWeb: p.plain[0].Server.Protocol == model.GRPCWeb, forward: len(b.v.ByRequest()) > 0,
		})}))
	}
	if len(l.FilterChains) == 0 {
		return nil
	}
	for _, c := range l.FilterChains {
		if c.TransportSocket != nil {
			c.TransportSocketConnectTimeout = pb.Duration(handshakeTimeout)
		}
	}
	for _, c := range l.FilterChains {
		// Where TLS ends nothing but the inspector tells policies and logs which name was asked for.
		if m := c.FilterChainMatch; len(m.GetServerNames()) > 0 || m.GetTransportProtocol() != "" || c.TransportSocket != nil {
			// Envoy's own timeout (15 s) stays: a client that says nothing must not
			// hold a place for ever.
			l.ListenerFilters = []*listenerv3.ListenerFilter{tlsInspector()}
			break
		}
	}
	b.announced(l)
	return l
}

func (b *Builder) gatewayFinding(g *model.Gateway, code, field, message, remedy string) {
	b.report(model.Finding{
		Code: code, Severity: model.Error, Object: g.Key, Origin: g.Origin,
		Field: field, Message: message, Remedy: remedy,
	})
}

// gatewayChains adds the chains of a server that is not plain HTTP.
func (b *Builder) gatewayChains(l *listenerv3.Listener, p *gatewayPort, s route.GatewayServer, taken map[string]route.GatewayServer) {
	passthrough := s.Server.TLS == nil || s.Server.TLS.Mode == model.TLSPassthrough
	switch {
	case s.Server.Protocol == model.HTTPS && s.Server.TLS != nil && !passthrough && s.Server.TLS.Mode != model.TLSAutoPassthrough:
		b.gatewayHTTPS(l, p, s, taken)
	case s.Server.Protocol.IsTLS() && s.Server.TLS != nil && s.Server.TLS.Mode == model.TLSAutoPassthrough:
		b.gatewayThrough(l, s, taken)
	case s.Server.Protocol.IsTLS() && passthrough:
		b.gatewayBySNI(l, s, taken)
	case b.gatewayMessages(l, p, s, taken):
	default:
		b.gatewayTCP(l, s, taken)
	}
}

func serverField(s route.GatewayServer) string {
	for i := range s.Gateway.Servers {
		if &s.Gateway.Servers[i] == s.Server {
			return "spec.servers[" + strconv.Itoa(i) + "]"
		}
	}
	return "spec.servers"
}

// serverNames are a server's hosts as a chain matches them that no earlier
// server of the port has; not ok: none is left.
func (b *Builder) serverNames(s route.GatewayServer, taken map[string]route.GatewayServer) ([]string, bool) {
	var out []string
	for _, h := range s.Server.Hosts {
		_, dns := route.SplitHost(h)
		if first, ok := taken[dns]; ok {
			if first.Server != s.Server {
				b.gatewayFinding(s.Gateway, CodeConflict, serverField(s)+".hosts",
					"host "+dns+" on port "+strconv.Itoa(int(s.Server.Port))+" belongs to "+first.Gateway.Key.String()+" already",
					"give each host and port to one server")
			}
			continue
		}
		taken[dns] = s
		out = append(out, dns)
	}
	return out, len(out) > 0
}

// sniMatch matches by server names; "*" matches whatever no other chain does.
func sniMatch(names []string) *listenerv3.FilterChainMatch {
	if slices.Contains(names, "*") || len(names) == 0 {
		return nil
	}
	return &listenerv3.FilterChainMatch{ServerNames: names}
}

func (b *Builder) gatewayHTTPS(l *listenerv3.Listener, p *gatewayPort, s route.GatewayServer, taken map[string]route.GatewayServer) {
	tls, failed := b.serverTLS(s.Server.TLS, s.Server.Protocol)
	if failed != "" {
		b.gatewayFinding(s.Gateway, CodeTLS, serverField(s)+".tls", failed, "correct it; the other servers go on")
		return
	}
	names, ok := b.serverNames(s, taken)
	if !ok {
		return
	}
	name := route.GatewayRouteName(s, p.port)
	b.addRoutes(b.routes.Gateway(name, []route.GatewayServer{s}))
	b.fallback(s)
	fc := chain("", sniMatch(names), []*listenerv3.Filter{b.http(httpChain{stage: gateway, stat: l.Name, rds: name, forward: len(b.v.ByRequest()) > 0})})
	fc.TransportSocket = tlsctx.Downstream(tls)
	b.addGatewayChain(l, s, fc)
}

// addGatewayChain adds a chain; only one may be without server names.
func (b *Builder) addGatewayChain(l *listenerv3.Listener, s route.GatewayServer, fc *listenerv3.FilterChain) {
	if fc.FilterChainMatch == nil && fc.TransportSocket != nil && b.hasPlain(l, s) {
		fc.FilterChainMatch = &listenerv3.FilterChainMatch{TransportProtocol: "tls"}
	}
	for _, have := range l.FilterChains {
		if have.FilterChainMatch == nil && fc.FilterChainMatch == nil {
			b.gatewayFinding(s.Gateway, CodeConflict, serverField(s)+".hosts",
				"two servers of port "+strconv.Itoa(int(s.Server.Port))+" take all hosts", "give them different hosts")
			return
		}
	}
	l.FilterChains = append(l.FilterChains, fc)
}

// hasPlain tells whether the listener's port has plain HTTP servers too.
func (b *Builder) hasPlain(l *listenerv3.Listener, s route.GatewayServer) bool {
	for _, g := range b.v.Gateways {
		for i := range g.Servers {
			o := &g.Servers[i]
			if plainServer(o) && o.Bind == s.Server.Bind && uint32(b.targetPort(o.Port, false)) == l.Address.GetSocketAddress().GetPortValue() {
				return true
			}
		}
	}
	return false
}

// gatewayBySNI adds a chain for every TLS route, undecrypted.
func (b *Builder) gatewayBySNI(l *listenerv3.Listener, s route.GatewayServer, taken map[string]route.GatewayServer) {
	for _, set := range b.v.Routes(s.GatewayName()) {
		hosts := route.Intersect(s.Server.Hosts, set)
		if len(hosts) == 0 {
			continue
		}
		for i := range set.TLS {
			r := &set.TLS[i]
			for j := range r.Matches {
				m, ok := b.streamMatchOf(set, &r.Matches[j], s.GatewayName(), s.Server.Port)
				if !ok {
					continue
				}
				names := slices.DeleteFunc(m.sni, func(n string) bool {
					_, dup := taken[n]
					return dup || !coveredBy(n, hosts)
				})
				if len(names) == 0 {
					continue
				}
				for _, n := range names {
					taken[n] = s
				}
				to := b.shares(r.Destinations, s.Server.Port)
				fc := chain("", sniMatch(names), b.tcp(gateway, statOf(to), to))
				if fc.FilterChainMatch != nil {
					fc.FilterChainMatch.PrefixRanges = m.ranges
				}
				b.addGatewayChain(l, s, fc)
			}
		}
	}
	if s.Server.DefaultEndpoint == "" {
		return
	}
	if names, ok := b.serverNames(s, taken); ok {
		b.addGatewayChain(l, s, b.fallbackChain(s, names))
	}
}

func coveredBy(name string, hosts []string) bool {
	return slices.ContainsFunc(hosts, func(h string) bool {
		return len(route.Intersect([]string{h}, &model.RouteSet{Hosts: []string{name}})) > 0
	})
}

// gatewayTCP adds the chains of opaque servers, with TLS ended when there is some.
func (b *Builder) gatewayTCP(l *listenerv3.Listener, s route.GatewayServer, taken map[string]route.GatewayServer) {
	var names []string
	fc := func(to []share) *listenerv3.FilterChain {
		return chain("", sniMatch(names), b.tcp(gateway, statOf(to), to))
	}
	socket := func(*listenerv3.FilterChain) {}
	if s.Server.TLS != nil {
		tls, failed := b.serverTLS(s.Server.TLS, model.TCP)
		if failed != "" {
			b.gatewayFinding(s.Gateway, CodeTLS, serverField(s)+".tls", failed, "correct it; the other servers go on")
			return
		}
		var ok bool
		if names, ok = b.serverNames(s, taken); !ok {
			return
		}
		socket = func(c *listenerv3.FilterChain) { c.TransportSocket = tlsctx.Downstream(tls) }
	}
	for _, set := range b.v.Routes(s.GatewayName()) {
		if len(route.Intersect(s.Server.Hosts, set)) == 0 {
			continue
		}
		for i := range set.TCP {
			r := &set.TCP[i]
			matches := r.Matches
			if len(matches) == 0 {
				matches = []model.Match{{}}
			}
			for j := range matches {
				m, ok := b.streamMatchOf(set, &matches[j], s.GatewayName(), s.Server.Port)
				if !ok {
					continue
				}
				c := fc(b.shares(r.Destinations, s.Server.Port))
				if part := m.chain(); part != nil {
					part.ServerNames = c.GetFilterChainMatch().GetServerNames()
					c.FilterChainMatch = part
				}
				socket(c)
				b.addGatewayChain(l, s, c)
				if len(m.ranges)+len(m.sources) == 0 {
					return // takes all
				}
			}
		}
	}
	if to := b.fallback(s); to != "" {
		c := fc([]share{{to, 0}})
		socket(c)
		b.addGatewayChain(l, s, c)
		return
	}
	if len(l.FilterChains) == 0 {
		// No route: the port answers by closing.
		c := fc([]share{{wire.BlackHoleCluster, 0}})
		socket(c)
		b.addGatewayChain(l, s, c)
	}
}
