package format

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
)

// compile finds what a command means.
func (c command) compile(o Options) (value, error) {
	v, ok := plain[c.name]
	if !ok {
		v, ok = certificates[c.name]
	}
	if ok {
		if c.hasArgs {
			return nil, fmt.Errorf("format command %%%s%% takes no arguments", c.name)
		}
		return v, nil
	}
	switch c.name {
	case "START_TIME":
		return startTime(c.args, time.UTC)
	case "START_TIME_LOCAL":
		return startTime(c.args, time.Local)
	case "EMIT_TIME":
		return emitTime(c.args)
	case "REQ", "REQUEST_HEADER":
		return c.header(func(i *filter.Info) *filter.Headers { return i.Request })
	case "RESP", "RESPONSE_HEADER":
		return c.header(func(i *filter.Info) *filter.Headers { return i.Response })
	case "TRAILER", "RESPONSE_TRAILER":
		return c.header(func(i *filter.Info) *filter.Headers { return i.Trailers })
	case "REQ_WITHOUT_QUERY":
		return c.withoutQuery()
	case "HOSTNAME":
		return fixed(o.Hostname), nil
	case "ENVIRONMENT":
		if c.args == "" {
			return nil, fmt.Errorf("format command %%%s%% needs the variable's name", c.name)
		}
		if o.Env == nil {
			return fixed(""), nil
		}
		return fixed(o.Env(c.args)), nil
	case "DYNAMIC_METADATA", "METADATA":
		return c.metadata()
	case "FILTER_STATE":
		return c.state()
	case "PATH":
		return c.path()
	case "QUERY_PARAM":
		return c.queryParam()
	case "COMMON_DURATION":
		return c.between()
	case "GRPC_STATUS":
		return grpcStatus(c.args)
	case "GRPC_STATUS_NUMBER":
		return grpcStatus("NUMBER")
	}
	return nil, fmt.Errorf("format command %%%s%% is not supported; check its spelling", c.name)
}

