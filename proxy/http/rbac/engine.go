// Package rbac allows and denies by Envoy's role based access control, for
// requests (envoy.filters.http.rbac) and for connections (envoy.filters.network.rbac).
//
// Rules are compiled when the configuration arrives. What they look at is the
// connection (addresses, port, SNI, peer certificate) and the request (headers,
// path), and metadata that other filters have set. Shadow rules are tried and told of, in
// statistics and dynamic metadata. CEL conditions, the generic matcher tree and audit logging are
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
	details                 string         // what the access log says of a denial
	told                    map[string]any // what metadata says of a match, of a shadow rule
	permissions, principals oneOf
}

// Rules is a compiled set of policies. A nil *Rules allows everything.
type Rules struct {
	// deny those that match; logs lets all pass.
	deny, logs bool
	policies   []policy // by name
}

// Rules whose action is LOG let everything pass, and hint at what is to be logged
// in metadata that access logs can ask for.
const (
	hintNamespace = "envoy.common"
	hintKey       = "access_log_hint"
)

var hints = map[bool]map[string]any{true: {hintKey: true}, false: {hintKey: false}}

// hint is what such rules tell of f; nil: they are others.
func (r *Rules) hint(f facts) map[string]any {
	if r == nil || !r.logs {
		return nil
	}
	_, by := r.judge(f)
	return hints[by != nil]
}

// judge returns whether f passes, and by which policy; nil: by none. r is not nil.
func (r *Rules) judge(f facts) (ok bool, by *policy) {
	for i := range r.policies {
		p := &r.policies[i]
		if p.permissions.match(f) && p.principals.match(f) {
			return !r.deny, p
		}
	}
	return r.deny || r.logs, nil
}

// why is what the access log says of a denial.
func why(by *policy) string {
	if by == nil {
		return noneMatched
	}
	return by.details
}

// sets are the rules that hold and those that are only tried. nil ones allow.
type sets struct {
	rules, shadow *Rules
	// What shadow rules tell in metadata when no policy matched.
	allowedByNone, deniedByNone map[string]any
}

// counters of what was judged.
type counters struct{ allowed, denied, shadowAllowed, shadowDenied *filter.Counter }

// tell prepares what goes into metadata, so that it is not made per request.
func (s *sets) tell(prefix string) {
	result := func(r string) map[string]any { return map[string]any{prefix + "shadow_engine_result": r} }
	s.allowedByNone, s.deniedByNone = result("allowed"), result("denied")
	if s.shadow == nil {
		return
	}
	for i := range s.shadow.policies {
		p := &s.shadow.policies[i]
		p.told = result("allowed")
		if s.shadow.deny {
			p.told = result("denied")
		}
		p.told[prefix+"shadow_effective_policy_id"] = p.name
	}
}

// try judges by the shadow rules and returns what they have to tell; nil: there are none.
func (s *sets) try(f facts, c *counters) map[string]any {
	if s.shadow == nil {
		return nil
	}
	ok, by := s.shadow.judge(f)
	told := s.deniedByNone
	if ok {
		c.shadowAllowed.Add(1)
		told = s.allowedByNone
	} else {
		c.shadowDenied.Add(1)
	}
	if by != nil {
		told = by.told
	}
	return told
}

// enforce judges by the rules that hold.
func (s *sets) enforce(f facts, c *counters) (ok bool, details string) {
	if s.rules == nil {
		return true, ""
	}
	ok, by := s.rules.judge(f)
	if ok {
		c.allowed.Add(1)
		return true, ""
	}
	c.denied.Add(1)
	return false, why(by)
}

const noneMatched = "rbac_access_denied_matched_policy[none]"

// denial names a policy without the spaces, which separate the fields of a log.
func denial(name string) string {
	return "rbac_access_denied_matched_policy[" + strings.ReplaceAll(name, " ", "_") + "]"
}

// httpFilter judges requests. It has no state of a stream: it is its own factory.
type httpFilter struct {
	filter.PassThrough
	sets     sets
	counters counters
	name     string
}

// New implements filter.HTTPFactory.
func (x *httpFilter) New(filter.Stream) filter.HTTPFilter { return x }

// perRoute replaces the filter's rules; nil rules: everything is allowed.
type perRoute struct{ sets sets }

// RequestHeaders judges the request.
func (x *httpFilter) RequestHeaders(s filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
	sets := &x.sets
	if own, ok := s.RouteConfig(x.name).(*perRoute); ok {
		sets = &own.sets
	}
	info := s.Info()
	f := facts{conn: info.Conn, h: h, remote: client(info.Remote, info.Conn), info: info}
	if told := sets.try(f, &x.counters); told != nil {
		info.SetMetadata(HTTPName, told)
	}
	if hint := sets.rules.hint(f); hint != nil {
		info.SetMetadata(hintNamespace, hint)
	}
	ok, why := sets.enforce(f, &x.counters)
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
type networkFilter struct {
	sets     sets
	counters counters
}

// New implements filter.NetworkFactory.
func (x *networkFilter) New() filter.NetworkFilter { return x }

var noHeaders = &filter.Headers{}

// Open judges the connection.
func (x *networkFilter) Open(_ stream.Conn, info *filter.ConnInfo) filter.Verdict {
	f := facts{conn: info, h: noHeaders, remote: info.Remote.Addr()}
	if told := x.sets.try(f, &x.counters); told != nil {
		info.SetMetadata(NetworkName, told)
	}
	if hint := x.sets.rules.hint(f); hint != nil {
		info.SetMetadata(hintNamespace, hint)
	}
	ok, why := x.sets.enforce(f, &x.counters)
	if ok {
		return filter.Continue
	}
	info.Termination = why
	return filter.Reply
}

// Closed does nothing.
func (x *networkFilter) Closed(*filter.ConnInfo) {}
