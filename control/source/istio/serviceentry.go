package istio

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	networkingpb "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// convertServiceEntry makes one Service of each host. The first has the
// object's key, the others "name/host" in its stead.
func convertServiceEntry(d *document.Document) []model.Object {
	se := &networkingpb.ServiceEntry{}
	if !d.Message("spec", d.Spec(), se) {
		return nil
	}
	base := model.Service{
		Namespace: d.Key.Namespace, Name: d.Key.Name, FromEntry: true,
		External:        se.GetLocation() == networkingpb.ServiceEntry_MESH_EXTERNAL,
		SubjectAltNames: se.GetSubjectAltNames(),
		Exports:         d.Visibility("spec.exportTo", se.GetExportTo()),
		Ports:           entryPorts(d, se),
		Distribution:    d.Distribution(),
	}
	for i, a := range se.GetAddresses() {
		if p := d.Prefix(document.At("spec.addresses", i), a); p.IsValid() {
			base.VIPs = append(base.VIPs, p)
		}
	}
	resolution(d, se, &base)
	if len(se.GetHosts()) == 0 {
		d.Error(document.CodeMissing, "spec.hosts", "name the hosts that programs call", "is missing")
	}
	var out []model.Object
	for i, h := range se.GetHosts() {
		at := document.At("spec.hosts", i)
		h = strings.ToLower(h)
		d.Host(at, h, true)
		if h == "*" {
			d.Invalid(at, "name hosts, e.g. *.example.com", "\"*\" stands for everything")
		}
		if slices.ContainsFunc(se.GetHosts()[:i], func(o string) bool { return strings.EqualFold(o, h) }) {
			d.Invalid(at, "remove it", "%q is listed twice", h)
		}
		wild := strings.HasPrefix(h, "*")
		if wild && len(base.Inline) == 0 && (base.Resolution == model.ByDNS || base.Resolution == model.ByDNSRoundRobin) {
			d.Invalid(at, "add endpoints, or use resolution: NONE", "a wildcard cannot be resolved by DNS")
		}
		s := base
		s.Meta, s.Host = d.Meta, h
		if i > 0 {
			s.Key.Name = d.Key.Name + "/" + h
			s.Hash = document.Mix(d.Hash, h)
		}
		out = append(out, &s)
	}
	return out
}

func entryPorts(d *document.Document, se *networkingpb.ServiceEntry) []model.ServicePort {
	if len(se.GetPorts()) == 0 {
		d.Error(document.CodeMissing, "spec.ports", "list the ports with number, name and protocol", "is missing")
	}
	var out []model.ServicePort
	for i, p := range se.GetPorts() {
		at := document.At("spec.ports", i)
		if p.GetNumber() == 0 {
			d.Error(document.CodeMissing, at+".number", "write the port that programs call", "is missing")
		}
		if p.GetName() == "" {
			d.Error(document.CodeMissing, at+".name", "write e.g. name: https", "is missing")
		}
		for j, q := range out {
			if q.Name == p.GetName() && q.Name != "" {
				d.Invalid(at+".name", "give each port a name of its own", "%q is the name of ports[%d] too", q.Name, j)
			}
			if q.Port == uint16(p.GetNumber()) {
				d.Invalid(at+".number", "remove one", "%d is the number of ports[%d] too", q.Port, j)
			}
		}
		sp := model.ServicePort{Name: p.GetName(), Port: uint16(p.GetNumber()), TargetPort: uint16(p.GetTargetPort())}
		if p.GetProtocol() != "" {
			var ok bool
			if sp.Protocol, ok = document.Protocol(p.GetProtocol()); !ok {
				d.Invalid(at+".protocol", document.Suggest(p.GetProtocol(), document.Protocols), "%q is not a protocol", p.GetProtocol())
			}
		}
		if sp.Protocol == model.TCP || sp.Protocol == model.Unknown { // Aeraki's names
			sp.App, sp.Asked = document.AppOf(p.GetName())
			if named := document.PortProtocol(p.GetName()); named.Messages() != "" {
				sp.Protocol = named
			}
		}
		if m := sp.Protocol.Messages(); m != "" {
			sp.App = m
		}
		out = append(out, sp)
	}
	return out
}

