package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	alspb "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/telemetry"
	"github.com/weftmesh/weft/wire"
)

// alsServer counts what Envoy logs.
type alsServer struct {
	alspb.UnimplementedAccessLogServiceServer
	agent *agent
}

// accessLogs serves Envoy's access-log stream until ctx ends.
func (a *agent) accessLogs(ctx context.Context, l net.Listener) error {
	srv := grpc.NewServer()
	alspb.RegisterAccessLogServiceServer(srv, &alsServer{agent: a})
	stop := context.AfterFunc(ctx, srv.Stop)
	defer stop()
	if err := srv.Serve(l); err != nil && ctx.Err() == nil {
		return fmt.Errorf("access logs: %w", err)
	}
	return nil
}

// StreamAccessLogs takes one stream; the log's name is that of the side that
// reports, "inbound" or "outbound", and how it counts (wire.LogName).
func (s *alsServer) StreamAccessLogs(stream alspb.AccessLogService_StreamAccessLogsServer) error {
	outbound := true
	var recipe telemetry.Recipe
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&alspb.StreamAccessLogsResponse{})
		}
		if err != nil {
			return err
		}
		if id := m.GetIdentifier(); id != nil {
			direction, settings := wire.SplitLogName(id.GetLogName())
			outbound = direction != wire.Inbound
			if recipe, err = s.agent.metrics.Recipe(settings); err != nil {
				// Better counted in the standard way than not at all.
				s.agent.Log.Error("metrics' settings: the standard ones are used", "error", err)
			}
		}
		for _, e := range m.GetHttpLogs().GetLogEntry() {
			i := s.agent.request(e, outbound)
			s.agent.metrics.RequestBy(recipe, i, outbound)
			s.agent.metrics.AddedBy(i)
		}
		for _, e := range m.GetTcpLogs().GetLogEntry() {
			c := s.agent.connection(e.GetCommonProperties(), outbound)
			recipe.Mark(c)
			c.Received = e.GetConnectionProperties().GetReceivedBytes()
			c.Sent = e.GetConnectionProperties().GetSentBytes()
			s.agent.metrics.ConnOpened(c)
			s.agent.metrics.ConnClosed(c)
		}
	}
}

// request makes of a log entry what the Go engine knows of a request.
func (a *agent) request(e *datav3.HTTPAccessLogEntry, outbound bool) *filter.Info {
	p, req, resp := e.GetCommonProperties(), e.GetRequest(), e.GetResponse()
	c := a.connection(p, outbound)
	i := &filter.Info{
		Conn: c, Start: c.Start, Flags: c.Flags, Upstream: c.Upstream,
		Status:   int(resp.GetResponseCode().GetValue()),
		Received: req.GetRequestBodyBytes(), Sent: resp.GetResponseBodyBytes(),
		RequestEnd:        duration(p.GetTimeToLastRxByte()),
		UpstreamStart:     duration(p.GetTimeToFirstUpstreamTxByte()),
		UpstreamFirstByte: duration(p.GetTimeToFirstUpstreamRxByte()),
		ResponseStart:     duration(p.GetTimeToFirstDownstreamTxByte()),
		Duration:          duration(p.GetTimeToLastDownstreamTxByte()),
		Attempts:          int(p.GetUpstreamRequestAttemptCount()),
	}
	if i.Duration == 0 {
		i.Duration = duration(p.GetDuration())
	}
	i.RequestID, i.Details, i.RouteName = req.GetRequestId(), resp.GetResponseCodeDetails(), p.GetRouteName()
	i.Protocol = protocol(e.GetProtocolVersion())
	i.Request, i.Response = head(req), &filter.Headers{}
	i.GRPC = strings.HasPrefix(req.GetRequestHeaders()["content-type"], "application/grpc")
	for name, v := range resp.GetResponseHeaders() {
		if name != "grpc-status" || !i.GRPC {
			i.Response.Add(name, v)
		}
	}
	if i.GRPC {
		for _, h := range []map[string]string{resp.GetResponseTrailers(), resp.GetResponseHeaders()} {
			if v, ok := h["grpc-status"]; ok && !i.Response.Has("grpc-status") {
				i.Response.Add("grpc-status", v)
			}
		}
	}
	if !outbound {
		i.Upstream.Service = a.serviceOf(req.GetAuthority())
	}
	return i
}

// head is what a log tells of a request's head.
func head(r *datav3.HTTPRequestProperties) *filter.Headers {
	h := &filter.Headers{Scheme: r.GetScheme(), Authority: r.GetAuthority(), Path: r.GetPath()}
	if m := r.GetRequestMethod(); m != corev3.RequestMethod_METHOD_UNSPECIFIED {
		h.Method = m.String()
	}
	for _, f := range [][2]string{
		{"user-agent", r.GetUserAgent()}, {"referer", r.GetReferer()}, {"x-forwarded-for", r.GetForwardedFor()},
		{"x-request-id", r.GetRequestId()}, {"x-envoy-original-path", r.GetOriginalPath()},
	} {
		if f[1] != "" {
			h.Add(f[0], f[1])
		}
	}
	for name, v := range r.GetRequestHeaders() {
		if !h.Has(name) {
			h.Add(name, v)
		}
	}
	return h
}

