package listener

import (
	"net/netip"
	"os"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/runtime"
	"github.com/weftmesh/weft/proxy/transport"
)

// Address is where a listener listens: a TCP address, that of a UDP socket, or the
// path of a unix stream socket.
type Address struct {
	Addr netip.AddrPort
	UDP  bool
	Path string
	// Mode of the unix socket's file; 0: as the umask makes it.
	Mode os.FileMode
}

// String is the address or path.
func (a Address) String() string {
	if a.Path != "" {
		return a.Path
	}
	return a.Addr.String()
}

// AccessLogger writes an access log. The Info has the parts of a connection only.
type AccessLogger interface{ Log(i *filter.Info) }

// Listener describes a listener. It is immutable once handed to a Manager.
type Listener struct {
	Name string
	// Version identifies the content, for admin pages.
	Version string
	// Addresses are the address and the additional ones.
	Addresses []Address
	// Virtual: no socket is bound; the listener gets connections from one with
	// UseOriginalDst (bind_to_port false).
	Virtual bool
	// Internal: there are no addresses; connections come from clusters of this
	// proxy (Manager.Connect).
	Internal bool
	// UseOriginalDst hands a connection to the listener of its original
	// destination, if there is one.
	UseOriginalDst bool
	// Outbound is the traffic direction.
	Outbound bool
	// Transparent sets IP_TRANSPARENT (TPROXY), Freebind IP_FREEBIND; IPv4Compat
	// lets [::] take IPv4 too.
	Transparent, Freebind, IPv4Compat bool
	// Backlog 0: the system's.
	Backlog int
	// BypassOverload takes connections also under pressure.
	BypassOverload bool
	// MaxConns bounds its connections; nil, or without a value: nothing does.
	MaxConns *runtime.Key
	// IgnoreMax: its connections are no part of the bound on those of all listeners.
	IgnoreMax bool
	// KeepAlive of accepted connections.
	KeepAlive transport.KeepAlive
	// Inspectors look at a connection before a chain is chosen, in order.
	Inspectors []Inspector
	// InspectTimeout bounds that; 0: no bound. ContinueOnTimeout then chooses by
	// what is known, instead of closing.
	InspectTimeout    time.Duration
	ContinueOnTimeout bool
	// AccessLogs are told of every connection when it has ended, also when no chain
	// was for it.
	AccessLogs []AccessLogger
	// Matcher, when not nil, chooses the chain by name, instead of their Match;
	// MatcherReads is what it has to know for that.
	Matcher      Matcher
	MatcherReads Reads
	// Chains and the one for connections that none matches, nil: they are closed.
	Chains  []*FilterChain
	Default *FilterChain
	// UDP takes what arrives, where the addresses are of UDP; then there are no chains.
	UDP *UDP
}

// UDP is what is done with datagrams.
type UDP struct {
	// Version identifies the content: with the same non-empty one on an update, all
	// stays as it is.
	Version string
	Filter  filter.Datagrams
	// Size is how large a datagram may be, in bytes; larger ones are dropped. GRO
	// lets the kernel give several as one.
	Size int
	GRO  bool
}

// InspectorKind is a listener filter.
type InspectorKind uint8

// Kinds of listener filters.
const (
	// OriginalDst finds out where a redirected connection wanted to go.
	OriginalDst InspectorKind = iota
	// TLSInspector finds server name and ALPN protocols in a ClientHello.
	TLSInspector
	// HTTPInspector tells HTTP/1.0, HTTP/1.1 and HTTP/2 without TLS apart.
	HTTPInspector
	// ProxyProtocol reads a PROXY header. It stands before those that look at
	// what follows.
	ProxyProtocol
	// OriginalSource makes connections upstream come from the client's address. It
	// stands after those that find out about it.
	OriginalSource
)

// Inspector is one listener filter of a Listener.
type Inspector struct {
	Kind InspectorKind
	// Live, when not nil, yields Kind and Proxy for each connection; nothing: it is closed.
	// MayLook: it may be of a kind that looks at what the client says.
	Live    func() *Inspector
	MayLook bool
	// Disabled switches it off for some destinations; nil: never.
	Disabled *Predicate
	// Proxy configures ProxyProtocol.
	Proxy *ProxyHeaders
	// Mark is OriginalSource's SO_MARK; 0: the proxy's own.
	Mark int
}

// Predicate is a condition on the destination port (filter_disabled). Exactly
// one field is set.
type Predicate struct {
	Or, And []Predicate
	Not     *Predicate
	Any     bool
	// From ≤ port < To.
	From, To uint32
}

// Match evaluates the condition.
func (p *Predicate) Match(port uint16) bool {
	switch {
	case p == nil:
		return false
	case p.Any:
		return true
	case p.Not != nil:
		return !p.Not.Match(port)
	case p.Or != nil:
		for i := range p.Or {
			if p.Or[i].Match(port) {
				return true
			}
		}
		return false
	case p.And != nil:
		for i := range p.And {
			if !p.And[i].Match(port) {
				return false
			}
		}
		return true
	}
	return p.From <= uint32(port) && uint32(port) < p.To
}

// FilterChain is what is done with connections that match.
type FilterChain struct {
	Name string
	// Version identifies the content. On an update a chain of the same listener
	// with the same name and the same non-empty Version keeps its predecessor's
	// TLS, filters and connections.
	Version string
	Match   Match
	// TLS nil: plain text. HandshakeTimeout 0: 15 s.
	TLS              *transport.ServerTLS
	HandshakeTimeout time.Duration
	// Filters are asked in order before Terminal takes the connection.
	Filters  []filter.NetworkFactory
	Terminal filter.Terminal
}

// SourceType restricts where connections come from.
type SourceType uint8

// Source types.
const (
	SourceAny SourceType = iota
	SourceLocal
	SourceExternal
)

// Match are the criteria of a chain. An empty one matches everything. The
// criteria are looked at in the order of the fields; at each the most specific
// fit decides, and there is no way back (Envoy's rule).
type Match struct {
	DestinationPort     uint16 // 0: any
	DestinationPrefixes []netip.Prefix
	// ServerNames are exact ("a.example.com") or suffixes ("*.example.com").
	ServerNames []string
	// TransportProtocol is "tls" or "raw_buffer".
	TransportProtocol    string
	ApplicationProtocols []string
	DirectSourcePrefixes []netip.Prefix
	SourceType           SourceType
	SourcePrefixes       []netip.Prefix
	SourcePorts          []uint16
}

// Empty tells whether everything matches.
func (m *Match) Empty() bool {
	return m.DestinationPort == 0 && m.TransportProtocol == "" && m.SourceType == SourceAny && len(m.DestinationPrefixes)+
		len(m.ServerNames)+len(m.ApplicationProtocols)+len(m.DirectSourcePrefixes)+len(m.SourcePrefixes)+len(m.SourcePorts) == 0
}

// Reads are the inspectors that a choice needs.
type Reads struct{ TLS, HTTP bool }

// Transport protocols and the application protocols that HTTPInspector finds.
const (
	ProtoTLS   = "tls"
	ProtoRaw   = "raw_buffer"
	ProtoHTTP0 = "http/1.0"
	ProtoHTTP1 = "http/1.1"
	ProtoH2C   = "h2c"
)
