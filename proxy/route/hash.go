package route

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/weftmesh/weft/proxy/filter"
)

// hashPolicy is a compiled HashPolicy.
type hashPolicy struct {
	*HashPolicy
	header  string // lower case
	rewrite *regexRewrite
}

func compileHash(p *HashPolicy) (c hashPolicy, err error) {
	c = hashPolicy{HashPolicy: p, header: strings.ToLower(p.Header)}
	if c.header == "host" {
		c.header = ":authority" // as Envoy: it is one and the same
	}
	kinds := 0
	for _, set := range []bool{p.Header != "", p.Cookie != nil, p.SourceIP, p.Query != ""} {
		if set {
			kinds++
		}
	}
	if kinds != 1 {
		return c, fmt.Errorf("exactly one of header, cookie, source IP and query parameter must be set, not %d", kinds)
	}
	if p.Cookie != nil && p.Cookie.Name == "" {
		return c, fmt.Errorf("the cookie has no name")
	}
	if p.Rewrite != nil {
		if p.Header == "" {
			return c, fmt.Errorf("a regex rewrite is for headers only")
		}
		if c.rewrite, err = compileRegexRewrite(p.Rewrite); err != nil {
			return c, err
		}
	}
	return c, nil
}

// Hasher is a list of hash policies by itself, for clusters that have their own.
type Hasher struct{ list []hashPolicy }

// NewHasher compiles a list.
func NewHasher(list []HashPolicy) (*Hasher, error) {
	h := &Hasher{}
	for i := range list {
		c, err := compileHash(&list[i])
		if err != nil {
			return nil, fmt.Errorf("hash policy %d: %w", i, err)
		}
		h.list = append(h.list, c)
	}
	return h, nil
}

// Hash is the hash of a request or of a connection (an empty head); ok is false when no
// policy applies. Cookies that are to be made are left out: there is nobody to set them.
func (h *Hasher) Hash(head *filter.Headers, conn *filter.ConnInfo) (hash uint64, ok bool) {
	hash, ok, _ = hashAll(h.list, head, conn)
	return hash, ok
}

// Hash computes the hash for consistent load balancing; ok is false when no
// policy applies. setCookie, when not empty, must be added to the response.
func (e *Entry) Hash(h *filter.Headers, conn *filter.ConnInfo) (hash uint64, ok bool, setCookie string) {
	return hashAll(e.hash, h, conn)
}

func hashAll(list []hashPolicy, h *filter.Headers, conn *filter.ConnInfo) (hash uint64, ok bool, setCookie string) {
	for i := range list {
		p := &list[i]
		v, has, cookie := p.hash(h, conn)
		if cookie != "" {
			setCookie = cookie
		}
		if has {
			if ok {
				v ^= bits.RotateLeft64(hash, 1)
			}
			hash, ok = v, true
		}
		if ok && p.Terminal {
			break
		}
	}
	return hash, ok, setCookie
}

func (p *hashPolicy) hash(h *filter.Headers, conn *filter.ConnInfo) (v uint64, ok bool, setCookie string) {
	switch {
	case p.header != "":
		v, ok = p.hashHeader(h)
	case p.Cookie != nil:
		if s, has := cookie(h, p.Cookie.Name); has {
			return xxhash.Sum64String(s), true, ""
		}
		if p.Cookie.TTL != nil {
			s := newCookie(conn)
			return xxhash.Sum64String(s), true, p.Cookie.header(s)
		}
	case p.SourceIP:
		if conn != nil && conn.Remote.IsValid() {
			var buf [64]byte
			return xxhash.Sum64(conn.Remote.Addr().AppendTo(buf[:0])), true, ""
		}
	default:
		var s string
		if s, ok = queryValue(h.Path, p.Query); ok {
			v = xxhash.Sum64String(s)
		}
	}
	return v, ok, ""
}

// hashHeader hashes all values of the header, whatever their order.
func (p *hashPolicy) hashHeader(h *filter.Headers) (uint64, bool) {
	first, ok := h.Lookup(p.header)
	if !ok {
		return 0, false
	}
	several := false
	if p.header[0] != ':' {
		n := 0
		for range h.Values(p.header) {
			n++
		}
		several = n > 1
	}
	if !several {
		if p.rewrite != nil {
			first = p.rewrite.apply(first)
		}
		return xxhash.Sum64String(first), true
	}
	values := slices.Sorted(h.Values(p.header))
	var d xxhash.Digest
	var sum uint64
	for _, s := range values {
		if p.rewrite != nil {
			s = p.rewrite.apply(s)
		}
		d.ResetWithSeed(sum)
		_, _ = d.WriteString(s)
		sum = d.Sum64()
	}
	return sum, true
}

// cookie finds a cookie of the request.
func cookie(h *filter.Headers, name string) (string, bool) {
	for i := range h.Len() {
		f := h.At(i)
		if f.Name != "cookie" {
			continue
		}
		for rest := f.Value; rest != ""; {
			var pair string
			pair, rest, _ = strings.Cut(rest, ";")
			k, v, ok := strings.Cut(strings.TrimSpace(pair), "=")
			if !ok || k != name {
				continue
			}
			if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
				v = v[1 : len(v)-1]
			}
			return v, true
		}
	}
	return "", false
}

// newCookie makes a value out of the connection's addresses: the requests of one
// connection get the same even before the client sends it back.
func newCookie(conn *filter.ConnInfo) string {
	var buf [128]byte
	b := buf[:0]
	if conn != nil {
		b = conn.Remote.AppendTo(b)
		b = conn.Local.AppendTo(b)
	}
	return strconv.FormatUint(xxhash.Sum64(b), 16)
}

// header is the value of set-cookie.
func (c *HashCookie) header(value string) string {
	s := c.Name + `="` + value + `"`
	if *c.TTL > 0 {
		s += "; Max-Age=" + strconv.FormatInt(int64(*c.TTL/time.Second), 10)
	}
	if c.Path != "" {
		s += "; Path=" + c.Path
	}
	for _, a := range c.Attributes {
		s += "; " + a
	}
	return s + "; HttpOnly"
}