// protocol is the name that the format language has for a version of HTTP.
func protocol(v datav3.HTTPAccessLogEntry_HTTPVersion) string {
	switch v {
	case datav3.HTTPAccessLogEntry_HTTP10:
		return "HTTP/1.0"
	case datav3.HTTPAccessLogEntry_HTTP11:
		return "HTTP/1.1"
	case datav3.HTTPAccessLogEntry_HTTP2:
		return "HTTP/2"
	}
	return ""
}

func (a *agent) connection(p *datav3.AccessLogCommon, outbound bool) *filter.ConnInfo {
	c := &filter.ConnInfo{
		Start: p.GetStartTime().AsTime(), Duration: duration(p.GetDuration()), Outbound: outbound,
		Local: addrPort(p.GetDownstreamLocalAddress()), Remote: addrPort(p.GetDownstreamDirectRemoteAddress()),
		Flags:    flags(p.GetResponseFlags()),
		PeerURI:  uri(p.GetTlsProperties().GetPeerCertificateProperties()),
		LocalURI: uri(p.GetTlsProperties().GetLocalCertificateProperties()),
	}
	c.Upstream.Cluster = p.GetUpstreamCluster()
	c.Upstream.Host = addrPort(p.GetUpstreamRemoteAddress())
	if _, _, _, host, ok := wire.SplitClusterName(c.Upstream.Cluster); ok && host != "" {
		c.Upstream.Service = a.service(host)
	}
	return c
}

// service names a host as the labels of metrics do.
func (a *agent) service(host string) filter.ServiceRef {
	parts := strings.SplitN(host, ".", 4)
	if len(parts) == 4 && parts[2] == "svc" {
		return filter.ServiceRef{Host: host, Name: parts[0], Namespace: parts[1]}
	}
	return filter.ServiceRef{Host: host, Name: host, Namespace: a.Node.Namespace}
}

// serviceOf finds the service that a client called by the authority it sent.
func (a *agent) serviceOf(authority string) filter.ServiceRef {
	host := authority
	if h, _, err := net.SplitHostPort(authority); err == nil {
		host = h
	}
	if full, ok := a.resolver.Complete(strings.ToLower(host)); ok {
		return a.service(full)
	}
	return filter.ServiceRef{}
}

func duration(d *durationpb.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return d.AsDuration()
}

func addrPort(a *corev3.Address) netip.AddrPort {
	s := a.GetSocketAddress()
	ip, err := netip.ParseAddr(s.GetAddress())
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ip, uint16(s.GetPortValue()))
}

func uri(p *datav3.TLSProperties_CertificateProperties) string {
	for _, n := range p.GetSubjectAltName() {
		if u := n.GetUri(); u != "" {
			return u
		}
	}
	return ""
}

// flags turns Envoy's message into the data plane's bits.
func flags(f *datav3.ResponseFlags) (out filter.ResponseFlags) {
	for _, x := range []struct {
		set bool
		bit filter.ResponseFlags
	}{
		{f.GetNoHealthyUpstream(), filter.FlagNoHealthyUpstream},
		{f.GetUpstreamConnectionFailure(), filter.FlagUpstreamConnectionFailure},
		{f.GetUpstreamOverflow(), filter.FlagUpstreamOverflow},
		{f.GetNoRouteFound(), filter.FlagNoRoute},
		{f.GetUpstreamRetryLimitExceeded(), filter.FlagUpstreamRetryLimitExceeded},
		{f.GetNoClusterFound(), filter.FlagNoCluster},
		{f.GetDurationTimeout(), filter.FlagDurationTimeout},
		{f.GetDownstreamConnectionTermination(), filter.FlagDownstreamConnectionTermination},
		{f.GetLocalReset(), filter.FlagLocalReset},
		{f.GetUpstreamRequestTimeout(), filter.FlagUpstreamRequestTimeout},
		{f.GetUpstreamRemoteReset(), filter.FlagUpstreamRemoteReset},
		{f.GetUpstreamConnectionTermination(), filter.FlagUpstreamConnectionTermination},
		{f.GetDelayInjected(), filter.FlagDelayInjected},
		{f.GetFaultInjected(), filter.FlagFaultInjected},
		{f.GetRateLimited(), filter.FlagRateLimited},
		{f.GetStreamIdleTimeout(), filter.FlagStreamIdleTimeout},
		{f.GetDownstreamRemoteReset(), filter.FlagDownstreamRemoteReset},
		{f.GetDownstreamProtocolError(), filter.FlagDownstreamProtocolError},
		{f.GetUpstreamProtocolError(), filter.FlagUpstreamProtocolError},
		{f.GetOverloadManager(), filter.FlagOverload},
		{f.GetUpstreamMaxStreamDurationReached(), filter.FlagUpstreamMaxStreamDuration},
		{f.GetUnauthorizedDetails() != nil, filter.FlagUnauthorizedExternal},
	} {
		if x.set {
			out |= x.bit
		}
	}
	return out
}

// port formats a port number.
func port(n uint16) string { return strconv.Itoa(int(n)) }