// resolution reads how endpoints are found, and the endpoints.
func resolution(d *document.Document, se *networkingpb.ServiceEntry, s *model.Service) {
	s.Selector = se.GetWorkloadSelector().GetLabels()
	if se.GetWorkloadSelector() != nil && len(se.GetEndpoints()) > 0 {
		d.Invalid("spec.workloadSelector", "keep one", "only one of workloadSelector, endpoints may be set")
	}
	ips := false
	switch se.GetResolution() {
	case networkingpb.ServiceEntry_NONE:
		s.Resolution = model.Passthrough
		if len(se.GetEndpoints()) > 0 {
			d.Invalid("spec.endpoints", "write resolution: STATIC or DNS", "have no use with resolution NONE")
		}
		if se.GetWorkloadSelector() != nil {
			d.Invalid("spec.workloadSelector", "write resolution: STATIC", "has no use with resolution NONE")
		}
	case networkingpb.ServiceEntry_STATIC:
		s.Resolution, ips = model.ByWorkloads, true
		if len(se.GetEndpoints()) == 0 && se.GetWorkloadSelector() == nil {
			d.Error(document.CodeMissing, "spec.endpoints", "list addresses, or set workloadSelector", "is missing for resolution STATIC")
		}
	case networkingpb.ServiceEntry_DNS:
		s.Resolution = model.ByDNS
	case networkingpb.ServiceEntry_DNS_ROUND_ROBIN:
		s.Resolution = model.ByDNSRoundRobin
		if len(se.GetEndpoints()) > 1 {
			d.Invalid("spec.endpoints", "keep one, or write resolution: DNS", "resolution DNS_ROUND_ROBIN takes one endpoint, got %d", len(se.GetEndpoints()))
		}
	case networkingpb.ServiceEntry_DYNAMIC_DNS:
		s.Resolution = model.ByRequest
		dynamicDNS(d, se, s)
	default:
		d.Invalid("spec.resolution", "use NONE, STATIC, DNS, DNS_ROUND_ROBIN or DYNAMIC_DNS", "%s is not known", se.GetResolution())
	}
	for i, e := range se.GetEndpoints() {
		s.Inline = append(s.Inline, endpoint(d, document.At("spec.endpoints", i), e, s, ips))
	}
}

// dynamicDNS judges an entry whose requests say themselves where they go.
func dynamicDNS(d *document.Document, se *networkingpb.ServiceEntry, s *model.Service) {
	for i, h := range se.GetHosts() {
		if !strings.HasPrefix(h, "*") {
			d.Invalid(document.At("spec.hosts", i), "write a wildcard, or resolution: DNS", "%q is one host: resolution DYNAMIC_DNS is for wildcards", h)
		}
	}
	for _, f := range []struct {
		set   bool
		field string
	}{
		{len(se.GetAddresses()) > 0, "addresses"}, {len(se.GetEndpoints()) > 0, "endpoints"}, {se.GetWorkloadSelector() != nil, "workloadSelector"},
	} {
		if f.set {
			d.Invalid("spec."+f.field, "remove it", "has no use with resolution DYNAMIC_DNS: the name in a request decides")
		}
	}
	for i, p := range s.Ports {
		if !p.Protocol.IsHTTP() && !p.Protocol.IsTLS() {
			d.Invalid(document.At("spec.ports", i)+".protocol", "write HTTP, HTTP2, GRPC or TLS", "resolution DYNAMIC_DNS needs a protocol that names the host")
		}
	}
}

// endpoint converts one endpoint of a ServiceEntry.
func endpoint(d *document.Document, at string, e *networkingpb.WorkloadEntry, s *model.Service, ips bool) model.Endpoint {
	// Endpoints mostly have the labels of one just before: a mesh of many holds
	// them once.
	labels, ports := e.GetLabels(), s.Ports
	for _, near := range s.Inline[max(0, len(s.Inline)-8):] {
		if len(labels) > 0 && maps.Equal(labels, near.Labels) {
			labels = near.Labels
			break
		}
	}
	out := model.Endpoint{
		Address: e.GetAddress(), Labels: labels, Network: e.GetNetwork(), Weight: max(1, e.GetWeight()),
		ServiceAccount: e.GetServiceAccount(), Healthy: true, Locality: locality(d, at+".locality", e.GetLocality()),
	}
	d.CheckLabels(at+".labels", e.GetLabels())
	_, addrErr := netip.ParseAddr(out.Address)
	unix := strings.HasPrefix(out.Address, "unix://")
	switch {
	case out.Address == "":
		d.Error(document.CodeMissing, at+".address", "write an address", "is missing")
	case unix:
		if !ips {
			d.Invalid(at+".address", "write resolution: STATIC", "a unix socket needs no DNS")
		}
		unixPath(d, at+".address", out.Address)
		if len(e.GetPorts()) > 0 {
			d.Invalid(at+".ports", "remove it", "a unix socket has no ports")
		}
	case ips && addrErr != nil:
		d.Invalid(at+".address", "write an IP address, or resolution: DNS", "%q is not an IP address", out.Address)
	case addrErr != nil:
		d.Host(at+".address", out.Address, false)
	}
	for name, n := range e.GetPorts() {
		if !slices.ContainsFunc(ports, func(p model.ServicePort) bool { return p.Name == name }) {
			var names []string
			for _, p := range ports {
				names = append(names, p.Name)
			}
			d.Invalid(document.Join(at+".ports", name), document.Suggest(name, names), "spec.ports has no port named %q", name)
		}
		if out.Ports == nil {
			out.Ports = map[string]uint16{}
		}
		out.Ports[name] = uint16(n)
	}
	return out
}

