package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/match"
)

// decodeEndpoints reads a load assignment; names says that addresses may be
// host names.
func decodeEndpoints(m *endpointv3.ClusterLoadAssignment, names bool) (*cluster.Endpoints, error) {
	out := &cluster.Endpoints{Localities: make([]cluster.Locality, 0, len(m.GetEndpoints()))}
	if p := m.GetPolicy(); p != nil {
		out.Overprovisioning = p.OverprovisioningFactor.GetValue()
		out.WeightedPriorityHealth = p.WeightedPriorityHealth
		out.StaleAfter = duration(p.EndpointStaleAfter)
		for i, d := range p.DropOverloads {
			if i == 0 {
				out.DropCategory = d.Category
			}
			f := match.Fraction(d.DropPercentage)
			share := float64(f.Numerator) * 100 / float64(f.Denominator)
			// Categories are drawn one after the other.
			out.DropPercent += (100 - out.DropPercent) * min(share, 100) / 100
		}
	}
	for i, l := range m.GetEndpoints() {
		loc := cluster.Locality{
			Region: l.Locality.GetRegion(), Zone: l.Locality.GetZone(), SubZone: l.Locality.GetSubZone(),
			Priority: l.Priority, Weight: l.LoadBalancingWeight.GetValue(),
			Endpoints: make([]cluster.Endpoint, len(l.LbEndpoints)),
		}
		for j, e := range l.LbEndpoints {
			if err := decodeEndpoint(e, &loc.Endpoints[j], names); err != nil {
				return nil, at(err, "endpoints[%d].lb_endpoints[%d]", i, j)
			}
		}
		out.Localities = append(out.Localities, loc)
	}
	return out, nil
}

func decodeEndpoint(m *endpointv3.LbEndpoint, e *cluster.Endpoint, names bool) error {
	*e = cluster.Endpoint{
		Hostname: m.GetEndpoint().GetHostname(), Weight: m.LoadBalancingWeight.GetValue(),
		Workload: workloadRef(m.Metadata),
		HashKey:  m.Metadata.GetFilterMetadata()[subsetMetadata].GetFields()["hash_key"].GetStringValue(),
	}
	var err error
	if e.Labels, e.Lists, err = labelsAndLists(m.Metadata, subsetMetadata); err != nil {
		return err
	}
	if e.TransportLabels, err = labels(m.Metadata, transportMatchMetadata); err != nil {
		return err
	}
	if e.TLVs, err = endpointTLVs(m.Metadata); err != nil {
		return err
	}
	switch m.HealthStatus {
	case corev3.HealthStatus_HEALTHY:
		e.Health = cluster.Healthy
	case corev3.HealthStatus_UNHEALTHY:
		e.Health = cluster.Unhealthy
	case corev3.HealthStatus_DRAINING:
		e.Health = cluster.Draining
	case corev3.HealthStatus_TIMEOUT:
		e.Health = cluster.Timeout
	case corev3.HealthStatus_DEGRADED:
		e.Health = cluster.Degraded
	}
	switch a := m.GetEndpoint().GetAddress().GetAddress().(type) {
	case *corev3.Address_Pipe:
		e.Path = a.Pipe.Path
	case *corev3.Address_SocketAddress:
		if err := socketEndpoint(a.SocketAddress, e, names); err != nil {
			return at(err, "endpoint.address.socket_address")
		}
	case *corev3.Address_EnvoyInternalAddress:
		e.Internal, e.InternalID = a.EnvoyInternalAddress.GetServerListenerName(), a.EnvoyInternalAddress.EndpointId
		e.Metadata = plain(m.Metadata)
		if e.Internal == "" {
			return at(errors.New("is empty"), "endpoint.address.envoy_internal_address.server_listener_name")
		}
	default:
		return at(errors.New("want socket_address, pipe or envoy_internal_address"), "endpoint.address")
	}
	if err := healthEndpoint(m.GetEndpoint().GetHealthCheckConfig(), e); err != nil {
		return at(err, "endpoint.health_check_config")
	}
	for i, more := range m.GetEndpoint().GetAdditionalAddresses() {
		ap, err := addrPort(more.GetAddress())
		if err != nil {
			return at(err, "endpoint.additional_addresses[%d].address", i)
		}
		e.More = append(e.More, ap)
	}
	return nil
}

// tlvMetadata is the section of typed metadata with an endpoint's own TLVs.
const tlvMetadata = "envoy.transport_sockets.proxy_protocol"

