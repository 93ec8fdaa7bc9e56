package kube

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// exportTo is Istio's annotation of a Service.
const exportTo = "networking.istio.io/exportTo"

func convertService(d *document.Document) []model.Object {
	spec, err := document.Into[corev1.ServiceSpec](d.Spec())
	if err != nil {
		d.Invalid("spec", "", "cannot be read: %v", err)
		return nil
	}
	if !document.IsLabel(d.Key.Name) {
		d.Invalid("metadata.name", "use at most 63 lower-case letters, digits and '-'", "%q is not a valid name of a Service", d.Key.Name)
	}
	s := &model.Service{
		Meta: d.Meta, Host: d.Key.Name + "." + d.Key.Namespace + ".svc." + Domain,
		Namespace: d.Key.Namespace, Name: d.Key.Name,
		PublishNotReady: spec.PublishNotReadyAddresses,
	}
	if len(spec.Selector) > 0 {
		s.Selector = spec.Selector
		d.CheckLabels("spec.selector", spec.Selector)
	}
	exports := []string{}
	if a := d.Annotations[exportTo]; a != "" {
		for ns := range strings.SplitSeq(a, ",") {
			exports = append(exports, strings.TrimSpace(ns))
		}
	}
	s.Exports = d.Visibility(document.Join("metadata.annotations", exportTo), exports)
	annotations(d, "metadata.annotations", "Service", d.Annotations)
	serviceType(d, s, &spec)
	serviceAddresses(d, s, &spec)
	servicePorts(d, s, spec.Ports)
	portNames(d, s)
	if spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		d.Warn(document.CodeIgnored, "spec.sessionAffinity", "use a DestinationRule with loadBalancer.consistentHash.useSourceIp", "ClientIP has no effect here")
	}
	trafficPolicy(d, s, &spec)
	return []model.Object{s}
}

func serviceType(d *document.Document, s *model.Service, spec *corev1.ServiceSpec) {
	switch spec.Type {
	case "", corev1.ServiceTypeClusterIP:
	case corev1.ServiceTypeNodePort:
		s.Exposure = model.OnNodePort
	case corev1.ServiceTypeLoadBalancer:
		s.Exposure = model.OnLoadBalancer
	case corev1.ServiceTypeExternalName:
		s.ExternalName = strings.TrimSuffix(spec.ExternalName, ".")
		s.Resolution = model.ByDNS
		s.External = true
		if s.ExternalName == "" {
			d.Error(document.CodeMissing, "spec.externalName", "name the host that the service stands for", "is missing")
			return
		}
		d.Host("spec.externalName", s.ExternalName, false)
		s.Inline = []model.Endpoint{{Address: s.ExternalName, Healthy: true, Weight: 1}}
		if len(s.Selector) > 0 {
			d.Warn(document.CodeIgnored, "spec.selector", "remove it", "an ExternalName service has no use for a selector")
			s.Selector = nil
		}
	default:
		types := []string{"ClusterIP", "NodePort", "LoadBalancer", "ExternalName"}
		d.Invalid("spec.type", document.Suggest(string(spec.Type), types), "must be one of %s, got %q", strings.Join(types, ", "), spec.Type)
	}
}

