package config

import (
	"errors"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	innerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/internal_upstream/v3"
	proxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter/format"
)

// Transport sockets that stand around another one.

// upstreamSocket reads a transport socket: TLS, nil for plain text, and what goes
// along to internal listeners, nil: nothing.
func (d *Decoder) upstreamSocket(m *corev3.TransportSocket, c *clusterConfig) (cluster.TLS, *cluster.InnerTransport, error) {
	p := &innerv3.InternalUpstreamTransport{}
	a := m.GetTypedConfig()
	if a == nil || !a.MessageIs(p) {
		t, err := d.clientTLS(m, c)
		return t, nil, err
	}
	if err := unpack(a, p); err != nil {
		return nil, nil, at(err, "typed_config")
	}
	in := &cluster.InnerTransport{}
	for i, s := range p.PassthroughMetadata {
		out := cluster.PassedMetadata{Name: s.Name, FromCluster: s.Kind.GetCluster() != nil}
		if !out.FromCluster && s.Kind.GetHost() == nil {
			return nil, nil, at(errors.New("want host or cluster"), "typed_config.passthrough_metadata[%d].kind", i)
		}
		in.Passed = append(in.Passed, out)
	}
	t, err := d.clientTLS(p.TransportSocket, c)
	return t, in, at(err, "typed_config.transport_socket")
}

// proxySocket reads the transport socket that sends a PROXY header, and returns
// the one inside it.
func (d *Decoder) proxySocket(m *corev3.TransportSocket, s *cluster.Spec) (*corev3.TransportSocket, error) {
	p := &proxyv3.ProxyProtocolUpstreamTransport{}
	if a := m.GetTypedConfig(); a == nil || !a.MessageIs(p) {
		return m, nil
	}
	if err := unpack(m.GetTypedConfig(), p); err != nil {
		return nil, err
	}
	s.ProxyProtocol = proxyVersion(p.Config)
	if s.ProxyProtocol == 1 {
		return p.TransportSocket, nil // which has no room for TLVs
	}
	s.TLVs = &cluster.ProxyTLVs{}
	if t := p.Config.GetPassThroughTlvs(); t != nil {
		s.TLVs.PassAll = t.MatchType == corev3.ProxyProtocolPassThroughTLVs_INCLUDE_ALL
		for _, kind := range t.TlvType {
			s.TLVs.Pass = append(s.TLVs.Pass, byte(kind))
		}
	}
	for i, t := range p.Config.GetAddedTlvs() {
		a, err := d.addedTLV(t)
		if err != nil {
			return nil, at(err, "config.added_tlvs[%d]", i)
		}
		s.TLVs.Added = append(s.TLVs.Added, a)
	}
	return p.TransportSocket, nil
}

// matchedProxySocket is proxySocket for a socket that is chosen by metadata: the
// header is one for all hosts of the cluster, which the first socket decides.
func (d *Decoder) matchedProxySocket(m *corev3.TransportSocket, s *cluster.Spec, first bool) (*corev3.TransportSocket, error) {
	var own cluster.Spec
	inner, err := d.proxySocket(m, &own)
	if err != nil {
		return nil, err
	}
	if t := own.TLVs; t != nil && (t.PassAll || len(t.Pass)+len(t.Added) > 0) {
		return nil, errors.New("config: TLVs are supported in transport_socket only")
	}
	if first {
		s.ProxyProtocol, s.TLVs = own.ProxyProtocol, own.TLVs
	}
	if own.ProxyProtocol != s.ProxyProtocol {
		return nil, errors.New("hosts with different PROXY headers, or with and without, are not supported in one cluster")
	}
	return inner, nil
}

func (d *Decoder) addedTLV(m *corev3.TlvEntry) (cluster.AddedTLV, error) {
	a := cluster.AddedTLV{Type: byte(m.Type), Value: m.Value}
	if m.Type > 255 {
		return a, at(fmt.Errorf("%d is more than 255", m.Type), "type")
	}
	if m.FormatString == nil {
		return a, nil
	}
	if len(m.Value) > 0 {
		return a, at(errors.New("excludes value"), "format_string")
	}
	f, err := substitution(m.FormatString)
	if err != nil {
		return a, at(err, "format_string")
	}
	if f.json != nil {
		return a, at(errors.New("want text"), "format_string.json_format")
	}
	o := d.formatOptions()
	if f.omitEmpty {
		o.Missing = ""
	}
	a.Format, err = format.Compile(f.text, o)
	return a, at(err, "format_string")
}

func proxyVersion(m *corev3.ProxyProtocolConfig) int {
	if m.GetVersion() == corev3.ProxyProtocolConfig_V2 {
		return 2
	}
	return 1
}
