package explain

import (
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http"
)

// peer says which PeerAuthentications decide about a server's port, and whether the
// client speaks mutual TLS.
func (r *request) peer(s *side, port uint16, mtls bool) {
	mode := s.view.MTLS().For(port)
	how := "the client's proxy speaks mutual TLS"
	if !mtls {
		how = "the client's proxy speaks plain text"
	}
	w := s.proxy.Workload
	var found bool
	for _, p := range r.Snapshot.PeerAuths {
		if p.Key.Namespace != w.Namespace && (p.Key.Namespace != s.view.Mesh.RootNamespace || len(p.Selector) > 0) || !model.Matches(p.Selector, w.Labels) {
			continue
		}
		found = true
		says := "mode " + p.Mode.String()
		if m, ok := p.Ports[port]; ok {
			says += ", " + m.String() + " on port " + strconv.Itoa(int(port))
		}
		r.say("mTLS", &p.Meta, "%s", says)
	}
	if !found {
		r.say("mTLS", nil, "no PeerAuthentication: %s", mode)
	}
	r.say("mTLS", nil, "%s port %d takes %s; %s", s.proxy.Name(), port, accepts(mode), how)
}

func accepts(m model.MTLSMode) string {
	switch m {
	case model.MTLSStrict:
		return "mutual TLS only"
	case model.MTLSDisable:
		return "plain text only"
	}
	return "mutual TLS and plain text"
}

// tokens says which RequestAuthentications read tokens.
func (r *request) tokens(s *side) {
	for _, a := range s.view.RequestAuths() {
		var issuers []string
		for _, rule := range a.Rules {
			issuers = append(issuers, rule.Issuer)
		}
		r.say("tokens", &a.Meta, "reads tokens of %s; a request without one goes on", strings.Join(issuers, ", "))
	}
}

// policies says what the authorization policies of a proxy decide about a request.
func (r *request) policies(s *side, j *http.Judgement, _ *filter.Headers) {
	list := s.view.Authz()
	if len(list) == 0 {
		r.say("authorization", nil, "no AuthorizationPolicy for %s: everything is allowed", s.proxy.Name())
		return
	}
	by := ""
	if j.Reply != nil {
		_, name, _ := strings.Cut(j.Reply.Details, "matched_policy[")
		by = strings.TrimSuffix(name, "]")
	}
	for _, p := range list {
		says := action(p.Action)
		switch {
		case p.DryRun:
			says += ", a dry run: noted, not enforced"
		case by != "" && strings.HasPrefix(by, "ns["+p.Key.Namespace+"]-policy["+p.Key.Name+"]-rule["):
			says += ": " + by[strings.LastIndex(by, "rule["):] + " matches: denied"
		case p.Action == model.Custom:
			says += ": asks " + p.Provider + ", whose answer is not known here"
		case p.Action == model.Deny && by == "none", p.Action == model.Deny && j.Reply == nil:
			says += ": no rule matches"
		case p.Action == model.Allow && by == "none":
			says += ": no rule matches"
		case p.Action == model.Allow && j.Reply == nil:
			says += ": the ALLOW policies together allow it"
		}
		r.say("authorization", &p.Meta, "%s", says)
	}
}

func action(a model.AuthzAction) string {
	return [...]string{"ALLOW", "DENY", "AUDIT", "CUSTOM"}[a]
}

// allows names the ALLOW policies.
func allows(list []*model.Authz) string {
	var out []string
	for _, p := range list {
		if p.Action == model.Allow && !p.DryRun {
			out = append(out, title(&p.Meta))
		}
	}
	return strings.Join(out, ", ")
}

// policyTitle reads "ns[default]-policy[x]-rule[0]".
func policyTitle(name string) string {
	var parts []string
	for _, p := range strings.Split(name, "[")[1:] {
		in, _, _ := strings.Cut(p, "]")
		parts = append(parts, in)
	}
	if len(parts) != 3 {
		return name
	}
	return "AuthorizationPolicy " + parts[0] + "/" + parts[1] + " rules[" + parts[2] + "]"
}

// telemetry says which Telemetry objects hold for a side.
func (r *request) telemetry(who string, s *side, side model.Mode) {
	for _, t := range s.view.Telemetries() {
		var parts []string
		if slices.ContainsFunc(t.Metrics, func(m model.MetricsRule) bool { return true }) {
			parts = append(parts, "metrics")
		}
		if slices.ContainsFunc(t.Logs, func(l model.LogRule) bool { return l.Mode.Covers(side) }) {
			parts = append(parts, "access logs")
		}
		if slices.ContainsFunc(t.Tracing, func(l model.TracingRule) bool { return l.Mode.Covers(side) }) {
			parts = append(parts, "tracing")
		}
		if len(parts) > 0 {
			r.say("telemetry", &t.Meta, "at the %s: %s", who, strings.Join(parts, ", "))
		}
	}
}
