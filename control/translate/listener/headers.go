package listener

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/weftmesh/weft/control/translate/pb"
)

// headers does as the settings of the proxy say of the headers that proxies add, and of
// what stands before a gateway.
func (b *Builder) headers(m *hcmv3.HttpConnectionManager, s stage) {
	if t := b.v.Requests.Topology; t != nil && s == gateway {
		m.XffNumTrustedHops = t.TrustedProxies
		forwardCert(m, t.ForwardCert)
	}
	h := b.v.Requests.Headers
	if h == nil {
		return
	}
	if s == inbound {
		forwardCert(m, h.ForwardCert)
		if c := h.Cert; c != nil && m.SetCurrentClientCertDetails != nil {
			m.SetCurrentClientCertDetails = &hcmv3.HttpConnectionManager_SetCurrentClientCertDetails{Cert: c.Cert, Chain: c.Chain, Dns: c.DNS, Uri: c.URI}
			if c.Subject {
				m.SetCurrentClientCertDetails.Subject = pb.True()
			}
		}
	}
	switch {
	case h.KeepServer:
		m.ServerName, m.ServerHeaderTransformation = "", hcmv3.HttpConnectionManager_PASS_THROUGH
	case h.Server != "":
		m.ServerName = h.Server
	}
	if h.NoRequestID {
		m.GenerateRequestId = pb.False()
	}
	m.AppendXForwardedPort = h.ForwardedPort
	if h.KeepCase {
		if m.HttpProtocolOptions == nil {
			m.HttpProtocolOptions = &corev3.Http1ProtocolOptions{}
		}
		m.HttpProtocolOptions.HeaderKeyFormat = pb.AsWritten()
	}
}

// forwardCert sets what becomes of x-forwarded-client-cert; empty: what is set.
func forwardCert(m *hcmv3.HttpConnectionManager, word string) {
	if word == "" {
		return
	}
	m.ForwardClientCertDetails = hcmv3.HttpConnectionManager_ForwardClientCertDetails(hcmv3.HttpConnectionManager_ForwardClientCertDetails_value[word])
	switch m.ForwardClientCertDetails {
	case hcmv3.HttpConnectionManager_APPEND_FORWARD, hcmv3.HttpConnectionManager_SANITIZE_SET:
	default:
		m.SetCurrentClientCertDetails = nil // which goes with those two only
	}
}

// announced puts what reads a PROXY header before all that looks at first bytes, where
// the settings say that connections to the gateway begin with one.
func (b *Builder) announced(l *listenerv3.Listener) {
	if t := b.v.Requests.Topology; t != nil && t.ProxyProtocol {
		l.ListenerFilters = append([]*listenerv3.ListenerFilter{
			listenerFilter("envoy.filters.listener.proxy_protocol", &proxyprotocolv3.ProxyProtocol{}),
		}, l.ListenerFilters...)
	}
}
