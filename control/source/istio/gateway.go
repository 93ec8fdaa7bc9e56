package istio

import (
	"net/netip"
	"slices"
	"strings"

	networkingpb "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
	"github.com/weftmesh/weft/wire"
)

func convertGateway(d *document.Document) []model.Object {
	gw := &networkingpb.Gateway{}
	if !d.Message("spec", d.Spec(), gw) {
		return nil
	}
	out := &model.Gateway{Meta: d.Meta, Selector: gw.GetSelector()}
	d.CheckLabels("spec.selector", out.Selector)
	if len(out.Selector) == 0 {
		d.Warn(document.CodeValue, "spec.selector", "name the gateway's labels, e.g. istio: ingressgateway", "is empty: the servers open on every gateway")
	}
	if len(gw.GetServers()) == 0 {
		d.Error(document.CodeMissing, "spec.servers", "add a server with port and hosts", "is missing")
	}
	protocols := map[uint16]model.Protocol{}
	names := map[string]int{}
	for i, s := range gw.GetServers() {
		at := document.At("spec.servers", i)
		srv := server(d, at, s)
		if j, dup := names[srv.PortName]; dup && srv.PortName != "" {
			d.Invalid(at+".port.name", "give each server's port a name of its own", "%q is the name of servers[%d] too", srv.PortName, j)
		}
		names[srv.PortName] = i
		if other, ok := protocols[srv.Port]; ok && srv.Port != 0 && family(other) != family(srv.Protocol) {
			d.Invalid(at+".port", "use another port", "port %d cannot be %s and %s at once", srv.Port, other, srv.Protocol)
		}
		protocols[srv.Port] = srv.Protocol
		out.Servers = append(out.Servers, srv)
	}
	return []model.Object{out}
}

// family groups the protocols that can share a gateway's port.
func family(p model.Protocol) string {
	switch {
	case p.IsHTTP():
		return "plain HTTP"
	case p.IsTLS():
		return "TLS"
	}
	return string(p)
}

var gatewayProtocols = []string{"HTTP", "HTTPS", "HTTP2", "GRPC", "GRPC-WEB", "TCP", "TLS", "MONGO"}

func server(d *document.Document, at string, p *networkingpb.Server) model.Server {
	port := p.GetPort()
	out := model.Server{
		Name: p.GetName(), Port: uint16(port.GetNumber()), PortName: port.GetName(), Bind: p.GetBind(),
		TLS: serverTLS(d, at+".tls", p.GetTls()), DefaultEndpoint: p.GetDefaultEndpoint(),
	}
	defaultEndpoint(d, at+".defaultEndpoint", out.DefaultEndpoint)
	if out.DefaultEndpoint != "" && out.TLS != nil && out.TLS.Mode == model.TLSAutoPassthrough {
		d.Invalid(at+".defaultEndpoint", "remove it", "has no use with mode AUTO_PASSTHROUGH, which takes what services of the mesh are asked for")
	}
	if port.GetNumber() == 0 {
		d.Error(document.CodeMissing, at+".port.number", "write the port to open", "is missing")
	}
	if port.GetName() == "" {
		d.Error(document.CodeMissing, at+".port.name", "write e.g. name: http", "is missing")
	}
	var ok bool
	// Aeraki's names: what is opaque by its protocol may be messages by its name, and a protocol may be declared.
	if app, said := document.AppOf(port.GetProtocol()); said {
		out.App, out.Asked, out.Protocol = app, true, model.TCP
	} else if port.GetProtocol() == "" {
		d.Error(document.CodeMissing, at+".port.protocol", "write one of "+strings.Join(gatewayProtocols, ", "), "is missing")
	} else if out.Protocol, ok = document.Protocol(port.GetProtocol()); !ok || out.Protocol == model.UDP {
		d.Invalid(at+".port.protocol", document.Suggest(port.GetProtocol(), gatewayProtocols), "must be one of %s, got %q", strings.Join(gatewayProtocols, ", "), port.GetProtocol())
	} else {
		serverTLSRules(d, at, out)
		if out.Protocol == model.TCP || out.Protocol == model.TLS {
			out.App, out.Asked = document.AppOf(port.GetName())
		}
	}
	out.Asked = out.Asked && !slices.Contains(wire.MessageProtocols, out.App) // whose codec is there always
	if out.Bind != "" {
		if _, err := netip.ParseAddr(out.Bind); err != nil && !strings.HasPrefix(out.Bind, "unix://") {
			d.Invalid(at+".bind", "write an IP address", "%q is not an IP address", out.Bind)
		}
	}
	if len(p.GetHosts()) == 0 {
		d.Error(document.CodeMissing, at+".hosts", `name the hosts, or "*" for all`, "is missing")
	}
	for i, h := range p.GetHosts() {
		out.Hosts = append(out.Hosts, serverHost(d, document.At(at+".hosts", i), h))
	}
	return out
}

// serverHost reads "dnsName" or "namespace/dnsName".
func serverHost(d *document.Document, at, h string) string {
	ns, name, ok := strings.Cut(h, "/")
	if !ok {
		d.Host(at, h, true)
		return strings.ToLower(h)
	}
	d.Host(at, name, true)
	switch {
	case ns == ".":
		ns = d.Key.Namespace
	case ns != "*" && !document.IsLabel(ns):
		d.Invalid(at, `write "namespace/host", "./host" or "*/host"`, "%q is not a namespace", ns)
	}
	return ns + "/" + strings.ToLower(name)
}

// serverTLSRules judges protocol and tls together.
func serverTLSRules(d *document.Document, at string, s model.Server) {
	t := s.TLS
	switch {
	case s.Protocol.IsTLS() && t == nil:
		d.Error(document.CodeMissing, at+".tls", "write e.g. tls: {mode: SIMPLE, credentialName: …}", "is missing for protocol %s", s.Protocol)
		return
	case t == nil:
		return
	case t.HTTPSRedirect && !s.Protocol.IsHTTP():
		d.Invalid(at+".tls.httpsRedirect", "put it on the server of the HTTP port", "makes no sense on protocol %s", s.Protocol)
	case s.Protocol.IsHTTP() && !t.HTTPSRedirect:
		d.Invalid(at+".tls", "write protocol: HTTPS", "has no meaning on protocol %s", s.Protocol)
	case s.Protocol.IsTCP():
		d.Invalid(at+".tls", "write protocol: TLS", "has no meaning on protocol %s", s.Protocol)
	}
	if !s.Protocol.IsTLS() {
		return
	}
	switch t.Mode {
	case model.TLSSimple, model.TLSMutual, model.TLSOptionalMutual:
		if len(t.Credentials) == 0 && (t.CertFile == "" || t.KeyFile == "") {
			d.Error(document.CodeMissing, at+".tls.credentialName", "name a Secret, or serverCertificate and privateKey", "is missing for this mode")
		}
		if t.Mode != model.TLSSimple && len(t.Credentials) == 0 && t.CAFile == "" {
			d.Error(document.CodeMissing, at+".tls.caCertificates", "name the file with the clients' authority", "is missing for this mode")
		}
	default:
		if len(t.Credentials) > 0 || t.CertFile != "" {
			d.Invalid(at+".tls", "remove the certificate, or use mode: SIMPLE", "a certificate has no use in this mode")
		}
	}
}
