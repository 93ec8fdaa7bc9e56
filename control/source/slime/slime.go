// Package slime is the front end of Slime's SmartLimiter, in all its groups and versions. It compiles into
// model.SmartLimiter; what of it is in force control/limiter finds out.
//
// Each conversion is a pure function of one document. Whether the service, its subsets and the values of expressions
// are there is not seen here.
package slime

import (
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	api "github.com/weftmesh/weft/api/slime/v1alpha2"
	"github.com/weftmesh/weft/base/formula"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
	"github.com/weftmesh/weft/control/source/istio"
)

// FrontEnds returns the front ends of Slime's kinds.
func FrontEnds() []document.FrontEnd {
	kind := string(model.KindSmartLimiter)
	return []document.FrontEnd{
		{Kind: kind, Group: api.Group, Versions: []string{"v1alpha2", "v1alpha1"}, Shape: shape(), Convert: convert},
		{Kind: kind, Group: api.OldGroup, Versions: []string{"v1alpha1"}, Shape: shape(), Convert: convert},
	}
}

var rules = document.Rules{
	"Target.port":      document.Port,
	"Interval.seconds": {Min: 0, Max: 1<<31 - 1},
	"Interval.nanos":   {Min: 0, Max: 999_999_999},
}

var shape = sync.OnceValue(func() *document.Shape {
	b := document.NewBuilder(rules)
	s := document.Spec(b.GoType(reflect.TypeFor[api.SmartLimiterSpec]()))
	if bad := rules.Unused(b.Used); bad != nil {
		panic("BUG: rules for fields that do not exist: " + bad[0])
	}
	return s
})

// usualDomain is Slime's.
const usualDomain = "slime"

func convert(d *document.Document) []model.Object {
	spec, err := document.Into[api.SmartLimiterSpec](d.Spec())
	if err != nil {
		d.Invalid("spec", "", "cannot be read: %v", err)
		return nil
	}
	l := &model.SmartLimiter{Meta: d.Meta, Gateway: spec.Gateway, Selector: spec.WorkloadSelector, RLS: spec.RLS, Domain: spec.Domain}
	if l.Domain == "" {
		l.Domain = usualDomain
	}
	switch {
	case spec.Gateway && len(spec.WorkloadSelector) == 0:
		d.Error(document.CodeMissing, "spec.workloadSelector", "write labels of the gateway, as istio: ingressgateway", "is missing; a limit of gateways needs one")
	case spec.Gateway:
	case spec.Host != "":
		l.Service = document.FQDN(spec.Host, d.Key.Namespace, istio.Domain)
		d.Host("spec.host", spec.Host, false)
	case len(spec.WorkloadSelector) == 0:
		l.Service = document.FQDN(d.Key.Name, d.Key.Namespace, istio.Domain)
	}
	c := converter{d: d, spec: &spec, l: l}
	c.rls()
	c.prometheus()
	c.set("spec.descriptors", model.WholeService, spec.Descriptors)
	for _, name := range sortedSets(spec.Sets) {
		at := document.Join("spec.sets", name)
		c.set(at+".descriptor", name, spec.Sets[name].Descriptor)
		c.set(at+".descriptors", name, spec.Sets[name].Descriptors)
	}
	if len(l.Rules) == 0 {
		d.Warn(document.CodeMissing, "spec", "write spec.descriptors or spec.sets", "has no limits")
	}
	return []model.Object{l}
}

