package istio

import (
	"net/netip"
	"slices"
	"strings"

	networkingpb "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// meshGateway is the name that stands for all sidecars.
const meshGateway = "mesh"

func convertVirtualService(d *document.Document) []model.Object {
	vs := &networkingpb.VirtualService{}
	if !d.Message("spec", d.Spec(), vs) {
		return nil
	}
	rs := &model.RouteSet{Meta: d.Meta, Exports: d.Visibility("spec.exportTo", vs.GetExportTo())}
	rs.Hosts, rs.Gateways = hostsOf(d, vs), gatewaysOf(d, "spec.gateways", vs.GetGateways())
	if len(rs.Gateways) == 0 {
		rs.Gateways = []string{meshGateway}
	}
	if len(vs.GetHosts()) == 0 {
		rs.Delegate = true
		delegateRules(d, vs)
	}
	if len(vs.GetHttp())+len(vs.GetTls())+len(vs.GetTcp()) == 0 && !d.Bad() {
		d.Error(document.CodeMissing, "spec", "add spec.http, spec.tls or spec.tcp", "has no routes")
	}
	for i, r := range vs.GetHttp() {
		at := document.At("spec.http", i)
		rs.HTTP = append(rs.HTTP, httpRoute(d, at, r, rs))
	}
	unreachable(d, "spec.http", rs.HTTP)
	for i, r := range vs.GetTls() {
		at := document.At("spec.tls", i)
		rs.TLS = append(rs.TLS, tlsRoute(d, at, r, rs))
	}
	for i, r := range vs.GetTcp() {
		at := document.At("spec.tcp", i)
		rs.TCP = append(rs.TCP, tcpRoute(d, at, r))
	}
	unreachable(d, "spec.tcp", rs.TCP)
	return []model.Object{rs}
}

func hostsOf(d *document.Document, vs *networkingpb.VirtualService) []string {
	var out []string
	for i, h := range vs.GetHosts() {
		at := document.At("spec.hosts", i)
		d.Host(at, h, true)
		fqdn := document.FQDN(h, d.Key.Namespace, Domain)
		if slices.Contains(out, fqdn) {
			d.Invalid(at, "remove it", "%q is listed twice", h)
			continue
		}
		if h == "*" && onlyMesh(vs.GetGateways()) {
			d.Invalid(at, "name the hosts, or set spec.gateways", "\"*\" is allowed for gateways only")
		}
		out = append(out, fqdn)
	}
	return out
}

func onlyMesh(gateways []string) bool {
	return len(gateways) == 0 || slices.Contains(gateways, meshGateway)
}

// gatewaysOf resolves gateway names to "mesh" or "namespace/name".
func gatewaysOf(d *document.Document, field string, names []string) []string {
	var out []string
	for i, g := range names {
		ns, name, ok := strings.Cut(g, "/")
		switch {
		case g == meshGateway:
			out = append(out, g)
			continue
		case !ok && strings.HasSuffix(g, ".svc."+Domain):
			// The old form: name.namespace.svc.cluster.local.
			name, ns, _ = strings.Cut(strings.TrimSuffix(g, ".svc."+Domain), ".")
		case !ok:
			ns, name = d.Key.Namespace, g
		}
		if !document.IsLabel(ns) || !document.IsSubdomain(name) {
			d.Invalid(document.At(field, i), `write "mesh", "name" or "namespace/name"`, "%q is not the name of a gateway", g)
			continue
		}
		out = append(out, ns+"/"+name)
	}
	return out
}

func delegateRules(d *document.Document, vs *networkingpb.VirtualService) {
	const why = "a VirtualService without hosts is a delegate: another one refers to it"
	if len(vs.GetGateways()) > 0 {
		d.Invalid("spec.gateways", "remove it, or add spec.hosts", "%s, and takes the gateways from there", why)
	}
	if len(vs.GetTls())+len(vs.GetTcp()) > 0 {
		d.Invalid("spec", "add spec.hosts", "%s, with http routes only", why)
	}
	for i, r := range vs.GetHttp() {
		if r.GetDelegate() != nil {
			d.Invalid(document.At("spec.http", i)+".delegate", "add spec.hosts, or route here", "a delegate cannot delegate again")
		}
	}
}

// unreachable warns of routes after one that takes everything.
func unreachable(d *document.Document, field string, routes []model.Route) {
	for i, r := range routes {
		always := len(r.Matches) == 0
		for _, m := range r.Matches {
			always = always || len(m.Conditions) == 0 && len(m.Gateways) == 0 && len(m.SourceLabels) == 0 && m.SourceNamespace == ""
		}
		if always && i+1 < len(routes) {
			d.Warn(document.CodeValue, document.At(field, i+1), "move it before that one", "is never reached: %s[%d] takes everything", field, i)
			return
		}
	}
}

// destination converts a Destination; the host is required.
func destination(d *document.Document, at string, p *networkingpb.Destination) model.Destination {
	if p == nil {
		d.Error(document.CodeMissing, at, "write destination: {host: …}", "is missing")
		return model.Destination{}
	}
	if p.GetHost() == "" {
		d.Error(document.CodeMissing, at+".host", "name a service", "is missing")
		return model.Destination{}
	}
	d.Host(at+".host", p.GetHost(), false)
	return model.Destination{
		Host:   document.FQDN(p.GetHost(), d.Key.Namespace, Domain),
		Subset: p.GetSubset(),
		Port:   uint16(p.GetPort().GetNumber()),
	}
}

// weights reports shares that cannot be carried out.
func weights(d *document.Document, at string, ds []model.Destination) {
	if len(ds) < 2 {
		return
	}
	var sum uint64
	for i := range ds {
		sum += uint64(ds[i].Weight)
	}
	if sum == 0 {
		d.Invalid(at, "give each destination its share, e.g. 90 and 10", "the weights of several destinations are all 0")
	} else if sum > 1<<32-1 {
		d.Invalid(at, "use smaller numbers", "the weights add up to %d, more than 4294967295", sum)
	}
}

func tlsRoute(d *document.Document, at string, p *networkingpb.TLSRoute, rs *model.RouteSet) model.Route {
	r := model.Route{}
	if len(p.GetMatch()) == 0 {
		d.Error(document.CodeMissing, at+".match", "match at least sniHosts", "is missing")
	}
	for i, m := range p.GetMatch() {
		mat := document.At(at+".match", i)
		if len(m.GetSniHosts()) == 0 {
			d.Error(document.CodeMissing, mat+".sniHosts", "name the servers that clients ask for", "is missing")
		}
		base := l4Match(d, mat, m)
		var sni []model.Condition
		for j, h := range m.GetSniHosts() {
			hat := document.At(mat+".sniHosts", j)
			d.Host(hat, h, true)
			if !d.Bad() && !covered(h, rs.Hosts) {
				d.Invalid(hat, "add it to spec.hosts", "%q is not among the hosts of the VirtualService", h)
			}
			sni = append(sni, model.Condition{Attr: model.AttrSNI, Op: model.Wildcard, Value: strings.ToLower(h)})
		}
		r.Matches = append(r.Matches, multiply(multiply([]model.Match{base}, sni), subnets(d, mat, m.GetDestinationSubnets()))...)
	}
	r.Destinations = l4Destinations(d, at, p.GetRoute())
	return r
}

// covered tells whether one of hosts is host or a wildcard over it.
func covered(host string, hosts []string) bool {
	host = strings.ToLower(host)
	for _, h := range hosts {
		if h == host || h == "*" || strings.HasPrefix(h, "*.") && strings.HasSuffix(host, h[1:]) {
			return true
		}
	}
	return false
}

func tcpRoute(d *document.Document, at string, p *networkingpb.TCPRoute) model.Route {
	r := model.Route{}
	for i, m := range p.GetMatch() {
		mat := document.At(at+".match", i)
		base := l4Match(d, mat, m)
		r.Matches = append(r.Matches, multiply([]model.Match{base}, subnets(d, mat, m.GetDestinationSubnets()))...)
	}
	r.Destinations = l4Destinations(d, at, p.GetRoute())
	return r
}

// clientMatch is what TLS and TCP matches have in common.
type clientMatch interface {
	GetPort() uint32
	GetSourceLabels() map[string]string
	GetSourceNamespace() string
	GetGateways() []string
}

func l4Match(d *document.Document, at string, p clientMatch) model.Match {
	m := model.Match{
		SourceLabels: p.GetSourceLabels(), SourceNamespace: p.GetSourceNamespace(), Gateways: gatewaysOf(d, at+".gateways", p.GetGateways()),
	}
	if p.GetPort() != 0 {
		m.Conditions = append(m.Conditions, portIs(p.GetPort()))
	}
	return m
}

func subnets(d *document.Document, at string, list []string) []model.Condition {
	var out []model.Condition
	for i, s := range list {
		if p := d.Prefix(document.At(at+".destinationSubnets", i), s); p != (netip.Prefix{}) {
			out = append(out, model.Condition{Attr: model.AttrDestinationIP, Value: p.String()})
		}
	}
	return out
}

// multiply makes of each match one for every alternative, since the conditions
// of a match must all be true. No alternatives leave the matches as they are.
func multiply(ms []model.Match, alternatives []model.Condition) []model.Match {
	if len(alternatives) == 0 {
		return ms
	}
	out := make([]model.Match, 0, len(ms)*len(alternatives))
	for _, m := range ms {
		for _, c := range alternatives {
			n := m
			n.Conditions = append(slices.Clone(m.Conditions), c)
			out = append(out, n)
		}
	}
	return out
}

func l4Destinations(d *document.Document, at string, routes []*networkingpb.RouteDestination) []model.Destination {
	if len(routes) == 0 {
		d.Error(document.CodeMissing, at+".route", "name a destination", "is missing")
	}
	var out []model.Destination
	for i, p := range routes {
		dest := destination(d, document.At(at+".route", i)+".destination", p.GetDestination())
		dest.Weight = uint32(p.GetWeight())
		out = append(out, dest)
	}
	weights(d, at+".route", out)
	return out
}
