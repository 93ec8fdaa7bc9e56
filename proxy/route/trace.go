package route

import (
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
)

// Trace is how Find came to what it found: for people, not for requests.
type Trace struct {
	// Host is the virtual host of the request's authority, nil: there is none.
	Host *VirtualHost
	// Tried are the routes that were looked at, in order; all but the last one
	// have not matched.
	Tried []Tried
	// Found is what Find returns.
	Found *Entry
	// HTTPS: the request is sent to https, before any route is looked at.
	HTTPS bool
}

// Tried is a route that was looked at.
type Tried struct {
	Route *Route
	// Misses is the first test that the request does not pass; "": it matches.
	Misses string
}

// Trace does what Find does, with the same tests, and says how it went.
func (t *Table) Trace(h *filter.Headers, r *Req) (out Trace) {
	v := t.host(h.Authority)
	if v == nil {
		return out
	}
	out.Host = v.spec
	out.Found = t.Find(h, r)
	if v.toHTTPS != nil && out.Found == v.toHTTPS {
		out.HTTPS = true
		return out
	}
	if v.tree != nil {
		return out
	}
	path := pathOnly(h.Path)
	for i := range v.entries {
		e := &v.entries[i]
		misses := e.match.misses(h, path, r)
		out.Tried = append(out.Tried, Tried{e.route, misses})
		if misses == "" {
			break
		}
	}
	return out
}

// misses says which test the request does not pass first, in the order of matches;
// "" when it matches.
func (m *matcher) misses(h *filter.Headers, path string, r *Req) string {
	switch {
	case m.matches(h, path, r):
		return ""
	case !m.matchesPath(h, path):
		return m.missesPath(h, path)
	case m.grpc && !isGRPC(h):
		return "it is no gRPC request"
	case !m.fraction.chosen(r.Random):
		return "only a share of the requests matches"
	}
	for i := range m.headers {
		if !m.headers[i].matches(h) {
			return m.headers[i].misses(h)
		}
	}
	for i := range m.query {
		if !m.query[i].matches(h.Path) {
			return m.query[i].misses(h.Path)
		}
	}
	if !m.matchesCert(r) {
		return "the client's certificate is not as asked for"
	}
	return "cookies, metadata or filter state are not as asked for"
}

func (m *matcher) missesPath(h *filter.Headers, path string) string {
	switch {
	case m.kind == Connect:
		return "the method is " + h.Method + ", not CONNECT"
	case m.template != nil:
		return "path " + path + " does not fit the template"
	case m.kind == PathExact:
		return "path is " + path + ", not " + m.path.value
	case m.kind == PathRegex:
		return "path " + path + " does not match " + strings.TrimSuffix(strings.TrimPrefix(m.path.re.String(), "^(?:"), ")$")
	case m.kind == PathSeparatedPrefix:
		return "path " + path + " is neither " + m.path.value + " nor below it"
	}
	return "path " + path + " does not begin with " + m.path.value
}

func (m *headerMatcher) misses(h *filter.Headers) string {
	v, there := h.Lookup(m.name)
	name := "header " + m.name
	if m.name != "" && m.name[0] == ':' {
		name = m.name[1:]
	}
	not := "not "
	if m.invert {
		not = ""
	}
	switch {
	case m.value == nil && m.bounds == nil && there:
		return "there is a " + name
	case !there:
		return "there is no " + name
	case m.value == nil:
		return name + " is " + quoted(v) + ", " + not + "in the range"
	}
	return name + " is " + quoted(v) + ", " + not + m.value.asks()
}

func (m *queryMatcher) misses(path string) string {
	v, there := queryValue(path, m.name)
	switch {
	case m.value == nil && there:
		return "there is a query parameter " + m.name
	case !there:
		return "there is no query parameter " + m.name
	}
	return "query parameter " + m.name + " is " + quoted(v) + ", not " + m.value.asks()
}

// asks is what a matcher of strings wants, in words.
func (m *stringMatcher) asks() string {
	switch m.kind {
	case StringPrefix:
		return quoted(m.value) + " and what follows"
	case StringSuffix:
		return "what ends in " + quoted(m.value)
	case StringContains:
		return "what has " + quoted(m.value) + " in it"
	case StringRegex:
		return "what matches " + strings.TrimSuffix(strings.TrimPrefix(m.re.String(), "^(?:"), ")$")
	}
	return quoted(m.value)
}

func quoted(s string) string { return `"` + s + `"` }
