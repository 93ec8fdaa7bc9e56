// Package cel evaluates conditions in the Common Expression Language on what is
// known about a request, under Envoy's attribute names ("response.code >= 500").
//
// A Program is safe for concurrent use. Evaluation allocates: it is for access
// logs and rules that ask for it. What an expression names and there is not is
// an error, and an expression with an error is not true, as in Envoy.
package cel

import (
	"crypto/tls"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/interpreter"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/format"
)

// Program is a compiled expression.
type Program struct{ p cel.Program }

// roots are the variables of an expression.
var roots = map[string]func(*filter.Info) map[string]any{
	"request": request, "response": response, "source": source, "destination": destination,
	"connection": connection, "upstream": upstream, "xds": xds,
	"metadata": func(i *filter.Info) map[string]any {
		return map[string]any{"filter_metadata": i.Metadata}
	},
	"filter_state": objects,
}

var environment = sync.OnceValues(func() (*cel.Env, error) {
	options := make([]cel.EnvOption, 0, len(roots))
	for name := range roots {
		options = append(options, cel.Variable(name, cel.DynType))
	}
	return cel.NewEnv(options...)
})

// Compile checks an expression, whose value must be a boolean.
func Compile(expression string) (*Program, error) {
	env, err := environment()
	if err != nil {
		return nil, err
	}
	ast, issues := env.Compile(expression)
	if issues.Err() != nil {
		return nil, issues.Err()
	}
	return program(env, ast)
}

func program(env *cel.Env, ast *cel.Ast) (*Program, error) {
	if t := ast.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("the expression is of the type %s: want a boolean", t)
	}
	p, err := env.Program(ast)
	if err != nil {
		return nil, err
	}
	return &Program{p}, nil
}

// True tells whether the expression is true.
func (p *Program) True(i *filter.Info) bool {
	v, _, err := p.p.Eval(activation{i})
	if err != nil {
		return false
	}
	b, ok := v.Value().(bool)
	return ok && b
}

// activation finds the roots for one request.
type activation struct{ i *filter.Info }

// ResolveName implements interpreter.Activation.
func (a activation) ResolveName(name string) (any, bool) {
	if f := roots[name]; f != nil {
		return f(a.i), true
	}
	return nil, false
}

// Parent implements interpreter.Activation.
func (activation) Parent() interpreter.Activation { return nil }

func request(i *filter.Info) map[string]any {
	m := map[string]any{
		"time": i.Start, "duration": i.Duration, "size": int64(i.Received), "protocol": i.Protocol, "id": i.RequestID,
	}
	h := i.Request
	if h == nil {
		return m
	}
	path, query, _ := strings.Cut(h.Path, "?")
	m["path"], m["url_path"], m["query"] = h.Path, path, query
	m["host"], m["scheme"], m["method"] = h.Authority, h.Scheme, h.Method
	m["referer"], m["useragent"] = h.Get("referer"), h.Get("user-agent")
	m["headers"] = headers(h)
	return m
}

func response(i *filter.Info) map[string]any {
	m := map[string]any{
		"code": int64(i.Status), "code_details": i.Details, "flags": int64(i.Flags), "size": int64(i.Sent),
		"grpc_status": int64(format.GRPCStatusOf(i)),
	}
	if i.Response != nil {
		m["headers"] = headers(i.Response)
	}
	if i.Trailers != nil {
		m["trailers"] = headers(i.Trailers)
	}
	if i.UpstreamFirstByte > 0 {
		m["backend_latency"] = max(i.UpstreamFirstByte-i.UpstreamStart, time.Duration(0))
	}
	return m
}

// headers is a head by name, pseudo headers included; repeated ones are joined.
func headers(h *filter.Headers) map[string]string {
	m := make(map[string]string, h.Len()+4)
	for _, name := range [...]string{":method", ":scheme", ":authority", ":path", ":status"} {
		if v, ok := h.Lookup(name); ok {
			m[name] = v
		}
	}
	for n := range h.Len() {
		f := h.At(n)
		if old, ok := m[f.Name]; ok {
			m[f.Name] = old + "," + f.Value
		} else {
			m[f.Name] = f.Value
		}
	}
	return m
}

func source(i *filter.Info) map[string]any {
	a := i.Remote
	if !a.IsValid() && i.Conn != nil {
		a = i.Conn.Remote
	}
	return map[string]any{"address": a.String(), "port": int64(a.Port())}
}

func destination(i *filter.Info) map[string]any {
	if i.Conn == nil {
		return nil
	}
	return map[string]any{"address": i.Conn.Local.String(), "port": int64(i.Conn.Local.Port())}
}

func connection(i *filter.Info) map[string]any {
	c := i.Conn
	if c == nil {
		return nil
	}
	m := map[string]any{
		"id": c.ID, "mtls": c.TLS != nil && len(c.TLS.PeerCertificates) > 0, "requested_server_name": c.SNI,
		"uri_san_peer_certificate": c.PeerURI, "uri_san_local_certificate": c.LocalURI, "termination_details": c.Termination,
	}
	if c.TLS != nil {
		m["tls_version"] = strings.ReplaceAll(tls.VersionName(c.TLS.Version), "TLS 1", "TLSv1")
		if len(c.TLS.PeerCertificates) > 0 {
			cert := c.TLS.PeerCertificates[0]
			m["subject_peer_certificate"] = cert.Subject.String()
			if len(cert.DNSNames) > 0 {
				m["dns_san_peer_certificate"] = cert.DNSNames[0]
			}
		}
	}
	return m
}

// objects are the strings of filter state, the request's before the connection's.
func objects(i *filter.Info) map[string]any {
	m := map[string]any{}
	if i.Conn != nil {
		maps.Copy(m, i.Conn.Objects)
	}
	maps.Copy(m, i.FilterState)
	return m
}

func upstream(i *filter.Info) map[string]any {
	u := &i.Upstream
	return map[string]any{
		"address": u.Host.String(), "port": int64(u.Host.Port()), "local_address": u.Local.String(),
		"uri_san_peer_certificate": u.PeerURI, "transport_failure_reason": u.Failure, "request_attempt_count": int64(i.Attempts),
	}
}

func xds(i *filter.Info) map[string]any {
	m := map[string]any{"cluster_name": i.Upstream.Cluster, "route_name": i.RouteName, "virtual_host_name": i.VirtualHost}
	if i.Conn != nil {
		m["filter_chain_name"], m["listener_name"] = i.Conn.FilterChain, i.Conn.Listener
	}
	return m
}

// Attribute is one of the roots ("request", "connection") as a request has it: a map, or a value.
func Attribute(i *filter.Info, name string) (any, bool) { return activation{i}.ResolveName(name) }
