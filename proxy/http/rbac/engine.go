// Package rbac allows and denies by Envoy's role based access control, for
// requests (envoy.filters.http.rbac) and for connections (envoy.filters.network.rbac).
//
// Rules are compiled when the configuration arrives. What they look at is the
// connection (addresses, port, SNI, peer certificate) and the request (headers,
// path), and metadata that other filters have set. Shadow rules are tried and told of, in
// statistics and dynamic metadata. A matcher tree takes the place of rules. Audit logging is
// refused by name, as by Envoy, which has no logger. A connection is judged once, when it is
// ready; in it, a rule on headers sees none.
//
// Judging allocates nothing, but for CEL conditions and what matcher trees look at.
package rbac

import (
	"net/netip"
	"strings"
	"time"

	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/cel"
	"github.com/weftmesh/weft/proxy/filter/choice"
	"github.com/weftmesh/weft/proxy/http/choose"
)

// policy is matched when one of its permissions and one of its principals are.
type policy struct {
	name                    string
	details                 string // what the access log says of a denial
	at                      int    // its place in said
	permissions, principals oneOf
	condition               *cel.Program // nil: there is none
	// deny and log are what a tree's action does.
	deny, log bool
	// counted are its own counts, of those that were allowed and denied; nil: nobody wants them.
	counted [2]*filter.Counter
}

// matches tells whether the policy is about f.
func (p *policy) matches(f facts) bool {
	return p.permissions.match(f) && p.principals.match(f) && (p.condition == nil || p.condition.True(f.info))
}

// Rules is a compiled set of policies. A nil *Rules allows everything.
type Rules struct {
	// deny those that match; logs lets all pass.
	deny, logs bool
	policies   []policy // by name
	// tree, if not nil, is there instead; what it does not know is denied.
	tree choice.Tree[*choose.Facts, *policy]
	all  []*policy // of the tree
}

// each calls do with every policy and whether it denies.
func (r *Rules) each(do func(p *policy, deny bool)) {
	for i := range r.policies {
		do(&r.policies[i], r.deny)
	}
	for _, p := range r.all {
		do(p, p.deny)
	}
}

// Rules whose action is LOG let everything pass, and hint at what is to be logged
// in metadata that access logs can ask for.
const (
	hintNamespace = "envoy.common"
	hintKey       = "access_log_hint"
)

var hints = map[bool]map[string]any{true: {hintKey: true}, false: {hintKey: false}}

// judge returns whether f passes, by which policy (nil: by none), and what it
// hints at (nil: at nothing). r is not nil.
func (r *Rules) judge(f facts) (ok bool, by *policy, hint map[string]any) {
	if r.tree != nil {
		return r.choose(f)
	}
	for i := range r.policies {
		if p := &r.policies[i]; p.matches(f) {
			if r.logs {
				return true, p, hints[true]
			}
			return !r.deny, p, nil
		}
	}
	if r.logs {
		return true, nil, hints[false]
	}
	return r.deny, nil, nil
}

// choose judges by the tree.
func (r *Rules) choose(f facts) (ok bool, by *policy, hint map[string]any) {
	by, found := r.tree.Choose(&choose.Facts{Head: f.h, Conn: f.conn, Info: f.info, Remote: netip.AddrPortFrom(f.remote, f.port)})
	if !found {
		return false, nil, nil
	}
	if r.logs {
		hint = hints[by.log]
	}
	return !by.deny, by, hint
}

// why is what the access log says of a denial.
func why(by *policy) string {
	if by == nil {
		return noneMatched
	}
	return by.details
}

// count counts a judgement, also for the policy that it is by.
func count(ok bool, by *policy, allowed, denied *filter.Counter) {
	n := 0
	if ok {
		allowed.Add(1)
	} else {
		denied.Add(1)
		n = 1
	}
	if by != nil && by.counted[n] != nil {
		by.counted[n].Add(1)
	}
}

// sets are the rules that hold and those that are only tried. nil ones allow.
type sets struct {
	rules, shadow *Rules
	said          said
}

// counters of what was judged.
type counters struct{ allowed, denied, shadowAllowed, shadowDenied *filter.Counter }

// judge judges by both; told is what goes into metadata, nil: nothing.
func (s *sets) judge(f facts, c *counters) (ok bool, details string, told, hint map[string]any) {
	tried, held := silent, silent
	if s.shadow != nil {
		ok, by, _ := s.shadow.judge(f)
		count(ok, by, c.shadowAllowed, c.shadowDenied)
		tried = place(ok, by)
	}
	ok = true
	if s.rules != nil {
		var by *policy
		ok, by, hint = s.rules.judge(f)
		count(ok, by, c.allowed, c.denied)
		held = place(ok, by)
		if !ok {
			details = why(by)
		}
	}
	return ok, details, s.said.of(held, tried), hint
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
	f := facts{conn: info.Conn, h: h, info: info}
	f.remote, f.port = client(info.Remote, info.Conn)
	ok, why, told, hint := sets.judge(f, &x.counters)
	if hint != nil {
		info.SetMetadata(hintNamespace, hint)
	}
	if !ok {
		s.Reply(filter.LocalReply{Status: 403, GRPCStatus: -1, Body: "RBAC: access denied", Details: why})
	}
	if told != nil { // after the answer, which does not see it in Envoy either
		info.SetMetadata(HTTPName, told)
	}
	if !ok {
		return filter.Reply
	}
	return filter.Continue
}

func client(a netip.AddrPort, conn *filter.ConnInfo) (netip.Addr, uint16) {
	if a.IsValid() {
		return a.Addr(), a.Port()
	}
	return conn.Remote.Addr(), conn.Remote.Port()
}

// networkFilter judges connections. It, too, is its own factory.
type networkFilter struct {
	sets     sets
	counters counters
	delay    time.Duration // between a denial and the end of the connection
}

// sniFilter reads the name that the client asks for.
type sniFilter struct{ *networkFilter }

// ReadsSNI implements filter.SNIReader.
func (sniFilter) ReadsSNI() {}

// New implements filter.NetworkFactory.
func (x *networkFilter) New() filter.NetworkFilter { return x }

var noHeaders = &filter.Headers{}

// Open judges the connection.
func (x *networkFilter) Open(_ stream.Conn, info *filter.ConnInfo) filter.Verdict {
	f := facts{
		conn: info, h: noHeaders, remote: info.Remote.Addr(), port: info.Remote.Port(),
		info: &filter.Info{Conn: info, Remote: info.Remote, Start: info.Start, Metadata: info.Metadata},
	}
	ok, why, told, hint := x.sets.judge(f, &x.counters)
	if told != nil {
		info.SetMetadata(NetworkName, told)
	}
	if hint != nil {
		info.SetMetadata(hintNamespace, hint)
	}
	if ok {
		return filter.Continue
	}
	info.Termination = why
	if x.delay > 0 {
		info.Pause(x.delay)
	}
	return filter.Reply
}

// Closed does nothing.
func (x *networkFilter) Closed(*filter.ConnInfo) {}
