package proxyless

import (
	"net"
	"strconv"
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/authz"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/control/translate/tlsctx"
	"github.com/weftmesh/weft/wire"
)

// Server is what the gRPC server of one workload enforces. It is immutable, and holds
// nothing of the View that it was made of.
type Server struct {
	filters []*hcmv3.HttpFilter
	mtls    scope.ServerMTLS
	// labelled: the workload says that it takes mTLS where it need not.
	labelled bool
	// ports are the workload's by those that the program listens on, where they differ.
	ports map[uint16]uint16
}

// NewServer makes a view's own.
func NewServer(v *scope.View, report Report) *Server {
	s := &Server{mtls: v.MTLS(), labelled: v.Proxy.Labels()[wire.TLSModeLabel] == wire.TLSModeIstio}
	for _, f := range authz.GRPC(v, authz.Report(report)) {
		s.filters = append(s.filters, filter(f.Name, f.Config))
	}
	s.filters = append(s.filters, filter(routerFilter, &routerv3.Router{}))
	for _, a := range v.RequestAuths() {
		report(model.Finding{
			Code: CodeLacking, Severity: model.Warning, Object: a.Key, Origin: a.Origin, Field: "spec.jwtRules",
			Message: "a gRPC server without a proxy looks at no tokens", Remedy: "run a proxy beside it",
		})
	}
	if w := v.Proxy.Workload; w != nil {
		s.ports = make(map[uint16]uint16, len(w.Inbound))
		for port, at := range w.Inbound {
			s.ports[at.Program] = port
		}
		if !w.Mesh && !s.labelled {
			s.unlabelled(w, report)
		}
	}
	for _, svc := range v.Served() {
		s.undeclared(v.Proxy.Workload, svc, report)
	}
	return s
}

// undeclared reports ports that demand mTLS with what is no gRPC inside.
func (s *Server) undeclared(w *model.Workload, svc *model.Service, report Report) {
	for i := range svc.Ports {
		p := &svc.Ports[i]
		target, ok := scope.ServedPort(w, svc, p)
		if !ok || p.Protocol.IsHTTP2() || p.Protocol == model.UDP || !s.labelled || s.mtls.For(target) == model.MTLSDisable {
			continue
		}
		report(model.Finding{
			Code: CodeLacking, Severity: model.Warning, Object: svc.Key, Origin: svc.Origin, Field: "spec.ports[" + strconv.Itoa(i) + "]",
			Message: "proxies of clients speak mTLS to this port of a workload without a proxy, and do not agree with its server on a protocol, for it is not declared as gRPC",
			Remedy:  "name the port grpc, or set appProtocol: grpc; where it serves no gRPC, let a PeerAuthentication DISABLE mTLS on it",
		})
	}
}

// unlabelled reports a server that demands mTLS and does not say so to clients.
func (s *Server) unlabelled(w *model.Workload, report Report) {
	strict := s.mtls.Mode == model.MTLSStrict
	for _, m := range s.mtls.Ports {
		strict = strict || m == model.MTLSStrict
	}
	if strict {
		report(model.Finding{
			Code: CodeLacking, Severity: model.Warning, Object: w.Key, Origin: w.Origin, Field: "metadata.labels",
			Message: "a PeerAuthentication demands mTLS of this gRPC server, and clients are not told: they call in plain text",
			Remedy:  "give the workload the label " + wire.TLSModeLabel + ": " + wire.TLSModeIstio,
		})
	}
}

// mode: gRPC cannot take both. What need not be mTLS is mTLS where the workload's
// label says so to clients, as in Istio.
func (s *Server) mode(port uint16) model.MTLSMode {
	if at, ok := s.ports[port]; ok {
		port = at
	}
	m := s.mtls.For(port)
	if m == model.MTLSPermissive {
		if s.labelled {
			return model.MTLSStrict
		}
		return model.MTLSDisable
	}
	return m
}

// listening is the other form of such names, in gRPC's own examples.
const listening = "?xds.resource.listening_address="

// serverAddress is the address that the name of a server's listener says.
func serverAddress(name string) (host string, port uint16, ok bool) {
	at, ok := strings.CutPrefix(name, wire.GRPCServer)
	if !ok {
		if _, at, ok = strings.Cut(name, listening); !ok {
			return "", 0, false
		}
	}
	host, text, err := net.SplitHostPort(at)
	if err != nil {
		return "", 0, false
	}
	n, err := strconv.ParseUint(text, 10, 16)
	return host, uint16(n), err == nil && n > 0
}

// Listener is the listener of that name; nil: it is no server's.
func (s *Server) Listener(name string) *listenerv3.Listener {
	host, port, ok := serverAddress(name)
	if !ok {
		return nil
	}
	chain := &listenerv3.FilterChain{Name: "inbound", Filters: []*listenerv3.Filter{{
		Name: "envoy.filters.network.http_connection_manager",
		ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pb.Any(&hcmv3.HttpConnectionManager{
			StatPrefix: name, HttpFilters: s.filters,
			RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
				Name: "inbound",
				VirtualHosts: []*routev3.VirtualHost{{Name: "inbound", Domains: []string{"*"}, Routes: []*routev3.Route{{
					Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
					Action: &routev3.Route_NonForwardingAction{NonForwardingAction: &routev3.NonForwardingAction{}},
				}}}},
			}},
		})},
	}}}
	if s.mode(port) == model.MTLSStrict {
		chain.TransportSocket = tlsctx.Downstream(&tlsv3.DownstreamTlsContext{
			CommonTlsContext: tlsctx.Proxyless(nil), RequireClientCertificate: pb.True(),
		})
	}
	return &listenerv3.Listener{Name: name, Address: pb.Address(host, port), FilterChains: []*listenerv3.FilterChain{chain}}
}