// plain are the commands without arguments.
var plain = map[string]value{
	"PROTOCOL":                          text(func(i *filter.Info) string { return i.Protocol }),
	"ROUTE_NAME":                        text(func(i *filter.Info) string { return i.RouteName }),
	"RESPONSE_CODE_DETAILS":             text(func(i *filter.Info) string { return i.Details }),
	"UPSTREAM_CLUSTER":                  text(func(i *filter.Info) string { return i.Upstream.Cluster }),
	"UPSTREAM_CLUSTER_RAW":              text(func(i *filter.Info) string { return i.Upstream.Cluster }),
	"UPSTREAM_TRANSPORT_FAILURE_REASON": text(func(i *filter.Info) string { return i.Upstream.Failure }),
	"UPSTREAM_PEER_URI_SAN":             text(func(i *filter.Info) string { return i.Upstream.PeerURI }),
	"UPSTREAM_HOST_NAME":                text(func(i *filter.Info) string { return i.Upstream.HostName }),
	"STREAM_ID":                         text(func(i *filter.Info) string { return i.RequestID }),
	"CONNECTION_TERMINATION_DETAILS":    connText(func(c *filter.ConnInfo) string { return c.Termination }),
	"REQUESTED_SERVER_NAME":             connText(func(c *filter.ConnInfo) string { return c.SNI }),
	"DOWNSTREAM_PEER_URI_SAN":           connText(func(c *filter.ConnInfo) string { return c.PeerURI }),
	"DOWNSTREAM_LOCAL_URI_SAN":          connText(func(c *filter.ConnInfo) string { return c.LocalURI }),
	"FILTER_CHAIN_NAME":                 connText(func(c *filter.ConnInfo) string { return c.FilterChain }),

	"RESPONSE_CODE":                  number(func(i *filter.Info) uint64 { return uint64(i.Status) }),
	"BYTES_RECEIVED":                 number(func(i *filter.Info) uint64 { return i.Received }),
	"BYTES_SENT":                     number(func(i *filter.Info) uint64 { return i.Sent }),
	"UPSTREAM_REQUEST_ATTEMPT_COUNT": number(func(i *filter.Info) uint64 { return uint64(i.Attempts) }),
	"CONNECTION_ID": number(func(i *filter.Info) uint64 {
		if i.Conn == nil {
			return 0
		}
		return i.Conn.ID
	}),
	"DURATION": number(func(i *filter.Info) uint64 { return uint64(i.Duration / time.Millisecond) }),

	"REQUEST_DURATION":    millis(func(i *filter.Info) (time.Duration, bool) { return i.RequestEnd, i.RequestEnd > 0 }),
	"REQUEST_TX_DURATION": millis(func(i *filter.Info) (time.Duration, bool) { return i.RequestEnd, i.RequestEnd > 0 }),
	"RESPONSE_DURATION":   millis(func(i *filter.Info) (time.Duration, bool) { return i.UpstreamFirstByte, i.UpstreamFirstByte > 0 }),
	"RESPONSE_TX_DURATION": millis(func(i *filter.Info) (time.Duration, bool) {
		return i.Duration - i.UpstreamFirstByte, i.UpstreamFirstByte > 0 && i.Duration >= i.UpstreamFirstByte
	}),

	"UPSTREAM_HOST":                                 elseText(address(upstreamHost, whole), func(i *filter.Info) string { return i.Upstream.Path }),
	"UPSTREAM_REMOTE_ADDRESS":                       elseText(address(upstreamHost, whole), func(i *filter.Info) string { return i.Upstream.Path }),
	"UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT":          elseText(address(upstreamHost, host), func(i *filter.Info) string { return i.Upstream.Path }),
	"UPSTREAM_REMOTE_PORT":                          address(upstreamHost, port),
	"UPSTREAM_LOCAL_ADDRESS":                        address(upstreamLocal, whole),
	"UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":           address(upstreamLocal, host),
	"UPSTREAM_LOCAL_PORT":                           address(upstreamLocal, port),
	"DOWNSTREAM_REMOTE_ADDRESS":                     elseText(address(downstreamRemote, whole), internalClient),
	"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT":        elseText(address(downstreamRemote, host), internalClient),
	"DOWNSTREAM_REMOTE_PORT":                        address(downstreamRemote, port),
	"DOWNSTREAM_DIRECT_REMOTE_ADDRESS":              elseText(address(downstreamDirect, whole), internalClient),
	"DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": elseText(address(downstreamDirect, host), internalClient),
	"DOWNSTREAM_DIRECT_REMOTE_PORT":                 address(downstreamDirect, port),
	"DOWNSTREAM_DIRECT_LOCAL_ADDRESS":               elseText(address(downstreamLocal, whole), internal),
	"DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT":  elseText(address(downstreamLocal, host), internal),
	"DOWNSTREAM_DIRECT_LOCAL_PORT":                  address(downstreamLocal, port),
	"DOWNSTREAM_LOCAL_ADDRESS":                      elseText(address(downstreamLocal, whole), internal),
	"DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":         elseText(address(downstreamLocal, host), internal),
	"DOWNSTREAM_LOCAL_PORT":                         address(downstreamLocal, port),

	"ACCESS_LOG_TYPE":         text(func(i *filter.Info) string { return i.Event.String() }),
	"LOCAL_REPLY_BODY":        func(dst []byte, i *filter.Info) ([]byte, bool) { return append(dst, i.LocalBody...), true },
	"VIRTUAL_HOST_NAME":       text(func(i *filter.Info) string { return i.VirtualHost }),
	"REQUEST_HEADERS_BYTES":   number(func(i *filter.Info) uint64 { return headBytes(i.Request) }),
	"RESPONSE_HEADERS_BYTES":  number(func(i *filter.Info) uint64 { return headBytes(i.Response) }),
	"RESPONSE_TRAILERS_BYTES": number(func(i *filter.Info) uint64 { return headBytes(i.Trailers) }),
	"ROUNDTRIP_DURATION":      func(dst []byte, _ *filter.Info) ([]byte, bool) { return dst, false }, // QUIC's alone
	"RESPONSE_FLAGS_LONG": func(dst []byte, i *filter.Info) ([]byte, bool) {
		return append(dst, i.Flags.Long()...), true
	},
	"RESPONSE_FLAGS": func(dst []byte, i *filter.Info) ([]byte, bool) {
		return append(dst, i.Flags.String()...), true
	},
	"TRACE_ID": func(dst []byte, i *filter.Info) ([]byte, bool) {
		return appendHex(dst, i.Trace.TraceID[:]), i.Trace.Valid
	},
	"SPAN_ID": func(dst []byte, i *filter.Info) ([]byte, bool) {
		return appendHex(dst, i.Trace.SpanID[:]), i.Trace.Valid
	},
}

func text(get func(*filter.Info) string) value {
	return func(dst []byte, i *filter.Info) ([]byte, bool) {
		s := get(i)
		return append(dst, s...), s != ""
	}
}

