package config

import (
	"errors"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http"
	"github.com/weftmesh/weft/proxy/http/match"
	"github.com/weftmesh/weft/proxy/route"
)

// chainContext is what a filter of a chain gets to know.
type chainContext struct {
	outbound    bool
	bufferLimit int
	// routes and secrets collect what the listener waits for.
	routes, secrets []need
	extensions      []extensionNeed
	scoped          []scopedNeed
	inlineScopes    []InlineScopes
	// clusters that inline routes and TCP proxies name.
	clusters []string
}

// manager makes an HTTP connection manager.
func (d *Decoder) manager(a *anypb.Any, cc *chainContext, messages *codec.Protocol) (filter.Terminal, error) {
	m := &hcmv3.HttpConnectionManager{}
	if err := open(a, m); err != nil {
		return nil, err
	}
	c := http.ManagerConfig{
		StatPrefix: m.StatPrefix, Clusters: d.Clusters, Outbound: cc.outbound, BufferLimit: cc.bufferLimit, Logger: d.Logger,
		Messages: messages, Stats: d.HTTPStats, Added: d.Added, Overload: d.Overload, Failing: d.Failing,
		ServerName: m.ServerName, Via: m.Via, AppendPort: m.AppendXForwardedPort, Scheme: m.GetSchemeHeaderTransformation().GetSchemeToOverwrite(),
		UseRemoteAddress: m.GetUseRemoteAddress().GetValue(), XFFTrustedHops: int(m.XffNumTrustedHops), SkipXFFAppend: m.SkipXffAppend,
		KeepRequestID: m.PreserveExternalRequestId, NoRequestID: m.GenerateRequestId != nil && !m.GenerateRequestId.Value,
		RequestIDInResponse: m.AlwaysSetRequestIdInResponse,
		Proxy100Continue:    m.Proxy_100Continue,
		NormalizePath:       m.GetNormalizePath().GetValue(), MergeSlashes: m.MergeSlashes, StripTrailingHostDot: m.StripTrailingHostDot,
		StreamIdleTimeout: offDuration(m.StreamIdleTimeout), RequestTimeout: offDuration(m.RequestTimeout),
		RequestHeadersTimeout: offDuration(m.RequestHeadersTimeout), DrainTimeout: offDuration(m.DrainTimeout),
		DelayedCloseTimeout: offDuration(m.DelayedCloseTimeout),
		MaxHeadersKiB:       int(m.MaxRequestHeadersKb.GetValue()),
	}
	if err := managerEnums(m, &c); err != nil {
		return nil, err
	}
	if err := managerOptions(m, &c); err != nil {
		return nil, err
	}
	if err := d.routeSource(m, &c, cc); err != nil {
		return nil, err
	}
	if err := d.managerFilters(m, &c, cc); err != nil {
		return nil, err
	}
	logs, err := d.accessLogs(m.AccessLog)
	if err != nil {
		return nil, err
	}
	for _, l := range logs {
		c.AccessLogs = append(c.AccessLogs, l)
	}
	logOptions(m, &c)
	if c.LocalReplies, err = d.localReplies(m.LocalReplyConfig); err != nil {
		return nil, at(err, "local_reply_config")
	}
	if c.Detect, err = detectors(m); err != nil {
		return nil, at(err, "original_ip_detection_extensions")
	}
	if ranges := m.GetInternalAddressConfig().GetCidrRanges(); ranges != nil {
		if c.InternalCIDRs, err = match.Prefixes(ranges); err != nil {
			return nil, at(err, "internal_address_config.cidr_ranges")
		}
	}
	if m.Tracing != nil {
		if c.Tracer, err = d.tracer(m, cc); err != nil {
			return nil, at(err, "tracing")
		}
		c.TraceAttempts = m.Tracing.GetSpawnUpstreamSpan().GetValue()
	}
	return http.New(c)
}

// logOptions says when access logs are written beside the end of a request.
func logOptions(m *hcmv3.HttpConnectionManager, c *http.ManagerConfig) {
	c.LogEvery, c.LogStart = duration(m.AccessLogFlushInterval), m.FlushAccessLogOnNewRequest
	if o := m.AccessLogOptions; o != nil {
		c.LogEvery, c.LogStart = duration(o.AccessLogFlushInterval), o.FlushAccessLogOnNewRequest
		c.LogTunnel = o.FlushLogOnTunnelSuccessfullyEstablished
	}
}

