// Package listener makes Envoy listeners: the outbound ones of a sidecar, one
// per port or virtual IP behind virtualOutbound; virtualInbound with a set of
// filter chains per port of the program; those of an explicit proxy, where
// nothing is captured; and those of gateways.
//
// It also decides which route configurations and inbound clusters are needed,
// since they hang on listeners.
package listener

import (
	"net/netip"
	"strconv"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	originaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/authn"
	"github.com/weftmesh/weft/control/translate/authz"
	"github.com/weftmesh/weft/control/translate/cluster"
	"github.com/weftmesh/weft/control/translate/limit"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/control/translate/route"
)

// Codes of Findings.
const (
	CodeBytes      = "WEFT0338" // a protocol of messages that Envoy carries as bytes
	CodeLimits     = "WEFT0339" // a service of limits that is not there
	CodeConflict   = "WEFT0340" // two things want one listener
	CodeBind       = "WEFT0341" // a bind address that is not carried out
	CodeTLS        = "WEFT0342" // TLS settings of a server that cannot be carried out
	CodeIngress    = "WEFT0343" // a Sidecar ingress that cannot be carried out
	CodeCredential = "WEFT0344" // a credential that the gateway may not have
	CodeTracing    = "WEFT0345" // a provider of telemetry that cannot be reached
	CodeTracer     = "WEFT0457" // a tracer that the engine does not have
	CodeMetrics    = "WEFT0346" // metrics that an engine cannot make
	CodeTunnel     = "WEFT0347" // a tunnel that cannot be
	CodeEgress     = "WEFT0348" // an egressProxy that the proxy does not see
)

// Report takes a Finding.
type Report func(model.Finding)

// Builder makes the listeners of one view.
type Builder struct {
	v        *scope.View
	report   Report
	routes   *route.Builder
	clusters *cluster.Builder
	out      Output
	streams  *streamTable
	policies policies
	converts *bool // convertible, once it was asked
	// limits are those of what comes in (false) and of what goes out.
	limits map[bool]*limit.Set
	// telemetry by side.
	telemetry map[model.Mode]*scope.Telemetry
}

// Output is what Build makes.
type Output struct {
	Listeners []*listenerv3.Listener
	Routes    []*routev3.RouteConfiguration
	// Clusters are those of the program's own ports.
	Clusters []*clusterv3.Cluster
	// Secrets are the credentials ("namespace/name") that listeners ask for.
	Secrets map[string]bool
}

// Outbound makes what the programs of a group of proxies call through; it has
// nothing for gateways and for explicit proxies, which differ too much for it.
func Outbound(v *scope.View, report Report) *Output {
	b := newBuilder(v, report)
	switch {
	case b.apart():
	case v.Proxy.OnDemand:
		b.onDemand()
	default:
		b.outbound()
	}
	return &b.out
}

// Own makes what only the proxy itself has: its inbound side, and all of a gateway
// and of an explicit proxy.
func Own(v *scope.View, report Report) *Output {
	b := newBuilder(v, report)
	_, explicit := v.Proxy.HTTPProxy()
	switch {
	case v.Proxy.Gateway():
		b.gateway()
	case explicit:
		b.httpProxy()
		b.explicitInbound()
	default:
		b.virtualInbound()
	}
	return &b.out
}

// Routes makes the route configurations of a proxy, as Outbound and Own do, and tells
// where each route comes from.
func Routes(v *scope.View) ([]*routev3.RouteConfiguration, map[*routev3.Route]route.Place) {
	b := newBuilder(v, func(model.Finding) {})
	places := b.routes.Trace()
	switch _, explicit := v.Proxy.HTTPProxy(); {
	case v.Proxy.Gateway():
		b.gateway()
	case explicit:
		b.httpProxy()
	default:
		b.outbound()
	}
	return b.out.Routes, places
}

func newBuilder(v *scope.View, report Report) *Builder {
	b := &Builder{
		v: v, report: report,
		routes: route.NewBuilder(v, route.Report(report)), clusters: cluster.NewBuilder(v, cluster.Report(report)),
	}
	b.out.Secrets = map[string]bool{}
	b.policies = policies{http: map[string][]*hcmv3.HttpFilter{}, tcp: map[string][]*listenerv3.Filter{}}
	b.limits = map[bool]*limit.Set{false: limit.Inbound(v, report), true: limit.Outbound(v, report)}
	return b
}

// apart tells whether the proxy shares no listeners with others.
func (b *Builder) apart() bool {
	_, explicit := b.v.Proxy.HTTPProxy()
	return explicit || b.v.Proxy.Gateway()
}

// stage says which traffic a chain is for: it decides filters and log names.
type stage uint8

const (
	outbound stage = iota
	inbound
	gateway
)

// String names the direction as statistics and logs do: a gateway only sends.
func (s stage) String() string { return [...]string{"outbound", "inbound", "outbound"}[s] }

func (s stage) direction() corev3.TrafficDirection {
	if s == inbound {
		return corev3.TrafficDirection_INBOUND
	}
	return corev3.TrafficDirection_OUTBOUND
}