// endpointTLVs reads the TLVs that an endpoint adds to PROXY headers; nil: none.
func endpointTLVs(m *corev3.Metadata) (out []cluster.AddedTLV, err error) {
	a := m.GetTypedFilterMetadata()[tlvMetadata]
	if a == nil {
		return nil, nil
	}
	own := &corev3.PerHostConfig{}
	if err := openExtension(a, own); err != nil {
		return nil, at(err, "metadata.typed_filter_metadata[%q]", tlvMetadata)
	}
	for i, t := range own.AddedTlvs {
		if t.Type > 255 {
			return nil, at(fmt.Errorf("%d is more than 255", t.Type), "metadata.typed_filter_metadata[%q].added_tlvs[%d].type", tlvMetadata, i)
		}
		out = append(out, cluster.AddedTLV{Type: byte(t.Type), Value: t.Value}) // a format_string is not looked at, as in Envoy
	}
	return out, nil
}

// labelsAndLists reads metadata's section of that name; lists of strings are apart.
func labelsAndLists(m *corev3.Metadata, section string) (one map[string]string, many map[string][]string, err error) {
	s := m.GetFilterMetadata()[section]
	var rest structpb.Struct
	for k, v := range s.GetFields() {
		if v.GetListValue() == nil {
			if rest.Fields == nil {
				rest.Fields = map[string]*structpb.Value{}
			}
			rest.Fields[k] = v
			continue
		}
		if many == nil {
			many = map[string][]string{}
		}
		for _, item := range v.GetListValue().GetValues() {
			if _, ok := item.GetKind().(*structpb.Value_StringValue); !ok {
				return nil, nil, at(errors.New("want strings"), "metadata.filter_metadata[%q][%q]", section, k)
			}
			many[k] = append(many[k], item.GetStringValue())
		}
	}
	one, err = labels(&corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{section: &rest}}, section)
	return one, many, err
}

func healthEndpoint(m *endpointv3.Endpoint_HealthCheckConfig, e *cluster.Endpoint) error {
	if m == nil {
		return nil
	}
	if m.PortValue > 65535 {
		return at(fmt.Errorf("%d is not a port", m.PortValue), "port_value")
	}
	e.HealthPort, e.HealthName, e.NoCheck = uint16(m.PortValue), m.Hostname, m.DisableActiveHealthCheck
	if m.Address == nil {
		return nil
	}
	a, err := addrPort(m.Address)
	if err == nil && m.PortValue > 0 {
		a = netip.AddrPortFrom(a.Addr(), e.HealthPort)
	}
	e.HealthAddr = a
	return at(err, "address")
}

func socketEndpoint(m *corev3.SocketAddress, e *cluster.Endpoint, names bool) error {
	port, err := portOf(m)
	if err != nil {
		return err
	}
	if ip, err := netip.ParseAddr(m.Address); err == nil {
		e.Addr = netip.AddrPortFrom(ip, port)
		return nil
	}
	if !names {
		return at(fmt.Errorf("%q is not an IP address; host names need a DNS cluster", m.Address), "address")
	}
	e.Name, e.Port = m.Address, port
	return nil
}

func portOf(m *corev3.SocketAddress) (uint16, error) {
	if p := m.GetPortValue(); p <= 65535 {
		return uint16(p), nil
	}
	return 0, at(fmt.Errorf("%d is not a port", m.GetPortValue()), "port_value")
}

// addrPort reads an address of TCP that is an IP address with a port.
func addrPort(m *corev3.Address) (netip.AddrPort, error) {
	if m.GetSocketAddress().GetProtocol() != corev3.SocketAddress_TCP {
		return netip.AddrPort{}, at(errors.New("only TCP is supported here"), "socket_address.protocol")
	}
	return anyAddrPort(m)
}

// anyAddrPort reads an address of TCP or UDP.
func anyAddrPort(m *corev3.Address) (netip.AddrPort, error) {
	s := m.GetSocketAddress()
	if s == nil {
		return netip.AddrPort{}, errors.New("want socket_address")
	}
	ip, err := netip.ParseAddr(s.Address)
	if err != nil {
		return netip.AddrPort{}, at(err, "socket_address.address")
	}
	port, err := portOf(s)
	return netip.AddrPortFrom(ip, port), at(err, "socket_address")
}

// workloadRef reads Istio's metadata of an endpoint: istio → workload is
// "name;namespace;canonical name;canonical revision;cluster".
func workloadRef(m *corev3.Metadata) filter.WorkloadRef {
	s := m.GetFilterMetadata()["istio"].GetFields()["workload"].GetStringValue()
	if s == "" {
		return filter.WorkloadRef{}
	}
	p := strings.Split(s, ";")
	for len(p) < 5 {
		p = append(p, "")
	}
	// Istio's metrics take app and version from the canonical labels when the
	// peer did not tell more.
	return filter.WorkloadRef{
		Name: p[0], Namespace: p[1], Service: p[2], Revision: p[3], Cluster: p[4], App: p[2], Version: p[3],
	}
}