func managerEnums(m *hcmv3.HttpConnectionManager, c *http.ManagerConfig) error {
	switch m.CodecType {
	case hcmv3.HttpConnectionManager_AUTO:
		c.Codec = http.CodecAuto
	case hcmv3.HttpConnectionManager_HTTP1:
		c.Codec = http.CodecHTTP1
	case hcmv3.HttpConnectionManager_HTTP2:
		c.Codec = http.CodecHTTP2
	default:
		return at(fmt.Errorf("%v is not supported", m.CodecType), "codec_type")
	}
	switch m.ServerHeaderTransformation {
	case hcmv3.HttpConnectionManager_APPEND_IF_ABSENT:
		c.ServerHeader = http.ServerAppendIfAbsent
	case hcmv3.HttpConnectionManager_PASS_THROUGH:
		c.ServerHeader = http.ServerPassThrough
	}
	switch m.ForwardClientCertDetails {
	case hcmv3.HttpConnectionManager_FORWARD_ONLY:
		c.ForwardClientCert = http.CertForwardOnly
	case hcmv3.HttpConnectionManager_APPEND_FORWARD:
		c.ForwardClientCert = http.CertAppendForward
	case hcmv3.HttpConnectionManager_SANITIZE_SET:
		c.ForwardClientCert = http.CertSanitizeSet
	case hcmv3.HttpConnectionManager_ALWAYS_FORWARD_ONLY:
		c.ForwardClientCert = http.CertAlwaysForwardOnly
	}
	if s := m.SetCurrentClientCertDetails; s != nil {
		c.ClientCertDetails = http.ClientCertDetails{
			Subject: s.GetSubject().GetValue(), Cert: s.Cert, Chain: s.Chain, DNS: s.Dns, URI: s.Uri,
		}
	}
	switch m.PathWithEscapedSlashesAction {
	case hcmv3.HttpConnectionManager_REJECT_REQUEST:
		c.EscapedSlashes = http.EscapedReject
	case hcmv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT:
		c.EscapedSlashes = http.EscapedUnescapeRedirect
	case hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD:
		c.EscapedSlashes = http.EscapedUnescapeForward
	}
	switch {
	case m.StripMatchingHostPort && m.GetStripAnyHostPort():
		return at(errors.New("excludes strip_any_host_port"), "strip_matching_host_port")
	case m.StripMatchingHostPort:
		c.StripPort = http.StripMatching
	case m.GetStripAnyHostPort():
		c.StripPort = http.StripAny
	}
	return nil
}

func managerOptions(m *hcmv3.HttpConnectionManager, c *http.ManagerConfig) error {
	if o := m.CommonHttpProtocolOptions; o != nil {
		c.IdleTimeout = offDuration(o.IdleTimeout)
		c.MaxConnDuration = duration(o.MaxConnectionDuration)
		c.MaxStreamDuration = duration(o.MaxStreamDuration)
		c.MaxRequestsPerConn = int(o.MaxRequestsPerConnection.GetValue())
		c.MaxHeaders = int(o.MaxHeadersCount.GetValue())
		switch o.HeadersWithUnderscoresAction {
		case corev3.HttpProtocolOptions_REJECT_REQUEST:
			c.Underscores = http.UnderscoreReject
		case corev3.HttpProtocolOptions_DROP_HEADER:
			c.Underscores = http.UnderscoreDrop
		}
	}
	if o := m.HttpProtocolOptions; o != nil {
		c.HTTP1 = http.HTTP1Options{AcceptHTTP10: o.AcceptHttp_10, DefaultHost: o.DefaultHostForHttp_10, Trailers: o.EnableTrailers}
		var err error
		if c.HTTP1.Spelling, err = spelling(o.HeaderKeyFormat); err != nil {
			return at(err, "http_protocol_options.header_key_format")
		}
	}
	if o := m.Http2ProtocolOptions; o != nil {
		c.HTTP2 = http.HTTP2Options{
			MaxConcurrentStreams: o.MaxConcurrentStreams.GetValue(), StreamWindow: o.InitialStreamWindowSize.GetValue(),
			ConnWindow: o.InitialConnectionWindowSize.GetValue(), AllowConnect: o.AllowConnect,
		}
		if k := o.ConnectionKeepalive; k != nil {
			c.HTTP2.PingInterval, c.HTTP2.PingTimeout = duration(k.Interval), duration(k.Timeout)
		}
	}
	return nil
}

