package document

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp/syntax"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/wire"
)

// Into decodes a checked value into a Go type by its JSON names.
func Into[T any](value any) (T, error) {
	var out T
	raw, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	return out, err
}

// Message decodes a checked value into a protobuf message. The shape of the
// message has been checked before, so that what fails here is rare (a duration
// out of protobuf's range); it becomes a Finding.
func (d *Document) Message(field string, value any, into proto.Message) bool {
	raw, err := json.Marshal(value)
	if err == nil {
		err = protojson.Unmarshal(raw, into)
	}
	if err != nil {
		if d.broken {
			return false
		}
		d.Invalid(field, "", "cannot be read: %s", strings.TrimPrefix(err.Error(), "proto:"))
		return false
	}
	return true
}

// Regex reports a regular expression that RE2 does not take.
func (d *Document) Regex(field, expr string) {
	if _, err := syntax.Parse(expr, syntax.Perl); err != nil {
		remedy := "see https://github.com/google/re2/wiki/Syntax"
		if strings.Contains(expr, "(?=") || strings.Contains(expr, "(?!") || strings.Contains(expr, "(?<") {
			remedy = "RE2 knows no look-ahead, look-behind or back-references"
		}
		msg := err.Error()
		if e, ok := err.(*syntax.Error); ok { //nolint:errorlint // returned unwrapped
			msg = fmt.Sprintf("%s: %s", e.Code, e.Expr)
		}
		d.Invalid(field, remedy, "is not a valid RE2 regular expression: %s", msg)
	}
}

// Addr reads an IP address; the zero Addr and a Finding when it is none.
func (d *Document) Addr(field, s string) netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil {
		d.Invalid(field, "write an IPv4 or IPv6 address", "%q is not an IP address", s)
	}
	return a
}

// Prefix reads an address or CIDR.
func (d *Document) Prefix(field, s string) netip.Prefix {
	p, err := ParsePrefix(s)
	if err != nil {
		d.Invalid(field, "write e.g. 10.0.0.0/8 or 10.1.2.3", "%q is neither an IP address nor a CIDR", s)
	}
	return p
}

// ParsePrefix reads "10.0.0.0/8", or an address as a prefix of all its bits.
func ParsePrefix(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return netip.Prefix{}, err
		}
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err
}

// Host reports what cannot be a host name; a leading "*." or a lone "*" is allowed
// when wildcard is set.
func (d *Document) Host(field, host string, wildcard bool) {
	name := host
	if host == "*" && wildcard {
		return
	}
	if strings.HasPrefix(name, "*.") && wildcard {
		name = name[2:]
	}
	switch {
	case host == "":
		d.Invalid(field, "name a host", "is empty")
	case strings.Contains(host, "://"):
		d.Invalid(field, "leave out the scheme and the path", "%q is a URL, not a host name", host)
	case strings.Contains(name, "*") && !wildcard:
		d.Invalid(field, "name one host", "%q: wildcards are not allowed here", host)
	case strings.Contains(name, "*"):
		d.Invalid(field, "a wildcard stands for the whole first part: *.example.com", "%q is not a valid host name", host)
	case strings.Contains(name, ":") && strings.Count(name, ":") == 1:
		d.Invalid(field, "leave out the port", "%q is not a valid host name", host)
	case !IsSubdomain(strings.ToLower(strings.TrimSuffix(name, "."))):
		if _, err := netip.ParseAddr(name); err == nil {
			return
		}
		d.Invalid(field, "use letters, digits, '-' and '.'", "%q is not a valid host name", host)
	}
}

// FQDN resolves a short name in a namespace, as Istio does: a name without a
// dot is a service of the object's own namespace.
func FQDN(host, namespace, domain string) string {
	if host == "" || strings.Contains(host, ".") || strings.Contains(host, "*") || strings.Contains(host, ":") {
		return strings.ToLower(strings.TrimSuffix(host, "."))
	}
	return strings.ToLower(host) + "." + namespace + ".svc." + domain
}

// Visibility reads an exportTo list.
func (d *Document) Visibility(field string, exportTo []string) model.Visibility {
	if len(exportTo) == 0 {
		return model.Visibility{Public: true, Default: true}
	}
	var v model.Visibility
	for i, ns := range exportTo {
		switch {
		case ns == "*":
			v.Public = true
		case ns == ".":
			v.Namespaces = append(v.Namespaces, d.Key.Namespace)
		case ns == "~":
			if len(exportTo) > 1 {
				d.Invalid(At(field, i), "write it alone", "\"~\" (nobody) excludes other entries")
			}
		case !IsLabel(ns):
			d.Invalid(At(field, i), `write a namespace, ".", "*" or "~"`, "%q is not a namespace", ns)
		default:
			v.Namespaces = append(v.Namespaces, ns)
		}
	}
	if v.Public {
		v.Namespaces = nil
	}
	return v
}

