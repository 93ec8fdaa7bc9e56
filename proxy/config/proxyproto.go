package config

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	proxyprotov3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/listener"
)

// looks tells whether a listener filter looks at what a client says first.
func looks(in listener.Inspector) bool {
	return in.MayLook || in.Live == nil && (in.Kind == listener.TLSInspector || in.Kind == listener.HTTPInspector)
}

// proxyProtocol reads the configuration of the proxy_protocol listener filter.
func (d *Decoder) proxyProtocol(a *anypb.Any) (*listener.ProxyHeaders, error) {
	m := &proxyprotov3.ProxyProtocol{}
	if err := unpack(a, m); err != nil {
		return nil, err
	}
	for i, r := range m.Rules {
		if r.OnTlvPresent == nil {
			return nil, at(fmt.Errorf("is missing: want a key for TLV %d", r.TlvType), "rules[%d].on_tlv_present", i)
		}
	}
	return d.proxyHeaders(m), nil
}

// proxyHeaders makes it work.
func (d *Decoder) proxyHeaders(m *proxyprotov3.ProxyProtocol) *listener.ProxyHeaders {
	h := &listener.ProxyHeaders{AllowWithout: m.AllowRequestsWithoutProxyProtocol, InState: m.TlvLocation == proxyprotov3.ProxyProtocol_FILTER_STATE}
	for _, v := range m.DisallowedVersions {
		if v == corev3.ProxyProtocolConfig_V1 {
			h.Banned[0] = true
		} else {
			h.Banned[1] = true
		}
	}
	for _, r := range m.Rules {
		out := listener.TLVRule{
			Type: byte(r.TlvType), Namespace: r.OnTlvPresent.MetadataNamespace, Key: r.OnTlvPresent.Key,
			Base64: r.OnTlvPresent.ValueStringEncoding == proxyprotov3.ProxyProtocol_KeyValuePair_BASE64,
		}
		if out.Namespace == "" {
			out.Namespace = "envoy.filters.listener.proxy_protocol"
		}
		h.Rules = append(h.Rules, out)
	}
	prefix := ""
	if m.StatPrefix != "" {
		prefix = m.StatPrefix + "."
	}
	counter := func(stat string) *filter.Counter { return d.FilterStats.Counter("proxy_proto", "", prefix+stat) }
	s := &h.Stats
	s.NotFoundAllowed, s.NotFoundDisallowed = counter("not_found_allowed"), counter("not_found_disallowed")
	for i, v := range [...]string{"versions.v1.", "versions.v2."} {
		s.Found[i], s.Disallowed[i], s.Errors[i] = counter(v+"found"), counter(v+"disallowed"), counter(v+"error")
	}
	s.Refused = d.FilterStats.Counter("", "", "downstream_cx_proxy_proto_error")
	return h
}
