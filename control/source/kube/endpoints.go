package kube

import (
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// controller is who writes the slices of what selectors pick.
const controller = "endpointslice-controller.k8s.io"

// regionLabel is what v1beta1 wrote of an endpoint's region, which v1 keeps.
const regionLabel = corev1.LabelTopologyRegion

func convertEndpointSlice(d *document.Document) []model.Object {
	endpoints, ok := into[[]discoveryv1.Endpoint](d, "endpoints", d.Body["endpoints"])
	if !ok {
		return nil
	}
	ports, ok := into[[]discoveryv1.EndpointPort](d, "ports", d.Body["ports"])
	if !ok {
		return nil
	}
	out := &model.EndpointSlice{Meta: d.Meta, Service: d.Labels[discoveryv1.LabelServiceName]}
	if out.Service == "" {
		d.Warn(document.CodeMissing, document.Join("metadata.labels", discoveryv1.LabelServiceName), "name the Service that the endpoints are of", "is missing: the slice has no effect")
		return []model.Object{out}
	}
	family := func(netip.Addr) bool { return true }
	switch kind, _ := d.Body["addressType"].(string); discoveryv1.AddressType(kind) {
	case discoveryv1.AddressTypeIPv4:
		family = func(a netip.Addr) bool { return a.Is4() }
	case discoveryv1.AddressTypeIPv6:
		family = func(a netip.Addr) bool { return a.Is6() && !a.Is4In6() }
	case discoveryv1.AddressTypeFQDN:
		d.Warn(document.CodeIgnored, "addressType", "write a ServiceEntry with resolution: DNS", "endpoints that are names have no effect, as in Istio")
		return []model.Object{out}
	default:
		d.Invalid("addressType", "write IPv4 or IPv6", "%q is no type of addresses", kind)
	}
	numbers := slicePorts(d, ports)
	out.Ports = slices.Sorted(maps.Keys(numbers))
	controlled := d.Labels[discoveryv1.LabelManagedBy] == controller
	for i := range endpoints {
		e, at := &endpoints[i], document.At("endpoints", i)
		if len(e.Addresses) == 0 {
			d.Error(document.CodeMissing, at+".addresses", "write an address", "is missing")
		}
		for j, text := range e.Addresses {
			field := document.At(at+".addresses", j)
			a := d.Addr(field, text)
			if a.IsValid() && !family(a) {
				d.Invalid(field, "put it into a slice of its own family", "%s is not of the slice's addressType", a)
			}
			if a.IsValid() {
				out.Endpoints = append(out.Endpoints, sliced(e, a, numbers, controlled))
			}
		}
	}
	return []model.Object{out}
}

// slicePorts are a slice's ports by the names of the Service's; 0: as the Service says.
func slicePorts(d *document.Document, ports []discoveryv1.EndpointPort) map[string]uint16 {
	out := map[string]uint16{}
	for i, p := range ports {
		name, at := "", document.At("ports", i)
		if p.Name != nil {
			name = *p.Name
		}
		if _, twice := out[name]; twice {
			d.Invalid(at+".name", "give each port a name of its own", "%q is there twice", name)
		}
		out[name] = 0
		if p.Port == nil {
			continue
		}
		if *p.Port < 1 || *p.Port > 65535 {
			d.Invalid(at+".port", "", "must be a port from 1 to 65535, got %d", *p.Port)
			continue
		}
		out[name] = uint16(*p.Port)
	}
	return out
}

// sliced is one address of an endpoint.
func sliced(e *discoveryv1.Endpoint, a netip.Addr, ports map[string]uint16, controlled bool) model.Endpoint {
	said := func(b *bool, unsaid bool) bool {
		if b == nil {
			return unsaid
		}
		return *b
	}
	ready := said(e.Conditions.Ready, true)
	s := &model.Sliced{
		Serving: said(e.Conditions.Serving, ready), Terminating: said(e.Conditions.Terminating, false), Controlled: controlled,
	}
	out := model.Endpoint{Address: a.Unmap().String(), Ports: ports, Weight: 1, Healthy: ready, Slice: s}
	if e.Hostname != nil {
		s.Hostname = *e.Hostname
	}
	if e.NodeName != nil {
		s.Node = *e.NodeName
	}
	if e.Zone != nil {
		out.Locality = model.Locality{Region: e.DeprecatedTopology[regionLabel], Zone: *e.Zone}
	}
	if e.Hints != nil {
		for _, z := range e.Hints.ForZones {
			s.Zones = append(s.Zones, z.Name)
		}
	}
	return out
}

// convertEndpoints reads the older form, which has the Service's name.
func convertEndpoints(d *document.Document) []model.Object {
	//nolint:staticcheck // deprecated, and still what people have
	subsets, ok := into[[]corev1.EndpointSubset](d, "subsets", d.Body["subsets"])
	if !ok {
		return nil
	}
	out := &model.EndpointSlice{Meta: d.Meta, Service: d.Key.Name, Mirrored: true}
	if d.Labels[discoveryv1.LabelSkipMirror] == "true" {
		d.Info(document.CodeIgnored, document.Join("metadata.labels", discoveryv1.LabelSkipMirror), "", "the endpoints are not the Service's")
		return []model.Object{out}
	}
	all := map[string]uint16{}
	for i := range subsets {
		at := document.At("subsets", i)
		numbers := map[string]uint16{}
		for j, p := range subsets[i].Ports {
			if p.Port < 1 || p.Port > 65535 {
				d.Invalid(document.At(at+".ports", j)+".port", "", "must be a port from 1 to 65535, got %d", p.Port)
				continue
			}
			numbers[p.Name] = uint16(p.Port)
		}
		maps.Copy(all, numbers)
		take := func(field string, list []corev1.EndpointAddress, ready bool) {
			for j, from := range list {
				a := d.Addr(document.At(at+"."+field, j)+".ip", from.IP)
				if !a.IsValid() {
					continue
				}
				s := &model.Sliced{Serving: ready, Hostname: from.Hostname}
				if from.NodeName != nil {
					s.Node = *from.NodeName
				}
				out.Endpoints = append(out.Endpoints, model.Endpoint{Address: a.Unmap().String(), Ports: numbers, Weight: 1, Healthy: ready, Slice: s})
			}
		}
		take("addresses", subsets[i].Addresses, true)
		take("notReadyAddresses", subsets[i].NotReadyAddresses, false)
	}
	out.Ports = slices.Sorted(maps.Keys(all))
	return []model.Object{out}
}