// routeSource connects the manager with its routes, inline or by name.
func (d *Decoder) routeSource(m *hcmv3.HttpConnectionManager, c *http.ManagerConfig, cc *chainContext) error {
	switch r := m.RouteSpecifier.(type) {
	case *hcmv3.HttpConnectionManager_RouteConfig:
		if r.RouteConfig.GetVhds() != nil {
			return at(errors.New("is for routes that come over RDS"), "route_config.vhds")
		}
		spec, t, err := d.compileRoutes(r.RouteConfig)
		if err != nil {
			return at(err, "route_config")
		}
		cc.clusters = append(cc.clusters, clustersOf(spec)...)
		c.Routes = func() *route.Table { return t }
		return nil
	case *hcmv3.HttpConnectionManager_Rds:
		src, err := readSource(r.Rds.ConfigSource, "")
		if err != nil {
			return at(err, "rds.config_source")
		}
		if r.Rds.RouteConfigName == "" {
			return at(errors.New("is empty"), "rds.route_config_name")
		}
		cc.routes = append(cc.routes, need{name: r.Rds.RouteConfigName, timeout: src.timeout})
		c.Routes = d.Routes(r.Rds.RouteConfigName)
		return nil
	case *hcmv3.HttpConnectionManager_ScopedRoutes:
		return at(d.scopedRoutes(m, c, cc), "scoped_routes")
	}
	return errors.New("no routes: want rds, route_config or scoped_routes")
}

func (d *Decoder) managerFilters(m *hcmv3.HttpConnectionManager, c *http.ManagerConfig, cc *chainContext) error {
	ctx := filter.ParseContext{
		StatPrefix: m.StatPrefix, Outbound: cc.outbound, Stats: d.FilterStats, ServiceCluster: d.ServiceCluster, Calls: d.Calls, Local: d.Local, Runtime: d.Runtime,
	}
	var err error
	if c.Filters, err = d.httpFilters(m.HttpFilters, ctx, filterList{c, cc}); err != nil {
		return at(err, "http_filters")
	}
	for i, u := range m.UpgradeConfigs {
		up := http.Upgrade{Type: u.UpgradeType, Enabled: u.Enabled == nil || u.Enabled.Value}
		if len(u.Filters) > 0 {
			if up.Filters, err = d.httpFilters(u.Filters, ctx, filterList{c, cc}); err != nil {
				return at(err, "upgrade_configs[%d].filters", i)
			}
		}
		c.Upgrades = append(c.Upgrades, up)
	}
	return nil
}

// filterList is whom a chain of HTTP filters is for.
type filterList struct {
	c  *http.ManagerConfig
	cc *chainContext
}

// httpFilters parses a chain, whose last is the router.
func (d *Decoder) httpFilters(list []*hcmv3.HttpFilter, ctx filter.ParseContext, to filterList) ([]http.NamedFilter, error) {
	out := make([]http.NamedFilter, 0, len(list))
	for i, m := range list {
		a, last := m.GetTypedConfig(), i == len(list)-1
		if isRouter := a.MessageIs(&routerv3.Router{}); isRouter != last {
			return nil, at(errors.New("the router must be the last filter, and only there"), "[%d]", i)
		}
		if last {
			return out, at(routerFilter(m, to.c), "[%d]", i)
		}
		ctx.FilterName = m.Name
		f, err := d.httpFilter(m, ctx, to.cc)
		if err != nil {
			return nil, at(err, "[%d]", i)
		}
		if f != nil {
			out = append(out, http.NamedFilter{Name: m.Name, Factory: f, Disabled: m.Disabled})
		}
	}
	return nil, errors.New("is empty: want the router at least")
}

// httpFilter parses one filter, nil: it is optional and not known here.
func (d *Decoder) httpFilter(m *hcmv3.HttpFilter, ctx filter.ParseContext, cc *chainContext) (filter.HTTPFactory, error) {
	if c := m.GetConfigDiscovery(); c != nil {
		x, err := discover(d, c, extension{ParseContext: ctx, kind: httpFilter}, cc, func(a *anypb.Any) (filter.HTTPFactory, error) {
			k, a, err := d.httpKind(a)
			if err != nil {
				return nil, err
			}
			own := ctx
			return k.Parse(&own, a)
		})
		return discoveredHTTP{x}, at(err, "config_discovery")
	}
	a := m.GetTypedConfig()
	k, a, err := d.httpKind(a)
	if err != nil {
		if m.IsOptional {
			return nil, nil
		}
		return nil, at(err, "typed_config")
	}
	f, err := k.Parse(&ctx, a)
	return f, at(err, "typed_config")
}

func routerFilter(m *hcmv3.HttpFilter, c *http.ManagerConfig) error {
	if m.Disabled {
		return at(errors.New("the last filter cannot be off by default"), "disabled")
	}
	r := &routerv3.Router{}
	if err := open(m.GetTypedConfig(), r); err != nil {
		return at(err, "typed_config")
	}
	c.SuppressEnvoyHeaders = r.SuppressEnvoyHeaders
	c.RespectExpectedTimeout = r.RespectExpectedRqTimeout
	return nil
}
