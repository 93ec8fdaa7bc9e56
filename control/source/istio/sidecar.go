package istio

import (
	"net/netip"
	"strings"

	networkingpb "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

func convertSidecar(d *document.Document) []model.Object {
	sc := &networkingpb.Sidecar{}
	if !d.Message("spec", d.Spec(), sc) {
		return nil
	}
	out := &model.Sidecar{Meta: d.Meta, InboundPool: connectionPool(d, "spec.inboundConnectionPool", sc.GetInboundConnectionPool())}
	if labels := sc.GetWorkloadSelector().GetLabels(); len(labels) > 0 {
		out.Selector = labels
		d.CheckLabels("spec.workloadSelector.labels", labels)
	}
	if p := sc.GetOutboundTrafficPolicy(); p != nil {
		out.OutboundPolicy = new(model.RegistryOnly)
		if p.GetMode() == networkingpb.OutboundTrafficPolicy_ALLOW_ANY {
			out.OutboundPolicy = new(model.AllowAny)
		}
		out.EgressProxy = egressProxy(d, "spec.outboundTrafficPolicy.egressProxy", p)
	}
	for i, e := range sc.GetEgress() {
		at := document.At("spec.egress", i)
		eg := model.SidecarEgress{Bind: e.GetBind(), Hosts: e.GetHosts()}
		eg.Port, eg.PortName, eg.Protocol = sidecarPort(d, at+".port", e.GetPort(), false)
		eg.Bound = e.GetCaptureMode() == networkingpb.CaptureMode_NONE
		bindAddress(d, at+".bind", eg.Bind)
		if len(eg.Hosts) == 0 {
			d.Error(document.CodeMissing, at+".hosts", `write e.g. "./*"`, "is missing")
		}
		for j, h := range eg.Hosts {
			egressHost(d, document.At(at+".hosts", j), h)
		}
		out.Egress = append(out.Egress, eg)
	}
	if len(sc.GetIngress()) > 0 && out.Selector == nil {
		d.Error(document.CodeMissing, "spec.workloadSelector", "say which workloads listen there", "is missing beside ingress")
	}
	for i, in := range sc.GetIngress() {
		at := document.At("spec.ingress", i)
		ing := model.SidecarIngress{Bind: in.GetBind(), DefaultEndpoint: in.GetDefaultEndpoint(), TLS: serverTLS(d, at+".tls", in.GetTls()),
			Pool: connectionPool(d, at+".connectionPool", in.GetConnectionPool())}
		ing.Port, ing.PortName, ing.Protocol = sidecarPort(d, at+".port", in.GetPort(), true)
		ing.Bound = in.GetCaptureMode() == networkingpb.CaptureMode_NONE
		if ing.Bound && ing.DefaultEndpoint == "" {
			d.Error(document.CodeMissing, at+".defaultEndpoint", "say where the program listens, e.g. 127.0.0.1:8080", "is missing beside captureMode: NONE")
		}
		bindAddress(d, at+".bind", ing.Bind)
		defaultEndpoint(d, at+".defaultEndpoint", ing.DefaultEndpoint)
		out.Ingress = append(out.Ingress, ing)
	}
	return []model.Object{out}
}

// egressProxy reads where unknown traffic goes, which has to be said to the port.
func egressProxy(d *document.Document, at string, p *networkingpb.OutboundTrafficPolicy) *model.Destination {
	if p.GetEgressProxy() == nil {
		return nil
	}
	to := destination(d, at, p.GetEgressProxy())
	if to.Host != "" && to.Port == 0 {
		d.Error(document.CodeMissing, at+".port.number", "say which port of the service", "is missing")
	}
	if p.GetMode() != networkingpb.OutboundTrafficPolicy_ALLOW_ANY {
		d.Warn(document.CodeIgnored, at, "set mode: ALLOW_ANY, or remove it", "has no effect with mode REGISTRY_ONLY")
		return nil
	}
	return &to
}

func bindAddress(d *document.Document, at, bind string) {
	if bind == "" {
		return
	}
	if strings.HasPrefix(bind, "unix://") {
		d.Unsupported(at, "write an IP address", "unix sockets are not carried out by Weft here")
		return
	}
	d.Addr(at, bind)
}

func sidecarPort(d *document.Document, at string, p *networkingpb.SidecarPort, required bool) (n uint16, name string, proto model.Protocol) {
	if p.GetNumber() == 0 && (required || p != nil) {
		d.Error(document.CodeMissing, at+".number", "write a port", "is missing")
	}
	if p.GetProtocol() != "" {
		var ok bool
		if proto, ok = document.Protocol(p.GetProtocol()); !ok {
			d.Invalid(at+".protocol", document.Suggest(p.GetProtocol(), document.Protocols), "%q is not a protocol", p.GetProtocol())
		}
	}
	return uint16(p.GetNumber()), p.GetName(), proto
}

// egressHost judges "namespace/host", and "~namespace/host", which takes hosts away.
func egressHost(d *document.Document, at, h string) {
	ns, name, ok := strings.Cut(h, "/")
	if len(ns) > 1 {
		ns = strings.TrimPrefix(ns, "~") // which takes away
	}
	switch {
	case !ok:
		d.Invalid(at, `write "namespace/host", e.g. "./`+h+`" or "*/`+h+`"`, "%q has no namespace", h)
		return
	case ns != "." && ns != "*" && ns != "~" && !document.IsLabel(ns):
		d.Invalid(at, `write a namespace, ".", "*" or "~"`, "%q is not a namespace", ns)
	}
	d.Host(at, name, true)
}

// defaultEndpoint judges where inbound traffic goes: loopback, the workload's own address, or a socket.
func defaultEndpoint(d *document.Document, at, e string) {
	switch {
	case e == "":
		return
	case strings.HasPrefix(e, "unix://"):
		unixPath(d, at, e)
		return
	}
	ap, err := netip.ParseAddrPort(e)
	if err != nil {
		d.Invalid(at, "write e.g. 127.0.0.1:8080 or unix:///path", "%q is not an address with a port", e)
		return
	}
	if !ap.Addr().IsLoopback() && !ap.Addr().IsUnspecified() {
		d.Invalid(at, "write 127.0.0.1, 0.0.0.0, [::1] or [::] with a port", "%q is not an address of the workload itself", e)
	}
}
