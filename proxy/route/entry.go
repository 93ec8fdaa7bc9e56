package route

import (
	"math/bits"
	"regexp"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
)

// Kind of an Entry.
type Kind uint8

// Kinds.
const (
	Forwards Kind = iota
	Redirects
	Answers
)

// Entry is a compiled route. It is immutable.
type Entry struct {
	match matcher
	kind  Kind
	route *Route
	vhost *VirtualHost

	base          option
	choices       []option // weighted clusters
	live          bool     // their weights may change
	clusterHeader string

	path      pathRewrite
	hostRegex *regexRewrite
	redirect  redirect
	retry     *Retry
	mirrors   []Mirror
	hash      []hashPolicy
}

// option is what depends on the chosen weighted cluster, all levels merged.
type option struct {
	cluster, subset   string
	header            string // names the cluster when cluster is empty
	upTo              uint64 // sum of the weights up to this one
	host              string
	request, response []headerOps // in the order of application
	filters           filterConfig
}

// Kind tells what to do with the request.
func (e *Entry) Kind() Kind { return e.kind }

// Name of the route (%ROUTE_NAME%).
func (e *Entry) Name() string { return e.route.Name }

// VirtualHost that the route belongs to, as written; read only.
func (e *Entry) VirtualHost() *VirtualHost { return e.vhost }

// Route is the rule as written; read only.
func (e *Entry) Route() *Route { return e.route }

// Forward is the rule's action as written, nil unless Kind is Forwards.
func (e *Entry) Forward() *Forward { return e.route.Forward }

// Direct is nil unless Kind is Answers.
func (e *Entry) Direct() *Direct { return e.route.Direct }

// Retry is the route's policy or the virtual host's, nil: none.
func (e *Entry) Retry() *Retry { return e.retry }

// Hedges tells whether an attempt whose time is over goes on beside the next one.
func (e *Entry) Hedges() bool {
	h := e.route.Forward.Hedge
	if h == nil {
		h = e.vhost.Hedge
	}
	return h != nil && h.OnTryTimeout
}

// Mirrors are the route's, the virtual host's or the configuration's.
func (e *Entry) Mirrors() []Mirror { return e.mirrors }

// Target is the cluster that was chosen for a request.
type Target struct {
	Cluster string
	// Subset is a filter.SubsetKey, "" for none.
	Subset string
	choice *option
}

// Target chooses the cluster. Cluster is empty when a cluster header is missing.
func (e *Entry) Target(h *filter.Headers, random uint64) Target {
	c := &e.base
	if len(e.choices) > 0 {
		c = e.choose(e.luck(h, random))
		if c.header != "" {
			return Target{Cluster: h.Get(c.header), Subset: c.subset, choice: c}
		}
	} else if e.clusterHeader != "" {
		return Target{Cluster: h.Get(e.clusterHeader), Subset: c.subset, choice: c}
	}
	return Target{Cluster: c.cluster, Subset: c.subset, choice: c}
}

// luck is a number of 64 bits that chooses the weighted cluster. A header's is
// taken modulo the sum of the weights, as Envoy takes it. The random number is
// mixed, so that the share does not depend on the fraction that the same number passed.
func (e *Entry) luck(h *filter.Headers, random uint64) (n, total uint64) {
	total = e.choices[len(e.choices)-1].upTo
	if e.live {
		total = e.liveTotal()
	}
	if total == 0 {
		return 0, 0
	}
	f := e.route.Forward
	if f.WeightHeader != "" {
		if v, err := strconv.ParseUint(h.Get(f.WeightHeader), 10, 64); err == nil {
			return v % total, total
		}
	}
	n, _ = bits.Mul64(mix(random), total)
	return n, total
}

func (e *Entry) liveTotal() (total uint64) {
	for i := range e.route.Forward.Weighted {
		total += e.liveWeight(i)
	}
	return total
}

func (e *Entry) liveWeight(i int) uint64 {
	w := &e.route.Forward.Weighted[i]
	return w.Live.Integer(uint64(w.Weight))
}

// choose takes the weighted cluster that n, below the sum of the weights, falls into.
func (e *Entry) choose(n, total uint64) *option {
	last := len(e.choices) - 1
	if e.live && total > 0 {
		for i := range last {
			w := e.liveWeight(i)
			if n < w {
				return &e.choices[i]
			}
			n -= w
		}
		return &e.choices[last]
	}
	for i := range last {
		if n < e.choices[i].upTo {
			return &e.choices[i]
		}
	}
	return &e.choices[last]
}

// mix is the finaliser of splitmix64: a bijection whose output bits all depend
// on all input bits.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// of returns the choice that t stands for.
func (e *Entry) of(t Target) *option {
	if t.choice != nil {
		return t.choice
	}
	return &e.base
}

// FilterConfig returns the most specific configuration of a filter, nil: none.
// t may be the zero Target when none has been chosen yet.
func (e *Entry) FilterConfig(t Target, name string) any { return e.of(t).filters.most[name] }

// FilterConfigs returns those of all levels, from the least specific to the most.
func (e *Entry) FilterConfigs(t Target, name string) []any { return e.of(t).filters.levels[name] }

// FilterDisabled tells whether the most specific level that speaks of a filter
// switches it off; said: one does. A nil Entry says nothing.
func (e *Entry) FilterDisabled(t Target, name string) (off, said bool) {
	if e == nil {
		return false, false
	}
	c := e.of(t)
	if c.filters.off == nil {
		return false, false
	}
	off, said = c.filters.off[name]
	return off, said
}

// RewriteRequest applies the header operations, then rewrites authority and
// path. h is info.Request. info.OriginalPath and x-envoy-original-path are set
// when the path changes.
func (e *Entry) RewriteRequest(t Target, h *filter.Headers, info *filter.Info) {
	c := e.of(t)
	for i := range c.request {
		c.request[i].apply(h, info)
	}
	if f := e.route.Forward; f != nil {
		e.rewriteHost(c, &f.Host, h)
		e.path.apply(h, info)
	}
}

// RewriteResponse applies the header operations of the way back. h is info.Response.
func (e *Entry) RewriteResponse(t Target, h *filter.Headers, info *filter.Info) {
	c := e.of(t)
	for i := range c.response {
		c.response[i].apply(h, info)
	}
}

// Redirect returns status and location; Kind is Redirects. The location lies in h's memory.
func (e *Entry) Redirect(h *filter.Headers) (status int, location string) {
	return e.redirect.status, e.redirect.location(h)
}

// Upgrade tells what the route says about an upgrade token: nil when nothing.
func (e *Entry) Upgrade(token string) *Upgrade {
	f := e.route.Forward
	if f == nil {
		return nil
	}
	for i := range f.Upgrades {
		if equalFold(f.Upgrades[i].Type, token) {
			return &f.Upgrades[i]
		}
	}
	return nil
}

// Chosen tells whether a request with that random number is mirrored.
func (m *Mirror) Chosen(random uint64) bool {
	// Mixed apart from Entry.choose, so that mirrors and weights are independent.
	return m.Fraction.chosen(mix(^random))
}

// Target is the mirror's cluster, "" when its header is missing.
func (m *Mirror) Target(h *filter.Headers) string {
	if m.Cluster != "" {
		return m.Cluster
	}
	return h.Get(strings.ToLower(m.ClusterHeader))
}

// regexRewrite is a compiled RegexRewrite.
type regexRewrite struct {
	re *regexp.Regexp
	to string // in Go's syntax
}
