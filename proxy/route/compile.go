package route

import (
	"fmt"
	"maps"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/format"
)

// compiler carries what all levels need while a Spec is compiled.
type compiler struct {
	spec   *Spec
	format format.Options

	// Of the virtual host at hand.
	vhost       *VirtualHost
	filters     filterConfig // laid over those of the configuration
	table, host levelOps
}

// levelOps are the header operations of one level, both ways.
type levelOps struct{ request, response headerOps }

func (c *compiler) level(request, response *HeaderOps) (l levelOps, err error) {
	if l.request, err = compileOps(request, c.format); err != nil {
		return l, fmt.Errorf("request headers: %w", err)
	}
	if l.response, err = compileOps(response, c.format); err != nil {
		return l, fmt.Errorf("response headers: %w", err)
	}
	return l, nil
}

func (c *compiler) virtualHost(v *VirtualHost) (*Host, error) {
	var err error
	if c.table, err = c.level(&c.spec.RequestHeaders, &c.spec.ResponseHeaders); err != nil {
		return nil, err
	}
	if c.host, err = c.level(&v.RequestHeaders, &v.ResponseHeaders); err != nil {
		return nil, err
	}
	if err := checkMirrors(c.spec.Mirrors); err != nil {
		return nil, err
	}
	if err := checkMirrors(v.Mirrors); err != nil {
		return nil, err
	}
	c.vhost, c.filters = v, filterConfig{}.under(c.spec.FilterConfig, c.spec.FilterOff).under(v.FilterConfig, v.FilterOff)
	h := &Host{spec: v}
	if h.entries, err = c.routes(v.Routes); err != nil {
		return nil, err
	}
	if v.Matcher != nil {
		if len(v.Routes) > 0 {
			return nil, fmt.Errorf("both routes and a matcher")
		}
		if h.tree, err = c.choice(v.Matcher); err != nil {
			return nil, fmt.Errorf("matcher: %w", err)
		}
	}
	if v.RequireTLS != TLSNone {
		h.toHTTPS = &Entry{}
		if err := c.route(&Route{Redirect: &Redirect{HTTPS: true}}, h.toHTTPS); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// routes compiles a list.
func (c *compiler) routes(list []Route) ([]Entry, error) {
	out := make([]Entry, len(list))
	for i := range list {
		if err := c.route(&list[i], &out[i]); err != nil {
			return nil, fmt.Errorf("route %d %q: %w", i, list[i].Name, err)
		}
	}
	return out, nil
}

// route compiles r into e.
func (c *compiler) route(r *Route, e *Entry) error {
	var err error
	e.route, e.vhost = r, c.vhost
	if e.match, err = compileMatch(&r.Match); err != nil {
		return fmt.Errorf("match: %w", err)
	}
	own, err := c.level(&r.RequestHeaders, &r.ResponseHeaders)
	if err != nil {
		return err
	}
	e.base.filters = c.filters.under(r.FilterConfig, r.FilterOff)
	c.order(&e.base, own)
	actions := 0
	if r.Forward != nil {
		actions++
		e.kind = Forwards
		if err := c.forward(r.Forward, own, e); err != nil {
			return err
		}
	}
	if r.Redirect != nil {
		actions++
		e.kind = Redirects
		if err := e.redirect.compile(r.Redirect, &r.Match); err != nil {
			return fmt.Errorf("redirect: %w", err)
		}
	}
	if r.Direct != nil {
		actions++
		e.kind = Answers
		if s := r.Direct.Status; s < 200 || s > 599 {
			return fmt.Errorf("direct response: status %d is not from 200 to 599", s)
		}
	}
	if actions != 1 {
		return fmt.Errorf("%d actions; a route has exactly one of forward, redirect and direct response", actions)
	}
	return nil
}

// order lists the operations of all levels in the order in which they are done.
func (c *compiler) order(to *option, levels ...levelOps) {
	levels = append(levels, c.host, c.table) // from the most to the least specific
	for i := range levels {
		l := levels[i]
		if c.spec.MostSpecificWins {
			l = levels[len(levels)-1-i]
		}
		if !l.request.empty() {
			to.request = append(to.request, l.request)
		}
		if !l.response.empty() {
			to.response = append(to.response, l.response)
		}
	}
}

func (c *compiler) forward(f *Forward, own levelOps, e *Entry) error {
	var err error
	if err := c.targets(f, own, e); err != nil {
		return err
	}
	if e.path, err = compilePath(f.PrefixRewrite, f.RegexRewrite, e.route); err != nil {
		return err
	}
	if f.TemplateRewrite != "" {
		if e.path.active {
			return fmt.Errorf("a template rewrite and another one at once")
		}
		e.path.active = true
		if e.path.by, err = compileTemplateRewrite(f.TemplateRewrite, e.match.template); err != nil {
			return err
		}
	}
	if e.hostRegex, err = compileHost(&f.Host); err != nil {
		return err
	}
	policy := f.Retry
	if policy == nil {
		policy = c.vhost.Retry
	}
	if policy != nil {
		if e.retry, err = compileRetry(policy); err != nil {
			return fmt.Errorf("retry policy: %w", err)
		}
	}
	e.mirrors = f.Mirrors
	if e.mirrors == nil {
		e.mirrors = c.vhost.Mirrors
	}
	if e.mirrors == nil {
		e.mirrors = c.spec.Mirrors
	}
	if err := checkMirrors(f.Mirrors); err != nil {
		return err
	}
	for i := range f.Hash {
		p, err := compileHash(&f.Hash[i])
		if err != nil {
			return fmt.Errorf("hash policy %d: %w", i, err)
		}
		e.hash = append(e.hash, p)
	}
	if f.GRPCTimeoutOffset < 0 || f.Timeout < 0 {
		return fmt.Errorf("timeouts must not be negative")
	}
	return nil
}

// targets compiles the choice of the cluster.
func (c *compiler) targets(f *Forward, own levelOps, e *Entry) error {
	kinds := 0
	if f.Cluster != "" {
		kinds++
		e.base.cluster = f.Cluster
	}
	e.base.subset = filter.SubsetKey(f.Subset)
	if f.ClusterHeader != "" {
		kinds++
		e.clusterHeader = strings.ToLower(f.ClusterHeader)
	}
	if len(f.Weighted) > 0 {
		kinds++
	}
	if kinds != 1 {
		return fmt.Errorf("forward: exactly one of cluster, cluster header and weighted clusters must be set, not %d", kinds)
	}
	var total uint64
	for i := range f.Weighted {
		w := &f.Weighted[i]
		if (w.Cluster == "") == (w.ClusterHeader == "") {
			return fmt.Errorf("weighted cluster %d: exactly one of name and cluster header must be set", i)
		}
		most, err := c.level(&w.RequestHeaders, &w.ResponseHeaders)
		if err != nil {
			return fmt.Errorf("weighted cluster %q: %w", w.Cluster, err)
		}
		total += uint64(w.Weight)
		ch := option{
			cluster: w.Cluster, header: strings.ToLower(w.ClusterHeader), upTo: total, host: w.HostRewrite,
			subset:  filter.SubsetKey(merged(f.Subset, w.Subset)),
			filters: e.base.filters.under(w.FilterConfig, w.FilterOff),
		}
		e.live = e.live || w.Live != nil
		c.order(&ch, most, own)
		e.choices = append(e.choices, ch)
	}
	if len(f.Weighted) > 0 && (total == 0 || total > 1<<32-1) {
		return fmt.Errorf("the weights of the clusters add up to %d; the sum must be from 1 to 4294967295", total)
	}
	return nil
}

func checkMirrors(ms []Mirror) error {
	for i := range ms {
		if (ms[i].Cluster == "") == (ms[i].ClusterHeader == "") {
			return fmt.Errorf("mirror %d: exactly one of cluster and cluster header must be set", i)
		}
		if err := ms[i].Fraction.check(); err != nil {
			return fmt.Errorf("mirror %d: %w", i, err)
		}
	}
	return nil
}

// filterConfig is the configuration of filters, all levels together. It is immutable.
type filterConfig struct {
	most   map[string]any   // the most specific
	levels map[string][]any // all, the least specific first
	off    map[string]bool
}

// under lays a more specific level over f.
func (f filterConfig) under(config map[string]any, off map[string]bool) filterConfig {
	out := filterConfig{merged(f.most, config), f.levels, merged(f.off, off)}
	if len(config) > 0 {
		out.levels = make(map[string][]any, len(out.most))
		maps.Copy(out.levels, f.levels)
		for name, c := range config {
			all := out.levels[name]
			out.levels[name] = append(all[:len(all):len(all)], c)
		}
	}
	return out
}

// merged lays b over a; the result is shared where one of them is empty.
func merged[V any](a, b map[string]V) map[string]V {
	if len(b) == 0 {
		return a
	}
	if len(a) == 0 {
		return b
	}
	m := maps.Clone(a)
	maps.Copy(m, b)
	return m
}
