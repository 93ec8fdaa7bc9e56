package route

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
)

// Tree chooses routes by matching inputs (xds.type.matcher.v3.Matcher). Exactly
// one of List, Exact and Prefix is set.
type Tree struct {
	// List: the first rule that holds, and whose outcome has a route.
	List []TreeRule
	// Exact and Prefix look an input up; of prefixes the longest is tried first.
	Input         Input
	Exact, Prefix map[string]Outcome
	// NoMatch is for what nothing else has a route for; nil: none.
	NoMatch *Outcome
}

// TreeRule is a rule of a list.
type TreeRule struct {
	When Predicate
	Then Outcome
}

// Outcome is a Tree, or routes of which the first that matches is taken.
type Outcome struct {
	Tree   *Tree
	Routes []Route
}

// Each calls visit for all routes, those of a matcher included.
func (v *VirtualHost) Each(visit func(*Route)) {
	for i := range v.Routes {
		visit(&v.Routes[i])
	}
	v.Matcher.each(visit)
}

func (t *Tree) each(visit func(*Route)) {
	if t == nil {
		return
	}
	of := func(o *Outcome) {
		o.Tree.each(visit)
		for i := range o.Routes {
			visit(&o.Routes[i])
		}
	}
	for i := range t.List {
		of(&t.List[i].Then)
	}
	for _, m := range []map[string]Outcome{t.Exact, t.Prefix} {
		for _, o := range m {
			of(&o)
		}
	}
	if t.NoMatch != nil {
		of(t.NoMatch)
	}
}

// Predicate is a condition. Exactly one of And, Or, Not and Value is set.
type Predicate struct {
	And, Or []Predicate
	Not     *Predicate
	// Value tests an input; one that is absent fails.
	Value *StringMatch
	Input Input
}

// Input is what a tree looks at. Exactly one field is set.
type Input struct {
	// Header names a request header or pseudo header; several lines are joined by ",".
	Header string
	// Query names a query parameter.
	Query string
	// Filter and Path name a string of dynamic metadata.
	Filter string
	Path   []string
	// SourceIP, DestinationIP, DestinationPort and ServerName are the connection's.
	SourceIP, DestinationIP, DestinationPort, ServerName bool
	// State names a string of filter state.
	State string
}

// tree is a compiled Tree.
type tree struct {
	list          []treeRule
	input         *Input
	exact, prefix map[string]*outcome
	longest       int // length of the longest prefix
	noMatch       *outcome
}

type treeRule struct {
	when predicate
	then *outcome
}

type outcome struct {
	tree   *tree
	routes []Entry
}

type predicate struct {
	and, or []predicate
	not     *predicate
	value   stringMatcher
	input   *Input
}

// tree compiles t.
func (c *compiler) tree(t *Tree) (*tree, error) {
	out := &tree{}
	var err error
	if t.NoMatch != nil {
		if out.noMatch, err = c.outcome(t.NoMatch); err != nil {
			return nil, fmt.Errorf("no match: %w", err)
		}
	}
	for i := range t.List {
		r := treeRule{}
		if r.when, err = compilePredicate(&t.List[i].When); err != nil {
			return nil, fmt.Errorf("rule %d: %w", i, err)
		}
		if r.then, err = c.outcome(&t.List[i].Then); err != nil {
			return nil, fmt.Errorf("rule %d: %w", i, err)
		}
		out.list = append(out.list, r)
	}
	if t.Exact == nil && t.Prefix == nil {
		return out, nil
	}
	out.input = compileInput(t.Input)
	if out.exact, err = c.outcomes(t.Exact); err != nil {
		return nil, err
	}
	if out.prefix, err = c.outcomes(t.Prefix); err != nil {
		return nil, err
	}
	for k := range out.prefix {
		out.longest = max(out.longest, len(k))
	}
	return out, nil
}

