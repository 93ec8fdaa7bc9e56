package rbac

import (
	"crypto/x509"
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/route"
)

// facts is what rules look at. h is empty for a connection without HTTP.
type facts struct {
	conn   *filter.ConnInfo
	h      *filter.Headers
	remote netip.Addr // the client, as a trusted x-forwarded-for says
	port   uint16
	info   *filter.Info
}

// rule is a permission or a principal.
type rule interface{ match(f facts) bool }

type (
	anyRule   struct{}
	allOf     []rule
	oneOf     []rule
	notRule   struct{ r rule }
	headers   struct{ tests route.HeaderTests }
	urlPath   struct{ tests route.Strings }
	uriForm   struct{ t template }
	sni       struct{ tests route.Strings }
	localIP   struct{ p netip.Prefix }
	localPort struct{ from, to uint16 } // inclusive
	peerIP    struct{ p netip.Prefix }
	directIP  struct{ p netip.Prefix }
	clientIP  struct{ p netip.Prefix }
	// identity is who the peer's certificate says it is; tests nil: anybody with a certificate.
	identity struct{ tests *route.Strings }
	// spiffe is the peer's first URI SAN, as Istio puts it into filter state.
	spiffe struct{ tests route.Strings }
	// state is a text of filter state, stateAddr an address there.
	state struct {
		key   string
		tests route.Strings
	}
	stateAddr struct {
		key    string
		ranges []netip.Prefix
		invert bool
	}
	// validated is a client's certificate that was checked, with one of the names; nil: any.
	validated struct{ name func(*x509.Certificate) bool }
	// metadata is a value that a filter has set, or the route's.
	metadata struct {
		namespace       string
		path            []string
		value           valueTest
		invert, ofRoute bool
	}
)

// valueTest tests a value of metadata; there: it has one.
type valueTest func(v any, there bool) bool

func (r *metadata) match(f facts) bool {
	all := f.info.Metadata
	if r.ofRoute {
		all = f.info.RouteMetadata
	}
	v, there := all[r.namespace]
	for _, k := range r.path {
		m, ok := v.(map[string]any)
		if !ok {
			v, there = nil, false
			break
		}
		v, there = m[k]
	}
	return r.value(v, there) != r.invert
}

func (anyRule) match(facts) bool { return true }

func (r allOf) match(f facts) bool {
	for _, x := range r {
		if !x.match(f) {
			return false
		}
	}
	return true
}

func (r oneOf) match(f facts) bool {
	for _, x := range r {
		if x.match(f) {
			return true
		}
	}
	return false
}

func (r notRule) match(f facts) bool  { return !r.r.match(f) }
func (r *headers) match(f facts) bool { return r.tests.All(f.h) }
func (r *urlPath) match(f facts) bool { return f.h.Path != "" && r.tests.Any(pathOnly(f.h.Path)) }
func (r *uriForm) match(f facts) bool { return r.t.match(pathOnly(f.h.Path)) }
func (r *sni) match(f facts) bool     { return r.tests.Any(f.conn.SNI) }
func (r localIP) match(f facts) bool  { return within(r.p, f.conn.Local.Addr()) }
func (r peerIP) match(f facts) bool   { return within(r.p, f.conn.Remote.Addr()) }

// match looks at the peer of the socket, whatever a PROXY header says.
func (r directIP) match(f facts) bool {
	if f.conn.Direct.IsValid() {
		return within(r.p, f.conn.Direct.Addr())
	}
	return within(r.p, f.conn.Remote.Addr())
}

func (r clientIP) match(f facts) bool { return within(r.p, f.remote) }
func (r *spiffe) match(f facts) bool  { return f.conn.PeerURI != "" && r.tests.Any(f.conn.PeerURI) }

func (r *state) match(f facts) bool {
	s, ok := f.info.Object(r.key).(string)
	return ok && r.tests.Any(s)
}

func (r *stateAddr) match(f facts) bool {
	var a netip.Addr
	switch v := f.info.Object(r.key).(type) {
	case netip.AddrPort:
		a = v.Addr()
	case string:
		p, err := netip.ParseAddrPort(v)
		if err != nil {
			return false
		}
		a = p.Addr()
	default:
		return false
	}
	return slices.ContainsFunc(r.ranges, func(p netip.Prefix) bool { return within(p, a) }) != r.invert
}

func (r *validated) match(f facts) bool {
	if !f.conn.Verified || len(f.conn.TLS.PeerCertificates) == 0 {
		return false
	}
	return r.name == nil || r.name(f.conn.TLS.PeerCertificates[0])
}

func (r localPort) match(f facts) bool {
	p := f.conn.Local.Port()
	return r.from <= p && p <= r.to
}

// match looks at the URI names of the certificate, else its DNS names, else its subject.
func (r *identity) match(f facts) bool {
	tls := f.conn.TLS
	if tls == nil || len(tls.PeerCertificates) == 0 {
		return false
	}
	if r.tests == nil {
		return true
	}
	cert := tls.PeerCertificates[0]
	switch {
	case f.conn.PeerURI != "" && r.tests.Any(f.conn.PeerURI):
		return true
	case len(cert.URIs) > 0:
		for _, u := range cert.URIs {
			if s := u.String(); s != f.conn.PeerURI && r.tests.Any(s) {
				return true
			}
		}
		return false
	case len(cert.DNSNames) > 0:
		for _, n := range cert.DNSNames {
			if r.tests.Any(n) {
				return true
			}
		}
		return false
	}
	return r.tests.Any(cert.Subject.String())
}

// within compares across IPv4 and its mapped form.
func within(p netip.Prefix, a netip.Addr) bool { return p.Contains(a.Unmap()) }

func pathOnly(p string) string {
	if i := strings.IndexAny(p, "?#"); i >= 0 {
		return p[:i]
	}
	return p
}
