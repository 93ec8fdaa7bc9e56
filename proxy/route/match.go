package route

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
)

// fullRegexp compiles a pattern that must match a whole string, as everywhere
// in Envoy's matchers.
func fullRegexp(pattern string) (*regexp.Regexp, error) {
	re, err := regexp.Compile(`^(?:` + pattern + `)$`)
	if err != nil {
		// Say what is wrong with what the user wrote, not with our wrapping.
		if _, own := regexp.Compile(pattern); own != nil {
			err = own
		}
		return nil, fmt.Errorf("regex %q: %w (RE2 syntax)", pattern, err)
	}
	return re, nil
}

// stringMatcher is a compiled StringMatch.
type stringMatcher struct {
	kind  StringKind
	value string
	fold  bool
	re    *regexp.Regexp
}

func compileString(m *StringMatch) (stringMatcher, error) {
	c := stringMatcher{kind: m.Kind, value: m.Value, fold: m.IgnoreCase}
	switch m.Kind {
	case StringExact:
	case StringPrefix, StringSuffix, StringContains:
		if m.Value == "" {
			return c, fmt.Errorf("an empty prefix, suffix or contained string matches everything; use a presence match")
		}
	case StringRegex:
		if m.IgnoreCase {
			return c, fmt.Errorf("regex %q: ignoring case is done with (?i)", m.Value)
		}
		var err error
		c.re, err = fullRegexp(m.Value)
		return c, err
	default:
		return c, fmt.Errorf("string match kind %d is not known", m.Kind)
	}
	return c, nil
}

func (m *stringMatcher) matches(s string) bool {
	switch m.kind {
	case StringExact:
		return m.equal(s)
	case StringPrefix:
		return len(s) >= len(m.value) && m.equal(s[:len(m.value)])
	case StringSuffix:
		return len(s) >= len(m.value) && m.equal(s[len(s)-len(m.value):])
	case StringContains:
		if !m.fold {
			return strings.Contains(s, m.value)
		}
		for i := 0; i+len(m.value) <= len(s); i++ {
			if equalFold(s[i:i+len(m.value)], m.value) {
				return true
			}
		}
		return false
	default:
		return m.re.MatchString(s)
	}
}

func (m *stringMatcher) equal(s string) bool {
	if m.fold {
		return equalFold(s, m.value)
	}
	return s == m.value
}

// equalFold ignores the case of ASCII letters only: strings.EqualFold would
// take the Kelvin sign for a k.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// headerMatcher is a compiled HeaderMatch.
type headerMatcher struct {
	name           string
	value          *stringMatcher
	bounds         *Range
	absent, invert bool
	missingAsEmpty bool
}

func compileHeader(m *HeaderMatch) (headerMatcher, error) {
	c := headerMatcher{
		name: strings.ToLower(m.Name), bounds: m.Range,
		absent: m.Absent, invert: m.Invert, missingAsEmpty: m.MissingAsEmpty,
	}
	switch {
	case c.name == "":
		return c, fmt.Errorf("header match without a name")
	case c.name == "host":
		c.name = ":authority"
	}
	if m.Value != nil && m.Range != nil {
		return c, fmt.Errorf("header %q: a value and a range at once", m.Name)
	}
	if m.Value != nil {
		s, err := compileString(m.Value)
		if err != nil {
			return c, fmt.Errorf("header %q: %w", m.Name, err)
		}
		c.value = &s
	}
	return c, nil
}