func unixPath(d *document.Document, at, address string) {
	path := strings.TrimPrefix(address, "unix://")
	switch {
	case !strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "@"):
		d.Invalid(at, "write unix:///absolute/path", "%q is not an absolute path", path)
	case strings.HasSuffix(path, "/"):
		d.Invalid(at, "write the path of a socket", "%q is the path of a folder", path)
	}
}

// locality reads "region/zone/subzone".
func locality(d *document.Document, at, s string) model.Locality {
	p := strings.Split(s, "/")
	if len(p) > 3 {
		d.Invalid(at, "write region/zone/subzone", "%q has more than three parts", s)
	}
	p = append(p, "", "")
	return model.Locality{Region: p[0], Zone: p[1], SubZone: p[2]}
}

// tlsMode is the label of a workload that speaks the mesh's mTLS.
const tlsMode = "security.istio.io/tlsMode"

// ownCluster is what Istio calls the only cluster of a mesh.
const ownCluster = "Kubernetes"

// healthAnnotation says that a WorkloadEntry takes traffic only while its agent says that
// the program is well.
const healthAnnotation = "proxy.istio.io/health-checks-enabled"

func convertWorkloadEntry(d *document.Document) []model.Object {
	we := &networkingpb.WorkloadEntry{}
	if !d.Message("spec", d.Spec(), we) {
		return nil
	}
	w := &model.Workload{
		Meta: d.Meta, Name: d.Key.Name, App: d.Key.Name, Namespace: d.Key.Namespace, Network: we.GetNetwork(),
		ServiceAccount: we.GetServiceAccount(), Weight: we.GetWeight(), Locality: locality(d, "spec.locality", we.GetLocality()),
		Ready: true, Engine: "none", Cluster: ownCluster, Proxy: Annotated(d),
	}
	if on, err := strconv.ParseBool(d.Annotations[healthAnnotation]); err == nil && on {
		w.Ready, w.Checked = false, true
	}
	d.CheckLabels("spec.labels", we.GetLabels())
	w.Labels = map[string]string{}
	for _, m := range []map[string]string{d.Labels, we.GetLabels()} {
		for k, v := range m {
			w.Labels[k] = v
		}
	}
	w.Node = w.Labels[model.LabelNode]
	if app := w.Labels["app"]; app != "" {
		w.App = app
	}
	// An account is that of the sidecar's certificate: who has one speaks mutual TLS,
	// unless the label says otherwise.
	if mode, said := w.Labels[tlsMode]; said {
		w.Mesh = mode == "istio"
	} else {
		w.Mesh = w.ServiceAccount != ""
	}
	switch addr, err := netip.ParseAddr(we.GetAddress()); {
	case we.GetAddress() == "":
		d.Error(document.CodeMissing, "spec.address", "write an address", "is missing")
	case err == nil:
		w.Addresses = []netip.Addr{addr.Unmap()}
	case strings.HasPrefix(we.GetAddress(), "unix://"):
		unixPath(d, "spec.address", we.GetAddress())
		if len(we.GetPorts()) > 0 {
			d.Invalid("spec.ports", "remove it", "a unix socket has no ports")
		}
		w.Host = we.GetAddress()
	default:
		d.Host("spec.address", we.GetAddress(), false)
		w.Host = we.GetAddress()
	}
	for name, n := range we.GetPorts() {
		if !document.IsLabel(name) {
			d.Invalid(document.Join("spec.ports", name), "use lower-case letters, digits and '-'", "%q is not the name of a port", name)
		}
		if w.Ports == nil {
			w.Ports = map[string]uint16{}
		}
		w.Ports[name] = uint16(n)
	}
	return []model.Object{w}
}
