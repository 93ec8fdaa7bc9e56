package extauthz

import (
	"encoding/pem"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/client"
	"github.com/weftmesh/weft/proxy/http/match"
)

const checkMethod = "/envoy.service.auth.v3.Authorization/Check"

// grpcService asks by Envoy's own protocol.
type grpcService struct{ service *client.Service }

func (c *grpcService) check(q *question, done func(*decision)) (cancel func()) {
	in := &authv3.CheckRequest{Attributes: attributes(q)}
	return c.ask(in, done)
}

func (c *grpcService) ask(in *authv3.CheckRequest, done func(*decision)) (cancel func()) {
	out := &authv3.CheckResponse{}
	return c.service.Unary(checkMethod, in, out, func(err error) {
		if err != nil {
			done(&decision{})
			return
		}
		done(read(out))
	})
}

// attributes describes a request.
func attributes(q *question) *authv3.AttributeContext {
	i, c := q.s.Info(), q.cfg
	h := q.s.Request()
	a := peers(i.Conn, c.certificate, c.session)
	a.Source.Address = address(i.Remote)
	a.Source.Service = strings.Clone(h.Get("x-envoy-downstream-service-cluster"))
	a.ContextExtensions = q.context
	a.MetadataContext = &corev3.Metadata{FilterMetadata: spaces(i.Metadata, c.namespaces)}
	a.RouteMetadataContext = &corev3.Metadata{FilterMetadata: spaces(i.RouteMetadata, c.routeSpaces)}
	r := &authv3.AttributeContext_HttpRequest{
		Id: strconv.FormatUint(i.Conn.ID, 10), Method: strings.Clone(h.Method), Host: strings.Clone(h.Authority), Scheme: strings.Clone(h.Scheme), Protocol: i.Protocol,
		Path: strings.Clone(h.Path), Headers: map[string]string{}, Size: int64(i.Received),
	}
	for _, name := range []string{":method", ":path", ":authority", ":scheme"} {
		if v, ok := h.Lookup(name); ok && c.sees(name) {
			r.Headers[name] = strings.Clone(v)
		}
	}
	for j := range h.Len() {
		f := h.At(j)
		if !c.sees(f.Name) {
			continue
		}
		value := strings.Clone(f.Value)
		if old, ok := r.Headers[f.Name]; ok {
			value = old + "," + value
		}
		r.Headers[strings.Clone(f.Name)] = value // a map takes over the newest key, too
	}
	if c.body.raw {
		r.RawBody = q.body
	} else {
		r.Body = strings.ToValidUTF8(string(q.body), "!")
	}
	if q.buffered {
		r.Headers[partialHeader] = strconv.FormatBool(q.partial)
	}
	a.Request = &authv3.AttributeContext_Request{Time: timestamppb.New(i.Start), Http: r}
	return a
}

// peers describes a connection.
func peers(c *filter.ConnInfo, certificate, session bool) *authv3.AttributeContext {
	a := &authv3.AttributeContext{
		Source:      &authv3.AttributeContext_Peer{Address: address(c.Remote), Principal: c.PeerURI},
		Destination: &authv3.AttributeContext_Peer{Address: address(c.Local), Principal: c.LocalURI},
	}
	if session {
		a.TlsSession = &authv3.AttributeContext_TLSSession{Sni: c.SNI}
	}
	if c.TLS == nil {
		return a
	}
	if certs := c.TLS.PeerCertificates; len(certs) > 0 {
		if a.Source.Principal == "" {
			if len(certs[0].DNSNames) > 0 {
				a.Source.Principal = certs[0].DNSNames[0]
			} else {
				a.Source.Principal = certs[0].Subject.String()
			}
		}
		if certificate {
			text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certs[0].Raw})
			a.Source.Certificate = url.QueryEscape(string(text))
		}
	}
	return a
}

func address(a netip.AddrPort) *corev3.Address {
	if !a.IsValid() {
		return nil
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: a.Addr().Unmap().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(a.Port())},
	}}}
}

func spaces(from map[string]any, names []string) map[string]*structpb.Struct {
	var out map[string]*structpb.Struct
	for _, n := range names {
		m, ok := from[n].(map[string]any)
		if !ok {
			continue
		}
		s, err := structpb.NewStruct(m)
		if err != nil {
			continue // a value that no message can hold
		}
		if out == nil {
			out = map[string]*structpb.Struct{}
		}
		out[n] = s
	}
	return out
}

// read makes a decision of an answer.
func read(m *authv3.CheckResponse) *decision {
	d := &decision{metadata: m.GetDynamicMetadata().AsMap()}
	ok := m.GetOkResponse()
	if md := ok.GetDynamicMetadata(); md != nil { //nolint:staticcheck // deprecated, and wins
		d.metadata = md.AsMap()
	}
	switch {
	case m.GetStatus().GetCode() == 0:
		d.kind = allowed
		d.request, d.response = requestChanges(ok.GetHeaders()), responseChanges(ok.GetResponseHeadersToAdd())
		d.remove, d.removeQuery = ok.GetHeadersToRemove(), ok.GetQueryParametersToRemove()
		for _, q := range ok.GetQueryParametersToSet() {
			d.setQuery = append(d.setQuery, filter.Field{Name: q.Key, Value: q.Value})
		}
	case m.GetErrorResponse() != nil:
		e := m.GetErrorResponse()
		d.status, d.body, d.reply = int(e.GetStatus().GetCode()), e.Body, fields(e.Headers)
	default:
		d.kind, d.status = denied, 403
		if r := m.GetDeniedResponse(); r != nil {
			if code := int(r.GetStatus().GetCode()); code > 0 {
				d.status = code
			}
			d.body, d.reply = r.Body, fields(r.Headers)
		}
	}
	return d
}

// appends tells whether an option sets the older field "append".
func appends(o *corev3.HeaderValueOption) bool { return o.GetAppend().GetValue() } //nolint:staticcheck // what servers set

// requestChanges: of requests, Envoy looks at the older field only.
func requestChanges(list []*corev3.HeaderValueOption) []change {
	out := make([]change, 0, len(list))
	for _, o := range list {
		c := change{name: o.GetHeader().GetKey(), value: match.Value(o.GetHeader()), do: set}
		if appends(o) {
			c.do = appendTo
		}
		out = append(out, c)
	}
	return out
}

func responseChanges(list []*corev3.HeaderValueOption) []change {
	out := make([]change, 0, len(list))
	for _, o := range list {
		c := change{name: o.GetHeader().GetKey(), value: match.Value(o.GetHeader())}
		switch match.Action(o) {
		case corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD:
			c.do = add
		case corev3.HeaderValueOption_ADD_IF_ABSENT:
			c.do = addIfAbsent
		case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:
			c.do = setIfPresent
		default:
			c.do = set
		}
		out = append(out, c)
	}
	return out
}

// fields are the headers of an answer to the client. Those to be appended have
// nothing to be appended to, as in Envoy.
func fields(list []*corev3.HeaderValueOption) []filter.Field {
	out := make([]filter.Field, 0, len(list))
	for _, o := range list {
		if !appends(o) {
			out = append(out, filter.Field{Name: strings.ToLower(o.GetHeader().GetKey()), Value: match.Value(o.GetHeader())})
		}
	}
	return out
}