// Protocol reads a protocol by Istio's names; ok is false for a name unknown to it.
func Protocol(name string) (p model.Protocol, ok bool) {
	switch strings.ToLower(name) {
	case "http":
		return model.HTTP, true
	case "http2", "h2c", "kubernetes.io/h2c":
		return model.HTTP2, true
	case "grpc":
		return model.GRPC, true
	case "grpc-web":
		return model.GRPCWeb, true
	case "https", "kubernetes.io/wss", "wss":
		return model.HTTPS, true
	case "kubernetes.io/ws", "ws":
		return model.HTTP, true
	case "tls":
		return model.TLS, true
	case "tcp",
		// Whose servers may speak first, or who is better not guessed at: bytes, with mutual TLS.
		"amqp", "cassandra", "kafka", "ldap", "memcached", "mqtt", "nats", "postgres", "postgresql", "rocketmq", "smtp", "ssh":
		return model.TCP, true
	case "mongo", "mongodb":
		return model.Mongo, true
	case "mysql", "mariadb":
		return model.MySQL, true
	case "redis":
		return model.Redis, true
	case "udp":
		return model.UDP, true
	}
	if slices.Contains(wire.MessageProtocols, strings.ToLower(name)) {
		return model.MessagesOf(strings.ToLower(name)), true
	}
	return model.Unknown, false
}

// messageProtocol reads Aeraki's port names.
func messageProtocol(name string) (model.Protocol, bool) {
	rest, ok := strings.CutPrefix(name, "tcp-")
	if !ok {
		return model.Unknown, false
	}
	rest = strings.TrimPrefix(rest, "metaprotocol-")
	app, _, _ := strings.Cut(rest, "-")
	if app == "redis" {
		return model.Redis, true
	}
	return model.MessagesOf(app), slices.Contains(wire.MessageProtocols, app)
}

// AppOf is the protocol of messages that the name of a port, or an appProtocol, is for, where one of that name is declared:
// "orders" of "tcp-metaprotocol-orders-v2", "tcp-orders", "orders" and "orders-v2"; "": it cannot be one. said: the name
// is for nothing else.
func AppOf(name string) (app string, said bool) {
	rest := strings.TrimPrefix(strings.ToLower(name), "tcp-")
	rest, said = strings.CutPrefix(rest, "metaprotocol-")
	app, _, _ = strings.Cut(rest, "-")
	p, known := Protocol(app)
	if app == "" || app[0] < 'a' || app[0] > 'z' || known && p.Messages() == "" {
		return "", false
	}
	return app, said
}

// Protocols lists the names that Protocol knows, for suggestions.
var Protocols = []string{"HTTP", "HTTP2", "GRPC", "GRPC-Web", "HTTPS", "TLS", "TCP", "Mongo", "MySQL", "Redis", "UDP"}

// PortProtocol is the protocol that a port's name stands for: "<protocol>" or
// "<protocol>-<suffix>". Aeraki's "tcp-metaprotocol-<protocol>" and "tcp-<protocol>" stand for a protocol
// of messages where there is one of that name, and for TCP else.
func PortProtocol(name string) model.Protocol {
	if p, ok := messageProtocol(strings.ToLower(name)); ok {
		return p
	}
	if strings.HasPrefix(strings.ToLower(name), "grpc-web") {
		return model.GRPCWeb
	}
	head, _, _ := strings.Cut(name, "-")
	switch strings.ToLower(head) {
	case "h2c", "ws", "wss": // appProtocol only
		return model.Unknown
	}
	p, _ := Protocol(head)
	return p
}

// Distribution reads Istio's annotation that says which instances clients prefer.
func (d *Document) Distribution() model.Distribution {
	text := d.Annotations[model.DistributionKey]
	out := model.ParseDistribution(text)
	if out == model.DistributionAny && !strings.EqualFold(text, "any") {
		d.Warn(CodeAnnotation, Join("metadata.annotations", model.DistributionKey), Suggest(text, model.Distributions),
			"%q is no valid value: nothing is preferred", text)
	}
	return out
}
