package als

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/proxy/filter"
)

// connection makes an entry of a TCP connection.
func (l *Logger) connection(i *filter.Info) *datav3.TCPAccessLogEntry {
	return &datav3.TCPAccessLogEntry{
		CommonProperties:     l.common(i),
		ConnectionProperties: &datav3.ConnectionProperties{ReceivedBytes: i.Received, SentBytes: i.Sent},
	}
}

// request makes an entry of a request.
func (l *Logger) request(i *filter.Info) *datav3.HTTPAccessLogEntry {
	e := &datav3.HTTPAccessLogEntry{
		CommonProperties: l.common(i),
		Request:          &datav3.HTTPRequestProperties{RequestBodyBytes: i.Received},
		Response:         &datav3.HTTPResponseProperties{ResponseBodyBytes: i.Sent, ResponseCodeDetails: strings.Clone(i.Details)},
	}
	switch i.Protocol {
	case "HTTP/1.0":
		e.ProtocolVersion = datav3.HTTPAccessLogEntry_HTTP10
	case "HTTP/1.1":
		e.ProtocolVersion = datav3.HTTPAccessLogEntry_HTTP11
	case "HTTP/2":
		e.ProtocolVersion = datav3.HTTPAccessLogEntry_HTTP2
	}
	if h := i.Request; h != nil {
		r := e.Request
		r.RequestMethod = corev3.RequestMethod(corev3.RequestMethod_value[h.Method])
		r.Scheme, r.Authority, r.Path = strings.Clone(h.Scheme), strings.Clone(h.Authority), strings.Clone(h.Path)
		r.UserAgent, r.Referer = clone(h, "user-agent"), clone(h, "referer")
		r.ForwardedFor, r.RequestId, r.OriginalPath = clone(h, "x-forwarded-for"), clone(h, "x-request-id"), clone(h, "x-envoy-original-path")
		r.RequestHeadersBytes = headBytes(h)
		r.RequestHeaders = selected(h, l.RequestHeaders)
	}
	if i.Status != 0 {
		e.Response.ResponseCode = wrapperspb.UInt32(uint32(i.Status))
	}
	if h := i.Response; h != nil {
		e.Response.ResponseHeadersBytes = headBytes(h)
		e.Response.ResponseHeaders = selected(h, l.ResponseHeaders)
	}
	if i.Trailers != nil {
		e.Response.ResponseTrailers = selected(i.Trailers, l.Trailers)
	}
	return e
}

func clone(h *filter.Headers, name string) string { return strings.Clone(h.Get(name)) }

func headBytes(h *filter.Headers) uint64 {
	n := 0
	for _, name := range [...]string{":method", ":scheme", ":authority", ":path", ":status"} {
		if v, ok := h.Lookup(name); ok {
			n += len(name) + len(v)
		}
	}
	for i := range h.Len() {
		f := h.At(i)
		n += len(f.Name) + len(f.Value)
	}
	return uint64(n)
}

func selected(h *filter.Headers, names []string) map[string]string {
	var out map[string]string
	for _, n := range names {
		if v, ok := h.Joined(n); ok {
			if out == nil {
				out = map[string]string{}
			}
			out[n] = strings.Clone(v)
		}
	}
	return out
}

func (l *Logger) common(i *filter.Info) *datav3.AccessLogCommon {
	c := &datav3.AccessLogCommon{
		StartTime: timestamppb.New(i.Start), Duration: durationpb.New(i.Duration),
		TimeToLastRxByte: since(i.RequestEnd), TimeToFirstUpstreamTxByte: since(i.UpstreamStart), TimeToFirstUpstreamRxByte: since(i.UpstreamFirstByte),
		TimeToFirstDownstreamTxByte: since(i.ResponseStart), TimeToLastDownstreamTxByte: since(i.Duration),
		UpstreamRemoteAddress: address(i.Upstream.Host), UpstreamLocalAddress: address(i.Upstream.Local), UpstreamCluster: i.Upstream.Cluster,
		UpstreamTransportFailureReason: i.Upstream.Failure, UpstreamRequestAttemptCount: uint32(i.Attempts),
		RouteName: i.RouteName, ResponseFlags: flags(i.Flags), StreamId: strings.Clone(i.RequestID),
		DownstreamRemoteAddress: address(i.Remote), Metadata: metadata(i.Metadata), FilterStateObjects: l.objects(i),
		AccessLogType: datav3.AccessLogType(datav3.AccessLogType_value[i.Event.String()]),
	}
	c.IntermediateLogEntry = i.Event == filter.EventPeriodic || i.Event == filter.EventTCPPeriodic
	if conn := i.Conn; conn != nil {
		c.DownstreamLocalAddress, c.DownstreamDirectRemoteAddress = address(conn.Local), address(conn.Remote)
		if c.DownstreamRemoteAddress == nil {
			c.DownstreamRemoteAddress = c.DownstreamDirectRemoteAddress
		}
		c.ConnectionTerminationDetails = conn.Termination
		if conn.TLS != nil {
			c.TlsProperties = tlsProperties(conn)
		}
	}
	for n := range l.Tags {
		t := &l.Tags[n]
		if v, ok := t.Value(i); ok {
			if c.CustomTags == nil {
				c.CustomTags = map[string]string{}
			}
			c.CustomTags[t.Name] = v
		}
	}
	return c
}