func connText(get func(*filter.ConnInfo) string) value {
	return func(dst []byte, i *filter.Info) ([]byte, bool) {
		if i.Conn == nil {
			return dst, false
		}
		s := get(i.Conn)
		return append(dst, s...), s != ""
	}
}

func number(get func(*filter.Info) uint64) value {
	return func(dst []byte, i *filter.Info) ([]byte, bool) {
		return strconv.AppendUint(dst, get(i), 10), true
	}
}

func millis(get func(*filter.Info) (time.Duration, bool)) value {
	return func(dst []byte, i *filter.Info) ([]byte, bool) {
		d, ok := get(i)
		return strconv.AppendInt(dst, d.Milliseconds(), 10), ok
	}
}

func fixed(s string) value {
	return func(dst []byte, _ *filter.Info) ([]byte, bool) { return append(dst, s...), s != "" }
}

// Parts of an address.
type part uint8

const (
	whole part = iota
	host
	port
)

func address(get func(*filter.Info) netip.AddrPort, p part) value {
	return func(dst []byte, i *filter.Info) ([]byte, bool) {
		a := get(i)
		if !a.IsValid() {
			return dst, false
		}
		switch p {
		case host:
			return a.Addr().AppendTo(dst), true
		case port:
			return strconv.AppendUint(dst, uint64(a.Port()), 10), true
		default:
			return a.AppendTo(dst), true
		}
	}
}

// elseText has another text where there is no IP address.
func elseText(get value, otherwise func(*filter.Info) string) value {
	return func(dst []byte, i *filter.Info) ([]byte, bool) {
		out, ok := get(dst, i)
		if ok {
			return out, true
		}
		s := otherwise(i)
		return append(dst, s...), s != ""
	}
}

// internal is the address of the internal listener, if the connection came to one.
func internal(i *filter.Info) string {
	if i.Conn == nil {
		return ""
	}
	return i.Conn.Internal
}

// internalClient stands for the peer of such a connection, which has no address.
func internalClient(i *filter.Info) string {
	if internal(i) == "" {
		return ""
	}
	return "envoy://internal_client_address/"
}

func upstreamHost(i *filter.Info) netip.AddrPort  { return i.Upstream.Host }
func upstreamLocal(i *filter.Info) netip.AddrPort { return i.Upstream.Local }

func downstreamRemote(i *filter.Info) netip.AddrPort {
	if i.Remote.IsValid() {
		return i.Remote
	}
	return directRemote(i)
}

func directRemote(i *filter.Info) netip.AddrPort {
	if i.Conn == nil {
		return netip.AddrPort{}
	}
	return i.Conn.Remote
}

// downstreamDirect is the peer of the socket.
func downstreamDirect(i *filter.Info) netip.AddrPort {
	if i.Conn == nil || !i.Conn.Direct.IsValid() {
		return directRemote(i)
	}
	return i.Conn.Direct
}

func downstreamLocal(i *filter.Info) netip.AddrPort {
	if i.Conn == nil {
		return netip.AddrPort{}
	}
	return i.Conn.Local
}

// header compiles REQ(NAME?ALTERNATIVE) and its like.
func (c command) header(from func(*filter.Info) *filter.Headers) (value, error) {
	name, alt, err := c.names()
	if err != nil {
		return nil, err
	}
	return func(dst []byte, i *filter.Info) ([]byte, bool) {
		s, ok := lookup(from(i), name, alt)
		return append(dst, s...), ok
	}, nil
}

func (c command) withoutQuery() (value, error) {
	name, alt, err := c.names()
	if err != nil {
		return nil, err
	}
	return func(dst []byte, i *filter.Info) ([]byte, bool) {
		s, ok := lookup(i.Request, name, alt)
		s, _, _ = strings.Cut(s, "?")
		return append(dst, s...), ok
	}, nil
}

func (c command) names() (name, alt string, err error) {
	name, alt, _ = strings.Cut(strings.ToLower(c.args), "?")
	if name == "" || strings.Contains(alt, "?") {
		return "", "", fmt.Errorf("format command %%%s(%s)%% needs a header name and at most one alternative after a \"?\"", c.name, c.args)
	}
	return name, alt, nil
}

func lookup(h *filter.Headers, name, alt string) (string, bool) {
	if h == nil {
		return "", false
	}
	if s, ok := h.Lookup(name); ok {
		return s, true
	}
	if alt == "" {
		return "", false
	}
	return h.Lookup(alt)
}

func appendHex(dst, b []byte) []byte {
	const digits = "0123456789abcdef"
	for _, c := range b {
		dst = append(dst, digits[c>>4], digits[c&15])
	}
	return dst
}
