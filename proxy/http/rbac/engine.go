// Package rbac allows and denies by Envoy's role based access control, for
// requests (envoy.filters.http.rbac) and for connections (envoy.filters.network.rbac).
//
// Rules are compiled when the configuration arrives. What they look at is the
// connection (addresses, port, SNI, peer certificate) and the request (headers,
// path). Metadata, CEL conditions, the generic matcher tree, shadow rules and audit logging are
// refused by name. A connection is judged once, when it is ready; in it, a rule on headers sees none.
//
// Judging allocates nothing.
package rbac

import (
	"net/netip"
	"strings"

	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/filter"
)

// policy is matched when one of its permissions and one of its principals are.
type policy struct {
	name                    string
	details                 string // what the access log says of a denial
	permissions, principals oneOf
}

// Rules is a compiled set of policies. A nil *Rules allows everything.
type Rules struct {
	deny     bool
	policies []policy // by name
}

// judge returns whether f passes, and if not, why, for the access log.
func (r *Rules) judge(f facts) (ok bool, details string) {
	if r == nil {
		return true, ""
	}
	for i := range r.policies {
		p := &r.policies[i]
		if p.permissions.match(f) && p.principals.match(f) {
			return !r.deny, p.details
		}
	}
	return r.deny, noneMatched
}

const noneMatched = "rbac_access_denied_matched_policy[none]"

// denial names a policy without the spaces, which separate the fields of a log.
func denial(name string) string {
	return "rbac_access_denied_matched_policy[" + strings.ReplaceAll(name, " ", "_") + "]"
}

// httpFilter judges requests. It has no state of a stream: it is its own factory.
type httpFilter struct {
	filter.PassThrough
	rules *Rules
	name  string
}

// New implements filter.HTTPFactory.
func (x *httpFilter) New(filter.Stream) filter.HTTPFilter { return x }

// perRoute replaces the filter's rules; nil rules: everything is allowed.
type perRoute struct{ rules *Rules }

// RequestHeaders judges the request.
func (x *httpFilter) RequestHeaders(s filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
	rules := x.rules
	if own, ok := s.RouteConfig(x.name).(*perRoute); ok {
		rules = own.rules
	}
	info := s.Info()
	ok, why := rules.judge(facts{conn: info.Conn, h: h, remote: client(info.Remote, info.Conn)})
	if ok {
		return filter.Continue
	}
	s.Reply(filter.LocalReply{Status: 403, GRPCStatus: -1, Body: "RBAC: access denied", Details: why})
	return filter.Reply
}

func client(a netip.AddrPort, conn *filter.ConnInfo) netip.Addr {
	if a.IsValid() {
		return a.Addr()
	}
	return conn.Remote.Addr()
}

// networkFilter judges connections. It, too, is its own factory.
type networkFilter struct{ rules *Rules }

// New implements filter.NetworkFactory.
func (x *networkFilter) New() filter.NetworkFilter { return x }

var noHeaders = &filter.Headers{}

// Open judges the connection.
func (x *networkFilter) Open(_ stream.Conn, info *filter.ConnInfo) filter.Verdict {
	ok, why := x.rules.judge(facts{conn: info, h: noHeaders, remote: info.Remote.Addr()})
	if ok {
		return filter.Continue
	}
	info.Termination = why
	return filter.Reply
}

// Closed does nothing.
func (x *networkFilter) Closed(*filter.ConnInfo) {}