// wildcard is the address that stands for all, by the families that the proxy
// has, and the second one of a dual-stack proxy.
func (b *Builder) wildcard() (addr string, extra []string) {
	switch v4, v6 := b.v.Proxy.Families(); {
	case v4 && v6:
		return "0.0.0.0", []string{"::"}
	case v6:
		return "::", nil
	}
	return "0.0.0.0", nil
}

// newListener makes a listener on an address and further ones, all with one port.
func newListener(name, addr string, port uint16, extra []string) *listenerv3.Listener {
	l := &listenerv3.Listener{Name: name, Address: pb.Address(addr, port)}
	for _, a := range extra {
		l.AdditionalAddresses = append(l.AdditionalAddresses, &listenerv3.AdditionalAddress{Address: pb.Address(a, port)})
	}
	return l
}

// listenerName is Istio's "address_port".
func listenerName(addr string, port uint16) string { return addr + "_" + strconv.Itoa(int(port)) }

// chain is one filter chain.
func chain(name string, match *listenerv3.FilterChainMatch, filters []*listenerv3.Filter) *listenerv3.FilterChain {
	return &listenerv3.FilterChain{Name: name, FilterChainMatch: match, Filters: filters}
}

func filter(name string, m proto.Message) *listenerv3.Filter {
	return &listenerv3.Filter{Name: name, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pb.Any(m)}}
}

func listenerFilter(name string, m proto.Message) *listenerv3.ListenerFilter {
	return &listenerv3.ListenerFilter{
		Name: name, ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: pb.Any(m)},
	}
}

func originalDst() *listenerv3.ListenerFilter {
	return listenerFilter("envoy.filters.listener.original_dst", &originaldstv3.OriginalDst{})
}

func tlsInspector() *listenerv3.ListenerFilter {
	return listenerFilter("envoy.filters.listener.tls_inspector", &tlsinspectorv3.TlsInspector{})
}

func httpInspector() *listenerv3.ListenerFilter {
	return listenerFilter("envoy.filters.listener.http_inspector", &httpinspectorv3.HttpInspector{})
}

// sniff bounds how long the first bytes are waited for; then the connection goes
// on as one that said nothing.
func (b *Builder) sniff(l *listenerv3.Listener) {
	l.ListenerFiltersTimeout = pb.Duration(b.v.Mesh.DetectTimeout)
	l.ContinueOnListenerFiltersTimeout = true
}

// plainHTTP are the application protocols that http_inspector detects.
var plainHTTP = []string{"http/1.1", "h2c"}

// addRoutes keeps a route configuration for RDS.
func (b *Builder) addRoutes(rc *routev3.RouteConfiguration) { b.out.Routes = append(b.out.Routes, rc) }

// policies are what the workload's policies make of its traffic, by the protocol of messages that is carried ("": HTTP,
// or bytes); each is made once for all chains.
type policies struct {
	http map[string][]*hcmv3.HttpFilter
	tcp  map[string][]*listenerv3.Filter
}

// requestPolicies are filters of requests. CUSTOM policies come first, then tokens are read, and then the other
// policies, which may look at them.
func (b *Builder) requestPolicies(messages string) []*hcmv3.HttpFilter {
	if out, ok := b.policies.http[messages]; ok {
		return out
	}
	var out []*hcmv3.HttpFilter
	custom, local := authz.HTTP(b.v, messages, authz.Report(b.report))
	for _, f := range custom {
		out = append(out, httpFilter(f.Name, f.Config))
	}
	if m := authn.Filter(b.v, authn.Report(b.report)); m != nil {
		out = append(out, httpFilter(pb.JWTFilter, m))
	}
	for _, f := range local {
		out = append(out, httpFilter(f.Name, f.Config))
	}
	b.policies.http[messages] = out
	return out
}

// streamPolicies are filters of connections of bytes, which may be a protocol of messages that the engine does not speak.
func (b *Builder) streamPolicies(messages string) []*listenerv3.Filter {
	if out, ok := b.policies.tcp[messages]; ok {
		return out
	}
	var out []*listenerv3.Filter
	for _, f := range authz.TCP(b.v, messages, authz.Report(b.report)) {
		out = append(out, filter(f.Name, f.Config))
	}
	b.policies.tcp[messages] = out
	return out
}

// logs is a shorthand.
type logs = []*accesslogv3.AccessLog

// singles are the addresses of a service that are no prefixes, of families that
// the proxy has.
func (b *Builder) singles(s *model.Service) []netip.Addr {
	v4, v6 := b.v.Proxy.Families()
	var out []netip.Addr
	for _, p := range s.VIPs {
		if p.IsSingleIP() && (p.Addr().Is4() && v4 || p.Addr().Is6() && v6) {
			out = append(out, p.Addr())
		}
	}
	return out
}

// ranges are the prefixes among a service's addresses.
func ranges(s *model.Service) []*corev3.CidrRange {
	var out []*corev3.CidrRange
	for _, p := range s.VIPs {
		if !p.IsSingleIP() {
			out = append(out, pb.CIDR(p))
		}
	}
	return out
}
