package route

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/format"
)

// Table is a compiled route configuration.
type Table struct {
	name   string
	exact  map[string]*Host
	suffix []wildcards // longest first
	prefix []wildcards
	any    *Host

	ignorePort bool
	demand     bool
}

// Host is a compiled virtual host. It may be in many tables.
type Host struct {
	spec    *VirtualHost
	entries []Entry
	toHTTPS *Entry  // nil: TLS is not required
	tree    *chosen // instead of entries; nil: none
	// touched, when set, notes that a request was for this host.
	touched *atomic.Bool
}

// wildcards are the wildcard domains of one length, by what is fixed in them.
type wildcards struct {
	length int
	hosts  map[string]*Host
}

// Options hold what formats may refer to.
type Options struct {
	// Hostname is %HOSTNAME%.
	Hostname string
	// Env looks %ENVIRONMENT(X)% up; nil: empty.
	Env func(string) string
}

// Demand tells whether the table takes further hosts on demand.
func (t *Table) Demand() bool { return t.demand }

// Knows tells whether the table has a virtual host for an authority, one for
// all ("*") not counted.
func (t *Table) Knows(authority string) bool {
	h := t.host(authority)
	return h != nil && h != t.any
}

// CompileHost compiles a virtual host that comes after its route configuration
// s, of whose virtual hosts nothing is read. It keeps both.
func CompileHost(s *Spec, v *VirtualHost, o Options) (*Host, error) {
	c := compiler{spec: s, format: format.Options{Hostname: o.Hostname, Env: o.Env}}
	h, err := c.virtualHost(v)
	if err != nil {
		return nil, fmt.Errorf("virtual host %q: %w", v.Name, err)
	}
	h.touched = &atomic.Bool{}
	return h, nil
}

// Touched tells whether a request was for this host since the last call.
func (h *Host) Touched() bool { return h.touched != nil && h.touched.Swap(false) }

// With returns a table that has some hosts more and others no longer. t stays
// as it is. An error is one of a domain that two hosts claim.
func (t *Table) With(add, drop []*Host) (*Table, error) {
	n := &Table{name: t.name, ignorePort: t.ignorePort, demand: t.demand, any: t.any, exact: maps.Clone(t.exact)}
	n.suffix, n.prefix = cloneWildcards(t.suffix), cloneWildcards(t.prefix)
	for _, h := range drop {
		for _, d := range h.spec.Domains {
			n.dropDomain(d, h)
		}
	}
	for _, h := range add {
		for _, d := range h.spec.Domains {
			if err := n.addDomain(d, h); err != nil {
				return nil, fmt.Errorf("virtual host %q: %w", h.spec.Name, err)
			}
		}
	}
	n.sort()
	return n, nil
}

func cloneWildcards(ws []wildcards) []wildcards {
	out := make([]wildcards, len(ws))
	for i, w := range ws {
		out[i] = wildcards{w.length, maps.Clone(w.hosts)}
	}
	return out
}

// dropDomain undoes addDomain.
func (t *Table) dropDomain(domain string, h *Host) {
	d := strings.ToLower(domain)
	switch {
	case d == "*":
		if t.any == h {
			t.any = nil
		}
	case strings.HasPrefix(d, "*"):
		dropWildcard(t.suffix, d[1:], h)
	case strings.HasSuffix(d, "*"):
		dropWildcard(t.prefix, d[:len(d)-1], h)
	case t.exact[d] == h:
		delete(t.exact, d)
	}
}

func dropWildcard(ws []wildcards, fixed string, h *Host) {
	for _, w := range ws {
		if w.length == len(fixed) && w.hosts[fixed] == h {
			delete(w.hosts, fixed)
		}
	}
}

// sort puts the longest wildcards first.
func (t *Table) sort() {
	longestFirst := func(a, b wildcards) int { return cmp.Compare(b.length, a.length) }
	slices.SortFunc(t.suffix, longestFirst)
	slices.SortFunc(t.prefix, longestFirst)
}

// Compile checks s and compiles it. It keeps s, which must not change later.
// Errors name the virtual host, the route and the field.
func Compile(s *Spec, o Options) (*Table, error) {
	c := compiler{spec: s, format: format.Options{Hostname: o.Hostname, Env: o.Env}}
	t := &Table{name: s.Name, exact: map[string]*Host{}, ignorePort: s.IgnorePort, demand: s.Demand}
	for i := range s.VirtualHosts {
		v := &s.VirtualHosts[i]
		h, err := c.virtualHost(v)
		if err != nil {
			return nil, fmt.Errorf("route configuration %q: virtual host %q: %w", s.Name, v.Name, err)
		}
		for _, d := range v.Domains {
			if err := t.addDomain(d, h); err != nil {
				return nil, fmt.Errorf("route configuration %q: virtual host %q: %w", s.Name, v.Name, err)
			}
		}
	}
	t.sort()
	return t, nil
}