func sortedSets(sets map[string]api.Set) []string {
	out := make([]string, 0, len(sets))
	for name := range sets {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// converter is one document on its way.
type converter struct {
	d    *document.Document
	spec *api.SmartLimiterSpec
	l    *model.SmartLimiter
}

func (c *converter) rls() {
	if c.spec.RLS == "" {
		return
	}
	host, port, ok := strings.Cut(c.spec.RLS, ":")
	n, err := strconv.ParseUint(port, 10, 16)
	if !ok || err != nil || n == 0 || host == "" {
		c.d.Invalid("spec.rls", "write host:port", "%q is no address of a service", c.spec.RLS)
		return
	}
	c.l.RLS = document.FQDN(host, c.d.Key.Namespace, istio.Domain) + ":" + port
}

func (c *converter) set(at, name string, list []api.Descriptor) {
	for i := range list {
		c.rule(document.At(at, i), name, &list[i])
	}
}

func (c *converter) rule(at, set string, x *api.Descriptor) {
	d := c.d
	r := model.LimitRule{
		Field: at, Set: set, Condition: "true", Strategy: model.LimitSingle, Shadow: x.Action.Shadow,
		Key: x.CustomKey, Value: x.CustomValue, Interval: interval(d, at+".action", &x.Action),
	}
	if x.Condition != nil {
		r.Condition = c.expression(at+".condition", x.Condition)
	}
	c.quota(at+".action", &x.Action, &r)
	c.strategy(at+".action", &x.Action, &r)
	for i, h := range x.Action.HeadersToAdd {
		if h.Key == "" || strings.ContainsAny(h.Key, " :\r\n") || strings.ContainsAny(h.Value, "\r\n") {
			d.Invalid(document.At(at+".action.headers_to_add", i), "", "%q: %q is not a header", h.Key, h.Value)
		}
		r.Headers = append(r.Headers, model.LimitHeader{Name: h.Key, Value: h.Value})
	}
	if (x.CustomKey == "") != (x.CustomValue == "") {
		d.Error(document.CodeMissing, at+".custom_value", "write both custom_key and custom_value", "one of custom_key and custom_value is missing")
	}
	if x.CustomKey != "" && (len(x.Match) > 0 || x.Target != nil || x.Action.Per != "") {
		d.Warn(document.CodeIgnored, at+".custom_key", "say it in the action that makes the descriptor",
			"match, target and per have no effect beside custom_key: who makes the descriptor says which requests have it")
	}
	c.target(at, x, &r)
	rules := []model.LimitRule{r}
	for i := range x.Match {
		rules = c.match(document.At(at+".match", i), &x.Match[i], rules)
	}
	c.l.Rules = append(c.l.Rules, rules...)
}

// expression reads one, of whatever YAML made of it.
func (c *converter) expression(at string, v any) string {
	text := ""
	switch v := v.(type) {
	case string:
		text = v
	case bool:
		text = strconv.FormatBool(v)
	case float64:
		text = strconv.FormatFloat(v, 'f', -1, 64)
	default:
		c.d.Error(document.CodeType, at, `write a text, as "30/{pod}"`, "must be an expression")
		return "false"
	}
	if _, err := formula.Compile(text, nil); err != nil {
		c.d.Invalid(at, "", "%q: %v", text, err)
	}
	return text
}

func (c *converter) quota(at string, a *api.Action, r *model.LimitRule) {
	d := c.d
	switch {
	case a.Quota == nil && a.Concurrency == nil:
		d.Error(document.CodeMissing, at+".quota", `write a number, or an expression as "30/{pod}"`, "is missing")
		return
	case a.Quota != nil && a.Concurrency != nil:
		d.Invalid(at, "write two descriptors", "has both quota and concurrency")
	case a.Concurrency != nil:
		r.Concurrency, r.Quota = true, c.expression(at+".concurrency", a.Concurrency)
	default:
		r.Quota = c.expression(at+".quota", a.Quota)
		if a.FillInterval == nil {
			d.Error(document.CodeMissing, at+".fill_interval", "write fill_interval: {seconds: 1}", "is missing")
		}
	}
	if f, err := formula.Compile(r.Quota, nil); err == nil {
		if f.Boolean() {
			d.Invalid(at+".quota", "write a number", "%q is a condition, not a number", r.Quota)
		} else if v, err := f.Value(func(string) (float64, bool) { return 0, false }); err == nil && v < 0 {
			d.Invalid(at+".quota", "", "%q is negative", r.Quota)
		}
	}
}

func (c *converter) strategy(at string, a *api.Action, r *model.LimitRule) {
	d := c.d
	known := []string{"single", "average", "global"}
	if a.Strategy != "" {
		r.Strategy = model.LimitStrategy(a.Strategy)
		if !slices.Contains(known, a.Strategy) {
			d.Invalid(at+".strategy", document.Suggest(a.Strategy, known), "must be one of single, average, global, got %q", a.Strategy)
		}
	}
	name, isHeader := strings.CutPrefix(a.Per, "header:")
	switch {
	case a.Per == "":
	case a.Per != "source" && (!isHeader || name == "" || strings.ContainsAny(name, " :\r\n")):
		d.Invalid(at+".per", `write source, or "header:NAME"`, "%q names no client", a.Per)
	case r.Concurrency:
		d.Invalid(at+".per", "remove it", "concurrency is not counted by client")
	}
	r.Per = strings.ToLower(a.Per)
	if r.Concurrency && r.Strategy == model.LimitGlobal {
		d.Unsupported(at+".strategy", "use average", "global limits of concurrency are not carried out")
	}
}

func target(t *api.Target) *api.Target {
	if t == nil {
		return &api.Target{}
	}
	return t
}

func (c *converter) target(at string, x *api.Descriptor, r *model.LimitRule) {
	d, t, field := c.d, x.Target, at+".target"
	if t == nil {
		t, field = target(c.spec.Target), "spec.target"
	}
	switch t.Direction {
	case "", "inbound":
		if c.spec.Gateway && t.Direction == "inbound" {
			d.Invalid(field+".direction", "write outbound", "gateways have no inbound side")
		}
	case "outbound":
		r.Target.Outbound = true
	default:
		d.Invalid(field+".direction", document.Suggest(t.Direction, []string{"inbound", "outbound"}), "must be inbound or outbound, got %q", t.Direction)
	}
	r.Target.Outbound = r.Target.Outbound || c.spec.Gateway
	r.Target.Port = uint16(t.Port) //nolint:gosec // the shape bounds it
	for i, h := range t.Host {
		if h == "" || strings.ContainsAny(h, "/ ") {
			d.Invalid(document.At(field+".host", i), "", "%q is no host", h)
		}
		r.Target.Hosts = append(r.Target.Hosts, strings.ToLower(h))
	}
	for i, route := range t.Route {
		if host, name, ok := strings.Cut(route, "/"); !ok || host == "" || name == "" {
			d.Invalid(document.At(field+".route", i), "write host:port/name", "%q names no route", route)
		}
		r.Target.Routes = append(r.Target.Routes, route)
	}
	if r.Concurrency && (r.Target.Outbound || len(x.Match) > 0) {
		d.Unsupported(at+".action.concurrency", "leave match out, or use quota", "limits of concurrency hold for all inbound requests of a port")
	}
}

// match adds a test to the rules; a list of addresses makes several of each.
func (c *converter) match(at string, m *api.Match, rules []model.LimitRule) []model.LimitRule {
	d := c.d
	out := model.LimitMatch{Attr: c.source(at, m), Name: m.Name, Not: m.InvertMatch}
	if out.Attr == model.LimitHeaderAttr {
		out.Name = strings.ToLower(m.Name)
	}
	if out.Attr != model.LimitSourceAttr && (m.Name == "" || strings.ContainsAny(m.Name, " \r\n")) {
		d.Error(document.CodeMissing, at+".name", "name the header or the parameter", "is missing")
	}
	set := 0
	is := func(on bool, op model.LimitOp, value string) {
		if on {
			set++
			out.Op, out.Value = op, value
		}
	}
	is(m.ExactMatch != "" || m.IsExactMatchEmpty, model.LimitExact, m.ExactMatch)
	is(m.PrefixMatch != "", model.LimitPrefix, m.PrefixMatch)
	is(m.SuffixMatch != "", model.LimitSuffix, m.SuffixMatch)
	is(m.RegexMatch != "", model.LimitRegex, m.RegexMatch)
	is(m.PresentMatch, model.LimitPresent, "")
	is(m.PresentMatchSeparate, model.LimitEach, "")
	if m.RegexMatch != "" {
		d.Regex(at+".regex_match", m.RegexMatch)
	}
	switch {
	case set == 0:
		d.Error(document.CodeMissing, at, "write e.g. exact_match", "says nothing about the value")
	case set > 1:
		d.Invalid(at, "write one of them", "has more than one way to match")
	case out.Op == model.LimitEach && m.InvertMatch:
		d.Invalid(at+".invert_match", "remove it", "what is not there has no value to be counted by")
	}
	if out.Attr == model.LimitSourceAttr {
		return c.addresses(at, m, out, rules)
	}
	for i := range rules {
		rules[i].Matches = append(slices.Clip(rules[i].Matches), out)
	}
	return rules
}

func (c *converter) source(at string, m *api.Match) model.LimitAttr {
	name := "HeadMatch"
	switch v := m.MatchSource.(type) {
	case nil:
	case string:
		name = v
	case float64:
		names := []string{"HeadMatch", "QueryMatch", "JsonBodyMatch", "SourceIpMatch"}
		if v < 0 || v != float64(int(v)) || int(v) >= len(names) {
			c.d.Invalid(at+".matchSource", "", "must be 0 to 3, got %v", v)
			return model.LimitHeaderAttr
		}
		name = names[int(v)]
	default:
		name = ""
	}
	switch name {
	case "HeadMatch":
		if m.UseQueryMatch {
			return model.LimitQueryAttr
		}
		return model.LimitHeaderAttr
	case "QueryMatch":
		return model.LimitQueryAttr
	case "SourceIpMatch":
		return model.LimitSourceAttr
	case "JsonBodyMatch":
		c.d.Unsupported(at+".matchSource", "match a header", "bodies are not looked into")
	default:
		known := []string{"HeadMatch", "QueryMatch", "JsonBodyMatch", "SourceIpMatch"}
		c.d.Invalid(at+".matchSource", document.Suggest(name, known), "must be one of %s", strings.Join(known, ", "))
	}
	return model.LimitHeaderAttr
}

// addresses makes a rule of each address of a list; each has a quota of its own, as in Slime.
func (c *converter) addresses(at string, m *api.Match, out model.LimitMatch, rules []model.LimitRule) []model.LimitRule {
	switch out.Op {
	case model.LimitEach, model.LimitPresent:
		for i := range rules {
			rules[i].Matches = append(slices.Clip(rules[i].Matches), model.LimitMatch{Attr: model.LimitSourceAttr, Op: model.LimitEach})
		}
		return rules
	case model.LimitExact:
	default:
		c.d.Invalid(at, "write exact_match: a list of addresses and prefixes, with commas", "addresses are compared as a whole")
		return rules
	}
	if m.InvertMatch { // none of them
		for _, a := range strings.Split(m.ExactMatch, ",") {
			one := *m
			one.ExactMatch, one.InvertMatch = a, false
			apart := c.addresses(at, &one, out, rules)
			for i := range apart {
				apart[i].Matches[len(apart[i].Matches)-1].Not = true
			}
			rules = apart
		}
		return rules
	}
	var all []model.LimitRule
	for _, a := range strings.Split(m.ExactMatch, ",") {
		a = strings.TrimSpace(a)
		if _, err := netip.ParseAddr(a); err != nil {
			if _, err := netip.ParsePrefix(a); err != nil {
				c.d.Invalid(at+".exact_match", "", "%q is neither an address nor a prefix", a)
			}
		}
		for _, r := range rules {
			r.Matches = append(slices.Clip(r.Matches), model.LimitMatch{Attr: model.LimitSourceAttr, Op: model.LimitExact, Value: a})
			all = append(all, r)
		}
	}
	return all
}
