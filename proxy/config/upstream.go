package config

import (
	"errors"
	"fmt"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	preservev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/header_formatters/preserve_case/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
)

// httpOptionsKey is where a cluster has its HttpProtocolOptions.
const httpOptionsKey = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// upstreamHTTP reads the protocol: from HttpProtocolOptions, or from the
// deprecated fields of the cluster itself.
func upstreamHTTP(m *clusterv3.Cluster, s *cluster.Spec) error {
	if a := m.TypedExtensionProtocolOptions[redisOptionsKey]; a != nil {
		if err := redisLogin(a, s); err != nil {
			return at(err, "typed_extension_protocol_options[%q]", redisOptionsKey)
		}
	}
	for key, a := range m.TypedExtensionProtocolOptions {
		if key == redisOptionsKey {
			continue
		}
		if key != httpOptionsKey {
			return at(errors.New("not supported"), "typed_extension_protocol_options[%q]", key)
		}
		o := &httpv3.HttpProtocolOptions{}
		if err := unpack(a, o); err != nil {
			return at(err, "typed_extension_protocol_options[%q]", key)
		}
		if err := protocolOptions(o, s); err != nil {
			return at(err, "typed_extension_protocol_options[%q]", key)
		}
		return nil
	}
	//nolint:staticcheck // deprecated, but still what people write
	if err := commonHTTP(m.CommonHttpProtocolOptions, &s.HTTP); err != nil {
		return at(err, "common_http_protocol_options")
	}
	if m.MaxRequestsPerConnection != nil { //nolint:staticcheck // as above
		s.HTTP.MaxRequestsPerConnection = m.MaxRequestsPerConnection.Value //nolint:staticcheck // as above
	}
	if err := http1Upstream(m.HttpProtocolOptions, &s.HTTP); err != nil { //nolint:staticcheck // as above
		return at(err, "http_protocol_options")
	}
	if m.Http2ProtocolOptions != nil { //nolint:staticcheck // as above
		s.Protocol = cluster.HTTP2
		return at(http2Upstream(m.Http2ProtocolOptions, &s.HTTP), "http2_protocol_options") //nolint:staticcheck // as above
	}
	return nil
}

func protocolOptions(o *httpv3.HttpProtocolOptions, s *cluster.Spec) error {
	if err := commonHTTP(o.CommonHttpProtocolOptions, &s.HTTP); err != nil {
		return at(err, "common_http_protocol_options")
	}
	test, err := errorMatcher(o.OutlierDetection)
	if err != nil {
		return at(err, "outlier_detection")
	}
	s.HTTP.IsError = test
	if err := ownHash(o.HashPolicy, &s.LB); err != nil {
		return err
	}
	s.HTTP.AutoSNI = o.GetUpstreamHttpProtocolOptions().GetAutoSni()
	s.HTTP.AutoSAN = o.GetUpstreamHttpProtocolOptions().GetAutoSanValidation()
	switch p := o.UpstreamProtocolOptions.(type) {
	case *httpv3.HttpProtocolOptions_ExplicitHttpConfig_:
		switch c := p.ExplicitHttpConfig.ProtocolConfig.(type) {
		case *httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions:
			s.Protocol = cluster.HTTP1
			return at(http1Upstream(c.HttpProtocolOptions, &s.HTTP), "explicit_http_config.http_protocol_options")
		case *httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions:
			s.Protocol = cluster.HTTP2
			return at(http2Upstream(c.Http2ProtocolOptions, &s.HTTP), "explicit_http_config.http2_protocol_options")
		default:
			return at(fmt.Errorf("%T is not supported", c), "explicit_http_config")
		}
	case *httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig:
		s.Protocol = cluster.UseDownstream
		if err := http1Upstream(p.UseDownstreamProtocolConfig.HttpProtocolOptions, &s.HTTP); err != nil {
			return at(err, "use_downstream_protocol_config.http_protocol_options")
		}
		return at(http2Upstream(p.UseDownstreamProtocolConfig.Http2ProtocolOptions, &s.HTTP), "use_downstream_protocol_config.http2_protocol_options")
	case *httpv3.HttpProtocolOptions_AutoConfig:
		s.Protocol = cluster.AutoALPN
		if err := http1Upstream(p.AutoConfig.HttpProtocolOptions, &s.HTTP); err != nil {
			return at(err, "auto_config.http_protocol_options")
		}
		return at(http2Upstream(p.AutoConfig.Http2ProtocolOptions, &s.HTTP), "auto_config.http2_protocol_options")
	default:
		return errors.New("no upstream protocol is set")
	}
}

func commonHTTP(m *corev3.HttpProtocolOptions, h *cluster.HTTPOptions) error {
	if m == nil {
		return nil
	}
	h.IdleTimeout = durationPtr(m.IdleTimeout)
	h.MaxConnectionDuration = duration(m.MaxConnectionDuration)
	h.MaxStreamDuration = duration(m.MaxStreamDuration)
	h.MaxHeadersCount = m.MaxHeadersCount.GetValue()
	h.MaxRequestsPerConnection = m.MaxRequestsPerConnection.GetValue()
	if m.HeadersWithUnderscoresAction != corev3.HttpProtocolOptions_ALLOW {
		return at(errors.New("is for listeners only"), "headers_with_underscores_action")
	}
	return nil
}

func http1Upstream(m *corev3.Http1ProtocolOptions, h *cluster.HTTPOptions) error {
	switch {
	case m == nil:
		return nil
	case m.AcceptHttp_10:
		return at(errors.New("is for listeners only"), "accept_http_10")
	case m.DefaultHostForHttp_10 != "":
		return at(errors.New("is for listeners only"), "default_host_for_http_10")
	}
	h.Trailers = m.EnableTrailers
	var err error
	h.Spelling, err = spelling(m.HeaderKeyFormat)
	return at(err, "header_key_format")
}

// spelling reads how HTTP/1 names fields.
func spelling(m *corev3.Http1ProtocolOptions_HeaderKeyFormat) (filter.Spelling, error) {
	if m.GetProperCaseWords() != nil {
		return filter.Proper, nil
	}
	a := m.GetStatefulFormatter().GetTypedConfig()
	if m == nil {
		return filter.Lower, nil
	}
	kept := &preservev3.PreserveCaseFormatterConfig{}
	if !a.MessageIs(kept) {
		return filter.Lower, at(fmt.Errorf("%s is not supported", typeOf(a)), "stateful_formatter.typed_config")
	}
	if err := open(a, kept); err != nil {
		return filter.Lower, at(err, "stateful_formatter.typed_config")
	}
	if kept.FormatterTypeOnEnvoyHeaders == preservev3.PreserveCaseFormatterConfig_PROPER_CASE {
		return filter.AsWrittenOrProper, nil
	}
	return filter.AsWritten, nil
}

func http2Upstream(m *corev3.Http2ProtocolOptions, h *cluster.HTTPOptions) error {
	if m == nil {
		return nil
	}
	h.MaxConcurrentStreams = m.MaxConcurrentStreams.GetValue()
	h.InitialStreamWindow = m.InitialStreamWindowSize.GetValue()
	h.InitialConnectionWindow = m.InitialConnectionWindowSize.GetValue()
	if k := m.ConnectionKeepalive; k != nil {
		h.PingInterval, h.PingTimeout = duration(k.Interval), duration(k.Timeout)
		if h.PingTimeout < time.Millisecond {
			return at(fmt.Errorf("%v is too short", h.PingTimeout), "connection_keepalive.timeout")
		}
	}
	return nil
}
