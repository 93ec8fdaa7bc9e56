package jwt

import (
	"strings"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
)

// requirement is a rule about the tokens of a request.
type requirement interface {
	// check looks at the request; s is good when the requirement is met. When
	// keys are missing it sets c.await, and its result does not count.
	check(c *check) (s status)
}

// check is the state of one look at a request.
type check struct {
	h      *filter.Headers
	info   *filter.Info
	now    time.Time
	stats  *counters
	found  []outcome
	gone   []gone
	tokens []candidate // scratch
	waited []*source   // whose fetch has ended meanwhile
	await  *source

	misses, counted int // in this look, in all
}

// missed counts a token that is not in the cache, once however often the
// request is looked at.
func (c *check) missed() {
	if c.misses++; c.misses > c.counted {
		c.counted = c.misses
		c.stats.miss.Add(1)
	}
}

// outcome is a token that was verified.
type outcome struct {
	p     *provider
	t     *token
	place *place
}

// taken tells whether a verified token has been taken out of that place.
func (c *check) taken(p *place) bool {
	for i := range c.found {
		o := &c.found[i]
		if !o.p.forward && o.place.kind == p.kind && o.place.name == p.name && p.kind != inCookie {
			return true
		}
	}
	return false
}

// one asks for a token of a provider; own audiences replace the provider's.
type one struct {
	p   *provider
	own audiences
}

func (r *one) check(c *check) status {
	s := r.tokens(c)
	if s != good && c.await == nil && (s != missing || r.p.sole) {
		c.failed(r.p, s)
	}
	return s
}

// failed tells of a refusal, if the provider is to.
func (c *check) failed(p *provider, s status) {
	if p.failedKey != "" {
		c.info.SetMetadata(Name, map[string]any{p.failedKey: map[string]any{"code": float64(codes[s]), "message": string(s)}})
	}
}

func (r *one) tokens(c *check) status {
	c.sanitize(r.p)
	from := len(c.tokens)
	c.tokens = extract(c.tokens, r.p.places, c.h, c.taken)
	s := missing
	for len(c.tokens) > from {
		last := len(c.tokens) - 1
		k := c.tokens[last]
		c.tokens = c.tokens[:last]
		// A good token does not cover a bad one, which the upstream might take.
		if s = r.token(c, k); s != good || c.await != nil {
			c.tokens = c.tokens[:from]
			return s
		}
	}
	return s
}

func (r *one) token(c *check, k candidate) status {
	p := r.p
	if p.cache != nil {
		if t := p.cache.get(k.raw); t != nil && p.current(t, c.now) {
			c.stats.hit.Add(1)
			if !k.place.allows(t.iss) {
				return unknownIssuer
			}
			if s := p.accept(t, c.now, r.own); s != good {
				return s
			}
			c.found = append(c.found, outcome{p, t, k.place})
			return good
		}
	}
	c.missed()
	t, s := parse(strings.Clone(k.raw))
	if s != good {
		return s
	}
	if !k.place.allows(t.iss) {
		return unknownIssuer
	}
	return c.verify(p, t, k.place, r.own)
}

// current tells whether a token was verified by the keys that the provider has now.
func (p *provider) current(t *token, now time.Time) bool {
	k, _, ok := p.source.get(now)
	return ok && k == t.verifiedBy
}

// verify checks claims and signature, and keeps a good token.
func (c *check) verify(p *provider, t *token, where *place, own audiences) status {
	if s := p.accept(t, c.now, own); s != good {
		return s
	}
	k, s, ok := p.source.get(c.now)
	switch {
	case !ok && c.hasWaited(&p.source):
		return noFetch
	case !ok:
		c.await = &p.source
		return good
	case s != good:
		return s
	}
	if s := k.verify(t); s != good {
		return s
	}
	t.verifiedBy = k
	p.prepare(t)
	if p.cache != nil {
		p.cache.put(t)
	}
	c.found = append(c.found, outcome{p, t, where})
	return good
}

func (c *check) hasWaited(s *source) bool {
	for _, w := range c.waited {
		if w == s {
			return true
		}
	}
	return false
}

// sanitize takes the headers away that only a token of p sets, also those that a
// requirement before has just set.
func (c *check) sanitize(p *provider) {
	for _, name := range p.sanitized {
		c.h.Del(name)
		if n := len(c.found); n > 0 {
			c.gone = append(c.gone, gone{name, n})
		}
	}
}

// gone is a header that the first n outcomes are not to set.
type gone struct {
	name string
	n    int
}

// keeps tells whether the outcome at that index sets a header.
func (c *check) keeps(outcome int, name string) bool {
	for _, g := range c.gone {
		if g.name == name && outcome < g.n {
			return false
		}
	}
	return true
}

// lenient lets requests without a token pass, and if failed also those with a bad one.
// Good ones are taken notice of, whichever provider they are of.
type lenient struct {
	providers []*provider
	beside    []*provider // whose tokens are looked for
	places    []place
	failed    bool
	mark      string // header of requests whose last token is bad; "": none
}

func (r *lenient) check(c *check) status {
	for _, p := range r.beside {
		c.sanitize(p)
	}
	from := len(c.tokens)
	c.tokens = extract(c.tokens, r.places, c.h, c.taken)
	s := missing
	for len(c.tokens) > from {
		last := len(c.tokens) - 1
		k := c.tokens[last]
		c.tokens = c.tokens[:last]
		if s = r.token(c, k); c.await != nil {
			c.tokens = c.tokens[:from]
			return s
		}
	}
	switch s {
	case good:
	case missing:
		r.tell(c, nil, s)
	default:
		if r.mark != "" {
			c.h.Set(r.mark, "false")
		}
	}
	if r.failed || s == missing {
		return good
	}
	return s
}

// tell tells of a refusal. p is nil where the token is of no provider in particular.
func (r *lenient) tell(c *check, p *provider, s status) status {
	if p == nil && len(r.providers) == 1 {
		p = r.providers[0]
	}
	if p != nil && s != good && c.await == nil {
		c.failed(p, s)
	}
	return s
}

func (r *lenient) token(c *check, k candidate) status {
	t, s := parse(strings.Clone(k.raw))
	if s != good {
		return r.tell(c, nil, s)
	}
	p := r.of(t.iss)
	if p == nil || !k.place.allows(t.iss) {
		return r.tell(c, nil, unknownIssuer)
	}
	return r.tell(c, p, c.verify(p, t, k.place, nil))
}

// of finds the provider of an issuer, or one that stands for all.
func (r *lenient) of(issuer string) *provider {
	var open *provider
	for _, p := range r.providers {
		if p.issuer == issuer {
			return p
		}
		if p.issuer == "" && open == nil {
			open = p
		}
	}
	return open
}

// anyOf is met when one is. Of several failures the last counts that says what is
// wrong with a token, and not only that it is another provider's, as in Envoy.
type anyOf []requirement

func (r anyOf) check(c *check) status {
	if len(r) == 0 {
		return good
	}
	failure := missing
	for _, x := range r {
		s := x.check(c)
		if s == good || c.await != nil {
			return s
		}
		if s != missing && (s != unknownIssuer || failure == missing) {
			failure = s
		}
	}
	return failure
}

// allOf is met when all are.
type allOf []requirement

func (r allOf) check(c *check) status {
	for _, x := range r {
		if s := x.check(c); s != good || c.await != nil {
			return s
		}
	}
	return good
}

// nothing is always met.
type nothing struct{}

func (nothing) check(*check) status { return good }