// addDomain makes a domain lead to h.
func (t *Table) addDomain(domain string, h *Host) error {
	d := strings.ToLower(domain)
	if stars := strings.Count(d, "*"); stars > 1 || stars == 1 && d[0] != '*' && d[len(d)-1] != '*' {
		return fmt.Errorf("domain %q: one \"*\", at the beginning or the end, is allowed", domain)
	}
	var other *Host
	switch {
	case d == "":
		return fmt.Errorf("a domain is empty")
	case d == "*":
		other, t.any = t.any, h
	case strings.HasPrefix(d, "*"):
		other = addWildcard(&t.suffix, d[1:], h)
	case strings.HasSuffix(d, "*"):
		other = addWildcard(&t.prefix, d[:len(d)-1], h)
	default:
		other, t.exact[d] = t.exact[d], h
	}
	if other != nil {
		return fmt.Errorf("domain %q is also one of virtual host %q; domains must be unique", domain, other.spec.Name)
	}
	return nil
}

func addWildcard(ws *[]wildcards, fixed string, h *Host) (other *Host) {
	i := slices.IndexFunc(*ws, func(w wildcards) bool { return w.length == len(fixed) })
	if i < 0 {
		i = len(*ws)
		*ws = append(*ws, wildcards{len(fixed), map[string]*Host{}})
	}
	m := (*ws)[i].hosts
	other, m[fixed] = m[fixed], h
	return other
}

// Name of the route configuration.
func (t *Table) Name() string { return t.name }

// Req is what Find looks at beside the head.
type Req struct {
	// Random decides about fractions.
	Random uint64
	// Conn may be nil.
	Conn *filter.ConnInfo
	// Info may be nil: there is no dynamic metadata then.
	Info *filter.Info
}

// Find returns what the table says about the request, nil when nothing matches.
func (t *Table) Find(h *filter.Headers, r *Req) *Entry {
	v := t.host(h.Authority)
	if v == nil {
		return nil
	}
	if v.toHTTPS != nil && v.mustUpgrade(h) {
		return v.toHTTPS
	}
	if v.touched != nil && !v.touched.Load() {
		v.touched.Store(true)
	}
	path := pathOnly(h.Path)
	if v.tree != nil {
		return v.tree.find(h, path, r)
	}
	return first(v.entries, h, path, r)
}

// first is the first entry that matches.
func first(entries []Entry, h *filter.Headers, path string, r *Req) *Entry {
	for i := range entries {
		if e := &entries[i]; e.match.matches(h, path, r) {
			return e
		}
	}
	return nil
}

// mustUpgrade tells whether the request came without TLS although it is required.
func (v *Host) mustUpgrade(h *filter.Headers) bool {
	proto, ok := h.Lookup("x-forwarded-proto")
	if !ok {
		proto = h.Scheme
	}
	return proto != "https" && (v.spec.RequireTLS == TLSAll || h.Get("x-envoy-internal") != "true")
}

// host finds the virtual host of an authority: exact names first, then the
// longest suffix wildcard, the longest prefix wildcard, "*".
func (t *Table) host(authority string) *Host {
	if len(t.exact) == 0 && len(t.suffix) == 0 && len(t.prefix) == 0 {
		return t.any
	}
	if t.ignorePort {
		authority = withoutPort(authority)
	}
	authority = strings.ToLower(authority) // allocates for capitals only, which clients do not send
	if h := t.exact[authority]; h != nil {
		return h
	}
	for i := range t.suffix {
		if w := &t.suffix[i]; w.length < len(authority) {
			if h := w.hosts[authority[len(authority)-w.length:]]; h != nil {
				return h
			}
		}
	}
	for i := range t.prefix {
		if w := &t.prefix[i]; w.length < len(authority) {
			if h := w.hosts[authority[:w.length]]; h != nil {
				return h
			}
		}
	}
	return t.any
}

// withoutPort cuts ":port" off; IPv6 addresses are in brackets.
func withoutPort(authority string) string {
	i := strings.LastIndexByte(authority, ':')
	if i < 0 || strings.IndexByte(authority[i:], ']') >= 0 {
		return authority
	}
	return authority[:i]
}