// objects are those of filter state: peers as a Struct, strings as such.
func (l *Logger) objects(i *filter.Info) map[string]*anypb.Any {
	var out map[string]*anypb.Any
	for _, key := range l.Objects {
		var m proto.Message
		if p := i.PeerOf(key); p != nil {
			s, err := structpb.NewStruct(p.Attributes())
			if err != nil {
				continue // what a peer sent is no UTF-8
			}
			m = s
		} else if text, ok := i.FilterState[key].(string); ok {
			m = wrapperspb.String(text)
		} else {
			continue
		}
		if a, err := anypb.New(m); err == nil {
			if out == nil {
				out = map[string]*anypb.Any{}
			}
			out[key] = a
		}
	}
	return out
}

// since is nil for what has not happened.
func since(d time.Duration) *durationpb.Duration {
	if d <= 0 {
		return nil
	}
	return durationpb.New(d)
}

func address(a netip.AddrPort) *corev3.Address {
	if !a.IsValid() {
		return nil
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: a.Addr().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(a.Port())},
	}}}
}

// metadata shows what has a form in JSON.
func metadata(m map[string]any) *corev3.Metadata {
	if len(m) == 0 {
		return nil
	}
	out := &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{}}
	for name, v := range m {
		if object, ok := v.(map[string]any); ok {
			if s, err := structpb.NewStruct(object); err == nil {
				out.FilterMetadata[name] = s
			}
		}
	}
	return out
}

func tlsProperties(c *filter.ConnInfo) *datav3.TLSProperties {
	p := &datav3.TLSProperties{
		TlsSniHostname: c.SNI, TlsCipherSuite: wrapperspb.UInt32(uint32(c.TLS.CipherSuite)),
		LocalCertificateProperties: certificate(c.LocalURI, nil),
	}
	switch c.TLS.Version {
	case tls.VersionTLS12:
		p.TlsVersion = datav3.TLSProperties_TLSv1_2
	case tls.VersionTLS13:
		p.TlsVersion = datav3.TLSProperties_TLSv1_3
	}
	if len(c.TLS.PeerCertificates) > 0 {
		p.PeerCertificateProperties = certificate(c.PeerURI, c.TLS.PeerCertificates[0])
	}
	return p
}

func certificate(uri string, x *x509.Certificate) *datav3.TLSProperties_CertificateProperties {
	p := &datav3.TLSProperties_CertificateProperties{}
	if x != nil {
		p.Subject, p.Issuer = x.Subject.String(), x.Issuer.String()
	}
	if uri != "" {
		p.SubjectAltName = []*datav3.TLSProperties_CertificateProperties_SubjectAltName{{
			San: &datav3.TLSProperties_CertificateProperties_SubjectAltName_Uri{Uri: uri},
		}}
	}
	return p
}

func flags(f filter.ResponseFlags) *datav3.ResponseFlags {
	if f == 0 {
		return nil
	}
	has := func(one filter.ResponseFlags) bool { return f&one != 0 }
	out := &datav3.ResponseFlags{
		NoHealthyUpstream: has(filter.FlagNoHealthyUpstream), UpstreamConnectionFailure: has(filter.FlagUpstreamConnectionFailure),
		UpstreamOverflow: has(filter.FlagUpstreamOverflow), NoRouteFound: has(filter.FlagNoRoute),
		UpstreamRetryLimitExceeded: has(filter.FlagUpstreamRetryLimitExceeded), NoClusterFound: has(filter.FlagNoCluster),
		DurationTimeout: has(filter.FlagDurationTimeout), DownstreamConnectionTermination: has(filter.FlagDownstreamConnectionTermination),
		LocalReset: has(filter.FlagLocalReset), UpstreamRequestTimeout: has(filter.FlagUpstreamRequestTimeout),
		UpstreamRemoteReset: has(filter.FlagUpstreamRemoteReset), UpstreamConnectionTermination: has(filter.FlagUpstreamConnectionTermination),
		DelayInjected: has(filter.FlagDelayInjected), FaultInjected: has(filter.FlagFaultInjected), RateLimited: has(filter.FlagRateLimited),
		StreamIdleTimeout: has(filter.FlagStreamIdleTimeout), DownstreamProtocolError: has(filter.FlagDownstreamProtocolError),
		UpstreamProtocolError: has(filter.FlagUpstreamProtocolError), OverloadManager: has(filter.FlagOverload),
		NoFilterConfigFound: has(filter.FlagNoFilterConfig), FailedLocalHealthcheck: has(filter.FlagFailedLocalHealthCheck),
		UpstreamMaxStreamDurationReached: has(filter.FlagUpstreamMaxStreamDuration), DownstreamRemoteReset: has(filter.FlagDownstreamRemoteReset),
	}
	if has(filter.FlagUnauthorizedExternal) {
		out.UnauthorizedDetails = &datav3.ResponseFlags_Unauthorized{Reason: datav3.ResponseFlags_Unauthorized_EXTERNAL_SERVICE}
	}
	return out
}