func compileHeaders(ms []HeaderMatch) ([]headerMatcher, error) {
	out := make([]headerMatcher, 0, len(ms))
	for i := range ms {
		c, err := compileHeader(&ms[i])
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func (m *headerMatcher) matches(h *filter.Headers) bool {
	if m.value == nil && m.bounds == nil {
		return h.Has(m.name) != m.absent != m.invert
	}
	v, ok := h.Lookup(m.name)
	if !ok && !m.missingAsEmpty {
		return false
	}
	return (m.fits(v) || ok && m.name[0] != ':' && m.another(h)) != m.invert
}

// another tells whether some line of that name fits: each is looked at by itself.
func (m *headerMatcher) another(h *filter.Headers) bool {
	for i := range h.Len() {
		if f := h.At(i); f.Name == m.name && m.fits(f.Value) {
			return true
		}
	}
	return false
}

func (m *headerMatcher) fits(v string) bool {
	if m.value != nil {
		return m.value.matches(v)
	}
	n, err := strconv.ParseInt(v, 10, 64)
	return err == nil && m.bounds.Start <= n && n < m.bounds.End
}

func anyHeader(ms []headerMatcher, h *filter.Headers) bool {
	return slices.ContainsFunc(ms, func(m headerMatcher) bool { return m.matches(h) })
}

// queryMatcher is a compiled QueryMatch.
type queryMatcher struct {
	name   string
	value  *stringMatcher
	absent bool
}

func compileQuery(ms []QueryMatch) ([]queryMatcher, error) {
	out := make([]queryMatcher, 0, len(ms))
	for _, m := range ms {
		c := queryMatcher{name: m.Name, absent: m.Absent}
		if m.Name == "" {
			return nil, fmt.Errorf("query parameter match without a name")
		}
		if m.Value != nil {
			s, err := compileString(m.Value)
			if err != nil {
				return nil, fmt.Errorf("query parameter %q: %w", m.Name, err)
			}
			c.value = &s
		}
		out = append(out, c)
	}
	return out, nil
}

func (m *queryMatcher) matches(path string) bool {
	v, ok := queryValue(path, m.name)
	if m.value == nil {
		return ok != m.absent
	}
	return ok && m.value.matches(v)
}

// queryValue returns the first value of a query parameter, as written.
func queryValue(path, name string) (string, bool) {
	_, q, ok := strings.Cut(path, "?")
	q, _, _ = strings.Cut(q, "#")
	for ok && q != "" {
		var pair string
		pair, q, _ = strings.Cut(q, "&")
		k, v, _ := strings.Cut(pair, "=")
		if k == name {
			return v, true
		}
	}
	return "", false
}

// pathOnly cuts query and fragment off.
func pathOnly(path string) string {
	for i := range len(path) {
		if path[i] == '?' || path[i] == '#' {
			return path[:i]
		}
	}
	return path
}

// matcher is a compiled Match.
type matcher struct {
	kind      PathKind
	path      stringMatcher
	headers   []headerMatcher
	template  *template
	query     []queryMatcher
	cookies   []cookieMatcher
	metadata  []metadataMatcher
	states    []stateMatcher
	fraction  *Fraction
	grpc      bool
	presented *bool
	validated *bool
}

func compileMatch(m *Match) (c matcher, err error) {
	c = matcher{
		kind: m.PathKind, fraction: m.Fraction, grpc: m.GRPC,
		presented: m.ClientCert, validated: m.ClientCertValid,
		path: stringMatcher{value: m.Path, fold: m.IgnoreCase},
	}
	switch m.PathKind {
	case PathPrefix:
		c.path.kind = StringPrefix
	case PathExact, Connect:
		c.path.kind = StringExact
	case PathSeparatedPrefix:
		c.path.kind = StringPrefix
		if !strings.HasPrefix(m.Path, "/") || strings.HasSuffix(m.Path, "/") {
			return c, fmt.Errorf("path separated prefix %q must begin and not end with a slash", m.Path)
		}
	case PathRegex:
		if c.path, err = compileString(&StringMatch{Kind: StringRegex, Value: m.Path, IgnoreCase: m.IgnoreCase}); err != nil {
			return c, fmt.Errorf("path: %w", err)
		}
	case PathTemplate:
		if c.template, err = parseTemplate(m.Path); err != nil {
			return c, err
		}
	default:
		return c, fmt.Errorf("path kind %d is not known", m.PathKind)
	}
	if err := m.Fraction.check(); err != nil {
		return c, err
	}
	if c.headers, err = compileHeaders(m.Headers); err != nil {
		return c, err
	}
	if c.query, err = compileQuery(m.Query); err != nil {
		return c, err
	}
	if c.cookies, err = compileCookies(m.Cookies); err != nil {
		return c, err
	}
	if c.metadata, err = compileMetadata(m.Metadata); err != nil {
		return c, err
	}
	c.states, err = compileStates(m.State)
	return c, err
}

// matches tells whether the request fits; path is its path without query.
func (m *matcher) matches(h *filter.Headers, path string, r *Req) bool {
	if !m.matchesPath(h, path) || m.grpc && !isGRPC(h) || !m.fraction.chosen(r.Random) {
		return false
	}
	for i := range m.headers {
		if !m.headers[i].matches(h) {
			return false
		}
	}
	for i := range m.query {
		if !m.query[i].matches(h.Path) {
			return false
		}
	}
	return m.matchesCert(r) && m.matchesState(h, r)
}

func (m *matcher) matchesPath(h *filter.Headers, path string) bool {
	if m.kind == Connect {
		return h.Method == "CONNECT"
	}
	if path == "" {
		return false // a CONNECT request, which needs a route that says so
	}
	if m.template != nil {
		return m.template.re.MatchString(path)
	}
	if !m.path.matches(path) {
		return false
	}
	n := len(m.path.value)
	return m.kind != PathSeparatedPrefix || len(path) == n || path[n] == '/'
}

func (m *matcher) matchesCert(r *Req) bool {
	if m.presented == nil && m.validated == nil {
		return true
	}
	presented, validated := false, false
	if c := r.Conn; c != nil && c.TLS != nil {
		presented = len(c.TLS.PeerCertificates) > 0
		validated = presented && (len(c.TLS.VerifiedChains) > 0 || c.PeerURI != "")
	}
	return (m.presented == nil || *m.presented == presented) && (m.validated == nil || *m.validated == validated)
}

// isGRPC tells a gRPC request by its content type.
func isGRPC(h *filter.Headers) bool {
	rest, ok := strings.CutPrefix(h.Get("content-type"), "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

func (f *Fraction) check() error {
	if f == nil {
		return nil
	}
	switch f.Denominator {
	case 100, 10_000, 1_000_000:
		return nil
	}
	return fmt.Errorf("the denominator of a fraction must be 100, 10000 or 1000000, not %d", f.Denominator)
}

// chosen tells whether a request with that random number is in the fraction.
func (f *Fraction) chosen(random uint64) bool {
	if f == nil {
		return true
	}
	n, d := f.Numerator, f.Denominator
	if v := f.Key.Load(); v != nil {
		switch {
		case v.Denominator != 0:
			n, d = v.Numerator, v.Denominator
		case v.IsInteger && v.Integer > 100:
			return true
		case v.IsInteger:
			n, d = uint32(v.Integer), 100
		}
	}
	return random%uint64(d) < uint64(n)
}
