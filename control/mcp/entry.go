package mcp

import (
	"cmp"
	"maps"
	"strings"

	"google.golang.org/protobuf/proto"
	networkingpb "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/control/model"
)

// resolutions by Istio's names.
var resolutions = map[model.Resolution]networkingpb.ServiceEntry_Resolution{
	model.ByWorkloads: networkingpb.ServiceEntry_STATIC, model.ByDNS: networkingpb.ServiceEntry_DNS, model.ByDNSRoundRobin: networkingpb.ServiceEntry_DNS_ROUND_ROBIN,
	model.Passthrough: networkingpb.ServiceEntry_NONE, model.ByRequest: networkingpb.ServiceEntry_DYNAMIC_DNS,
}

// serviceEntry writes services, one of each host, as the ServiceEntry that says the same.
func serviceEntry(of []model.Object) proto.Message {
	s := of[0].(*model.Service)
	out := &networkingpb.ServiceEntry{
		Location: networkingpb.ServiceEntry_MESH_INTERNAL, Resolution: resolutions[s.Resolution], SubjectAltNames: s.SubjectAltNames, ExportTo: exportTo(s.Exports),
	}
	if s.External {
		out.Location = networkingpb.ServiceEntry_MESH_EXTERNAL
	}
	for _, o := range of {
		out.Hosts = append(out.Hosts, o.(*model.Service).Host)
	}
	for _, p := range s.VIPs {
		if s.AutoVIP {
			break
		}
		if p.IsSingleIP() {
			out.Addresses = append(out.Addresses, p.Addr().String())
		} else {
			out.Addresses = append(out.Addresses, p.String())
		}
	}
	for _, p := range s.Elsewhere {
		out.Addresses = append(out.Addresses, p.String())
	}
	for i := range s.Ports {
		p := &s.Ports[i]
		out.Ports = append(out.Ports, &networkingpb.ServicePort{
			Number: uint32(p.Port), Name: portName(p), Protocol: protocol(p.Protocol), TargetPort: uint32(p.TargetPort),
		})
	}
	if s.Selector != nil {
		out.WorkloadSelector = &networkingpb.WorkloadSelector{Labels: s.Selector}
	}
	for i := range s.Inline {
		out.Endpoints = append(out.Endpoints, endpoint(s, &s.Inline[i]))
	}
	return out
}

// portName is what a port is called: Istio takes a protocol of messages for TCP, and Aeraki finds
// it in names that begin with "tcp-".
func portName(p *model.ServicePort) string {
	if p.Protocol.Messages() != "" && !strings.HasPrefix(p.Name, "tcp-") {
		return "tcp-" + p.Name
	}
	return p.Name
}

// protocol is a protocol by Istio's name; "" is found out.
func protocol(p model.Protocol) string {
	if p.Messages() != "" {
		return string(model.TCP)
	}
	return string(p)
}

func endpoint(s *model.Service, e *model.Endpoint) *networkingpb.WorkloadEntry {
	out := &networkingpb.WorkloadEntry{
		Address: e.Address, Labels: e.Labels, Network: e.Network, Locality: locality(e.Locality), Weight: e.Weight, ServiceAccount: e.ServiceAccount,
	}
	for i := range s.Ports {
		p := &s.Ports[i]
		if n := cmp.Or(e.Ports[p.Name], e.Port); n != 0 {
			if out.Ports == nil {
				out.Ports = map[string]uint32{}
			}
			out.Ports[portName(p)] = uint32(n)
		}
	}
	return out
}

// locality writes "region/zone/subzone" without empty ends.
func locality(l model.Locality) string {
	return strings.TrimRight(l.Region+"/"+l.Zone+"/"+l.SubZone, "/")
}

// exportTo is nil where the object says nothing itself.
func exportTo(v model.Visibility) []string {
	switch {
	case v.Default:
		return nil
	case v.Public:
		return []string{"*"}
	case len(v.Namespaces) == 0:
		return []string{"~"}
	}
	return v.Namespaces
}

// workloadEntry writes a workload as the WorkloadEntry that says the same.
func workloadEntry(of []model.Object) proto.Message {
	w := of[0].(*model.Workload)
	out := &networkingpb.WorkloadEntry{
		Address: w.Host, Labels: maps.Clone(w.Labels), Network: w.Network, Locality: locality(w.Locality), Weight: w.Weight, ServiceAccount: w.ServiceAccount,
	}
	if len(w.Addresses) > 0 {
		out.Address = w.Addresses[0].String()
	}
	for name, n := range w.Ports {
		if out.Ports == nil {
			out.Ports = map[string]uint32{}
		}
		out.Ports[name] = uint32(n)
	}
	return out
}
