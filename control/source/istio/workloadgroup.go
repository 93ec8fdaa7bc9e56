package istio

import (
	"maps"
	"math"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	networkingpb "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

func convertWorkloadGroup(d *document.Document) []model.Object {
	wg := &networkingpb.WorkloadGroup{}
	if !d.Message("spec", d.Spec(), wg) {
		return nil
	}
	t := wg.GetTemplate()
	if t == nil {
		d.Error(document.CodeMissing, "spec.template", "say what the workloads are, e.g. serviceAccount", "is missing")
	}
	if t.GetAddress() != "" {
		d.Warn(document.CodeIgnored, "spec.template.address", "remove it", "has no effect: each workload has its own")
	}
	w := model.Workload{
		Network: t.GetNetwork(), ServiceAccount: t.GetServiceAccount(), Weight: t.GetWeight(), Locality: locality(d, "spec.template.locality", t.GetLocality()),
		Labels: map[string]string{}, Ports: map[string]uint16{},
		Proxy: OwnProxy(d, document.Join("spec.metadata.annotations", ProxyAnnotation), wg.GetMetadata().GetAnnotations()[ProxyAnnotation]),
	}
	if w.ServiceAccount == "" {
		w.ServiceAccount = "default"
	}
	d.CheckLabels("spec.template.labels", t.GetLabels())
	d.CheckLabels("spec.metadata.labels", wg.GetMetadata().GetLabels())
	maps.Copy(w.Labels, t.GetLabels())
	maps.Copy(w.Labels, wg.GetMetadata().GetLabels())
	w.Annotations = map[string]string{"istio.io/autoRegistrationGroup": d.Key.Name}
	maps.Copy(w.Annotations, wg.GetMetadata().GetAnnotations())
	for name, n := range t.GetPorts() {
		w.Ports[name] = uint16(n) //nolint:gosec // the shape bounds it
	}
	if p := wg.GetProbe(); p != nil && p.GetHealthCheckMethod() == nil {
		d.Error(document.CodeMissing, "spec.probe", "add httpGet, tcpSocket, exec or grpc", "says not what to ask")
	}
	probe(d, wg.GetProbe())
	g := &model.WorkloadGroup{Meta: d.Meta, Template: w, Probed: wg.GetProbe() != nil}
	if g.Probed {
		g.Probe, _ = protojson.Marshal(wg.GetProbe()) // it was JSON
	}
	return []model.Object{g}
}

// probe judges where a health check goes to; the workload's own agent carries it out.
func probe(d *document.Document, p *networkingpb.ReadinessProbe) {
	port := func(field string, n uint32) {
		if n == 0 || n > math.MaxUint16 {
			d.Invalid("spec.probe."+field, "", "must be a port from 1 to 65535, got %d", n)
		}
	}
	if t := p.GetTcpSocket(); t != nil {
		port("tcpSocket.port", t.GetPort())
	}
	if h := p.GetHttpGet(); h != nil {
		port("httpGet.port", h.GetPort())
		for i, x := range h.GetHttpHeaders() {
			if field := document.At("spec.probe.httpGet.httpHeaders", i) + ".name"; !probeHeader(x.GetName()) {
				d.Invalid(field, "use letters, digits, '-' and '_'", "%q is no name of a header", x.GetName())
			}
		}
	}
}

// probeHeader tells whether Kubernetes takes a name for a header of a health check.
func probeHeader(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
}