func serviceAddresses(d *document.Document, s *model.Service, spec *corev1.ServiceSpec) {
	ips, field := spec.ClusterIPs, "spec.clusterIPs"
	if len(ips) == 0 && spec.ClusterIP != "" {
		ips, field = []string{spec.ClusterIP}, "spec.clusterIP"
	}
	for i, ip := range ips {
		at := field
		if field == "spec.clusterIPs" {
			at = document.At(field, i)
		}
		if ip == corev1.ClusterIPNone {
			s.Headless = true
			continue
		}
		if a := d.Addr(at, ip); a.IsValid() {
			s.VIPs = append(s.VIPs, netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
		}
	}
	if s.Headless {
		if len(s.VIPs) > 0 {
			d.Invalid(field, "write None alone", "None excludes addresses")
		}
		if s.Exposure != model.InMesh {
			d.Invalid(field, "remove it, or use type ClusterIP", "a service of type %s cannot be headless", spec.Type)
		}
		s.Resolution = model.Passthrough
	}
	serviceFamilies(d, s, spec)
}

// serviceFamilies reads ipFamilies and ipFamilyPolicy.
func serviceFamilies(d *document.Document, s *model.Service, spec *corev1.ServiceSpec) {
	for i, f := range spec.IPFamilies {
		switch f {
		case corev1.IPv4Protocol:
			s.Families = append(s.Families, 4)
		case corev1.IPv6Protocol:
			s.Families = append(s.Families, 6)
		default:
			d.Invalid(document.At("spec.ipFamilies", i), "write IPv4 or IPv6", "%q is no IP family", f)
		}
	}
	if spec.IPFamilyPolicy == nil {
		return
	}
	switch *spec.IPFamilyPolicy {
	case corev1.IPFamilyPolicySingleStack:
		if len(s.Families) == 0 {
			s.Families = []int{4}
		}
	case corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack:
		if len(s.Families) == 1 {
			s.Families = append(s.Families, 10-s.Families[0])
		}
	default:
		d.Invalid("spec.ipFamilyPolicy", "", "must be one of SingleStack, PreferDualStack, RequireDualStack, got %q", *spec.IPFamilyPolicy)
	}
}

func servicePorts(d *document.Document, s *model.Service, ports []corev1.ServicePort) {
	if len(ports) == 0 && s.Resolution == model.ByWorkloads {
		d.Error(document.CodeMissing, "spec.ports", "list the ports that clients use", "is missing")
	}
	names := map[string]int{}
	numbers := map[string]int{}
	for i := range ports {
		p, at := &ports[i], document.At("spec.ports", i)
		if p.Port == 0 {
			d.Error(document.CodeMissing, document.Join(at, "port"), "write the port that clients use", "is missing")
			continue
		}
		if p.Name == "" && len(ports) > 1 {
			d.Error(document.CodeMissing, document.Join(at, "name"), "a service with several ports names each, e.g. http, grpc, tcp-db", "is missing")
		}
		if p.Name != "" && !document.IsLabel(p.Name) {
			d.Invalid(document.Join(at, "name"), "use lower-case letters, digits and '-'", "%q is not a valid port name", p.Name)
		}
		if j, dup := names[p.Name]; dup && p.Name != "" {
			d.Invalid(document.Join(at, "name"), "give each port a name of its own", "%q is the name of ports[%d] too", p.Name, j)
		}
		names[p.Name] = i
		number := cmp.Or(string(p.Protocol), "TCP") + " " + strconv.Itoa(int(p.Port))
		if j, dup := numbers[number]; dup {
			d.Invalid(document.Join(at, "port"), "remove one", "%d is the port of ports[%d] too", p.Port, j)
		}
		numbers[number] = i
		if out, ok := servicePort(d, at, p, s.Exposure); ok {
			s.Ports = append(s.Ports, out)
		}
	}
}

// portNames notes ports whose protocol nobody has said.
func portNames(d *document.Document, s *model.Service) {
	if d.Bad() || d.Labels["istio"] != "" || d.Labels["release"] == "istio" || d.Labels["gateway.istio.io/managed"] != "" ||
		d.Key.Namespace == "kube-system" || d.Key.Namespace == "kube-public" {
		return // refused, or brought along by an installation and not written by the user
	}
	for i := range s.Ports {
		p, at := &s.Ports[i], document.Join(document.At("spec.ports", i), "name")
		switch {
		case s.ExternalName != "" && (p.Protocol == model.Unknown || p.Protocol == model.TCP):
			d.Warn(document.CodeExternalName, at, "name it by its protocol, e.g. http or tls",
				"%q is plain TCP: that port of an ExternalName service takes all traffic of its number", p.Name)
		case p.Protocol == model.Unknown && s.ExternalName == "":
			d.Info(document.CodePortName, at, "begin it with the protocol, e.g. http or tcp-db, or write appProtocol",
				"%q says no protocol: it is found out by the first bytes", p.Name)
		}
	}
}

func servicePort(d *document.Document, at string, p *corev1.ServicePort, e model.Exposure) (model.ServicePort, bool) {
	out := model.ServicePort{Name: p.Name, Port: uint16(p.Port), NodePort: uint16(p.NodePort), Protocol: document.PortProtocol(p.Name)}
	out.App, out.Asked = document.AppOf(p.Name)
	switch p.Protocol {
	case "", corev1.ProtocolTCP:
	case corev1.ProtocolUDP:
		out.Protocol, out.App, out.Asked = model.UDP, "", false
	default:
		d.Unsupported(document.Join(at, "protocol"), "use TCP or UDP", "%s is not carried out by Weft", p.Protocol)
	}
	if p.AppProtocol != nil && out.Protocol != model.UDP {
		known, ok := document.Protocol(*p.AppProtocol)
		out.App, out.Asked = document.AppOf(*p.AppProtocol)
		if !ok {
			known = document.PortProtocol(*p.AppProtocol) // Aeraki's names
			hint := document.Suggest(*p.AppProtocol, []string{"http", "http2", "https", "grpc", "grpc-web", "tcp", "tls", "mongo", "mysql", "redis"})
			switch {
			case known.Messages() != "":
			case hint != "" || out.App == "":
				d.Warn(document.CodeValue, document.Join(at, "appProtocol"), hint, "%q is unknown to Weft: the port is carried as TCP", *p.AppProtocol)
				fallthrough
			default:
				known, out.Asked = model.TCP, hint == ""
			}
		}
		out.Protocol = known
	}
	switch {
	case p.TargetPort.Type == intstr.String && p.TargetPort.StrVal != "":
		out.TargetName = p.TargetPort.StrVal
		if !document.IsLabel(out.TargetName) {
			d.Invalid(document.Join(at, "targetPort"), "write a number or the name of a port", "%q is not a valid port name", out.TargetName)
		}
	case p.TargetPort.IntVal > math.MaxUint16:
		d.Invalid(document.Join(at, "targetPort"), "", "must be a port from 1 to 65535, got %d", p.TargetPort.IntVal)
	default:
		out.TargetPort = uint16(p.TargetPort.IntVal)
	}
	if out.NodePort != 0 && e == model.InMesh {
		d.Invalid(document.Join(at, "nodePort"), "add spec.type: NodePort", "a ClusterIP service has no node port")
	}
	return out, true
}

// trafficPolicy reads which instances clients prefer, or are bound to.
func trafficPolicy(d *document.Document, s *model.Service, spec *corev1.ServiceSpec) {
	if t := spec.TrafficDistribution; t != nil {
		if !slices.Contains(model.Distributions, *t) {
			d.Invalid("spec.trafficDistribution", document.Suggest(*t, model.Distributions), "must be one of %s, got %q", strings.Join(model.Distributions, ", "), *t)
		}
		s.Distribution = model.ParseDistribution(*t)
	} else {
		s.Distribution = d.Distribution()
	}
	if p := spec.InternalTrafficPolicy; p != nil {
		switch *p {
		case corev1.ServiceInternalTrafficPolicyCluster:
		case corev1.ServiceInternalTrafficPolicyLocal:
			s.NodeLocal = true
		default:
			d.Invalid("spec.internalTrafficPolicy", "", "must be Cluster or Local, got %q", *p)
		}
	}
	switch mode := d.Annotations[corev1.AnnotationTopologyMode]; strings.ToLower(mode) {
	case "", "auto":
	case "disabled":
		s.NoHints = true
	default:
		d.Warn(document.CodeAnnotation, document.Join("metadata.annotations", corev1.AnnotationTopologyMode), "write Auto or Disabled", "%q is no valid value", mode)
	}
}