func (c *compiler) outcomes(m map[string]Outcome) (map[string]*outcome, error) {
	if m == nil {
		return nil, nil
	}
	out := make(map[string]*outcome, len(m))
	for k, o := range m {
		compiled, err := c.outcome(&o)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", k, err)
		}
		out[k] = compiled
	}
	return out, nil
}

func (c *compiler) outcome(o *Outcome) (*outcome, error) {
	out := &outcome{}
	var err error
	if o.Tree != nil {
		out.tree, err = c.tree(o.Tree)
		return out, err
	}
	out.routes, err = c.routes(o.Routes)
	return out, err
}

func compilePredicate(p *Predicate) (out predicate, err error) {
	switch {
	case p.And != nil:
		out.and, err = compilePredicates(p.And)
	case p.Or != nil:
		out.or, err = compilePredicates(p.Or)
	case p.Not != nil:
		not, err := compilePredicate(p.Not)
		out.not = &not
		return out, err
	default:
		if out.value, err = compileString(p.Value); err != nil {
			return out, err
		}
		out.input = compileInput(p.Input)
	}
	return out, err
}

func compilePredicates(list []Predicate) ([]predicate, error) {
	out := make([]predicate, len(list))
	for i := range list {
		var err error
		if out[i], err = compilePredicate(&list[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func compileInput(in Input) *Input {
	in.Header = strings.ToLower(in.Header)
	if in.Header == "host" {
		in.Header = ":authority"
	}
	return &in
}

// find is the route that the tree chooses, nil: none.
func (t *tree) find(h *filter.Headers, path string, r *Req) *Entry {
	for i := range t.list {
		if t.list[i].when.holds(h, r) {
			if e := t.list[i].then.find(h, path, r); e != nil {
				return e
			}
		}
	}
	if t.input != nil {
		if e := t.lookUp(h, path, r); e != nil {
			return e
		}
	}
	return t.noMatch.find(h, path, r)
}

func (t *tree) lookUp(h *filter.Headers, path string, r *Req) *Entry {
	v, ok := t.input.of(h, r)
	if !ok {
		return nil
	}
	if t.exact != nil {
		return t.exact[v].find(h, path, r)
	}
	for n := min(t.longest, len(v)); n >= 0; n-- {
		if e := t.prefix[v[:n]].find(h, path, r); e != nil {
			return e
		}
	}
	return nil
}

func (o *outcome) find(h *filter.Headers, path string, r *Req) *Entry {
	switch {
	case o == nil:
		return nil
	case o.tree != nil:
		return o.tree.find(h, path, r)
	}
	return first(o.routes, h, path, r)
}

func (p *predicate) holds(h *filter.Headers, r *Req) bool {
	switch {
	case p.and != nil:
		for i := range p.and {
			if !p.and[i].holds(h, r) {
				return false
			}
		}
		return true
	case p.or != nil:
		return slices.ContainsFunc(p.or, func(o predicate) bool { return o.holds(h, r) })
	case p.not != nil:
		return !p.not.holds(h, r)
	}
	v, ok := p.input.of(h, r)
	return ok && p.value.matches(v)
}

// of reads the input of a request.
func (in *Input) of(h *filter.Headers, r *Req) (string, bool) {
	switch {
	case in.Header != "":
		return h.Joined(in.Header)
	case in.Query != "":
		return queryValue(h.Path, in.Query)
	case in.State != "":
		return r.state(in.State)
	case in.Filter != "":
		v, _ := metadataOf(r.Info, in.Filter, in.Path)
		s, ok := v.(string)
		return s, ok
	}
	return in.ofConn(r)
}

func (in *Input) ofConn(r *Req) (string, bool) {
	if r.Conn == nil {
		return "", false
	}
	switch {
	case in.ServerName:
		return r.Conn.SNI, r.Conn.SNI != ""
	case in.DestinationPort:
		return fmt.Sprint(r.Conn.Local.Port()), true
	case in.DestinationIP:
		return text(r.Conn.Local.Addr())
	}
	return text(r.Conn.Remote.Addr())
}

func text(a netip.Addr) (string, bool) { return a.String(), a.IsValid() }
