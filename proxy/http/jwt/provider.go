package jwt

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/route"
)

// provider is who issues tokens, and where requests have them.
type provider struct {
	issuer    string
	audiences audiences
	subjects  *route.Strings
	lifetime  *time.Duration // of what is left; nil: does not matter
	needExp   bool
	skew      uint64
	source    source
	cache     *cache // nil: none

	places []place

	forward       bool
	payloadHeader string
	padded        bool
	claims        []claimHeader
	payloadKey    string // in dynamic metadata
	headerKey     string
	failedKey     string   // of why a token was refused
	sole          bool     // there is no other provider
	spaced        []string // claims that become lists in it
	clearRoute    bool
	sanitized     []string // headers that only this filter may set
}

type claimHeader struct {
	header string
	path   []string
}

// audiences that are accepted; none: all.
type audiences []string

func (a audiences) allow(of []string) bool {
	if len(a) == 0 {
		return true
	}
	for _, want := range a {
		for _, got := range of {
			if want == got {
				return true
			}
		}
	}
	return false
}

// placeKind says where a token is.
type placeKind uint8

const (
	inHeader placeKind = iota
	inParam
	inCookie
)

// place is where a request may have a token. issuers that may have theirs there:
// an empty one stands for all.
type place struct {
	kind         placeKind
	name, prefix string
	issuers      []string
}

func (p *place) allows(issuer string) bool {
	for _, i := range p.issuers {
		if i == "" || i == issuer {
			return true
		}
	}
	return false
}

// candidate is a token that was found.
type candidate struct {
	raw   string
	place *place
}

// extract appends the tokens of a request. taken tells which places had a token
// that was verified already, and does not go on.
func extract(to []candidate, places []place, h *filter.Headers, taken func(*place) bool) []candidate {
	for i := range places {
		p := &places[i]
		if taken(p) {
			continue
		}
		switch p.kind {
		case inHeader:
			for j := range h.Len() {
				if f := h.At(j); f.Name == p.name {
					if raw, ok := p.cut(f.Value); ok {
						to = append(to, candidate{raw, p})
					}
				}
			}
		case inParam:
			if raw, ok := param(h.Path, p.name); ok {
				to = append(to, candidate{raw, p})
			}
		case inCookie:
			if raw, ok := cookie(h, p.name); ok {
				to = append(to, candidate{raw, p})
			}
		}
	}
	return to
}

// cut takes the token out of a header's value.
func (p *place) cut(v string) (string, bool) {
	if p.prefix == "" {
		return v, true
	}
	i := strings.Index(v, p.prefix)
	if i < 0 {
		return "", false
	}
	rest := v[i+len(p.prefix):]
	if j := strings.IndexFunc(rest, tokenChar); j >= 0 {
		return rest[j:], true
	}
	return v, true
}

func tokenChar(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.'
}

func param(path, name string) (string, bool) {
	_, q, ok := strings.Cut(path, "?")
	for ok && q != "" {
		var one string
		one, q, _ = strings.Cut(q, "&")
		if k, v, _ := strings.Cut(one, "="); k == name {
			if d, err := url.QueryUnescape(v); err == nil {
				v = d
			}
			return v, true
		}
	}
	return "", false
}

// withoutParam is a path without a query parameter.
func withoutParam(path, name string) string {
	path, q, _ := strings.Cut(path, "?")
	var kept []string
	for one := range strings.SplitSeq(q, "&") {
		if k, _, _ := strings.Cut(one, "="); k != name {
			kept = append(kept, one)
		}
	}
	if len(kept) == 0 {
		return path
	}
	return path + "?" + strings.Join(kept, "&")
}

func cookie(h *filter.Headers, name string) (string, bool) {
	for j := range h.Len() {
		f := h.At(j)
		if f.Name != "cookie" {
			continue
		}
		rest := f.Value
		for rest != "" {
			var one string
			one, rest, _ = strings.Cut(rest, ";")
			if k, v, ok := strings.Cut(strings.TrimSpace(one), "="); ok && k == name {
				return strings.Trim(v, `"`), true
			}
		}
	}
	return "", false
}

// accept checks everything about a token that is not its signature, in Envoy's order.
func (p *provider) accept(t *token, now time.Time, own audiences) status {
	if s := t.inTime(uint64(now.Unix()), p.skew); s != good {
		return s
	}
	if own == nil {
		own = p.audiences
	}
	if !own.allow(t.aud) {
		return badAudience
	}
	if p.subjects != nil && !p.subjects.Any(t.sub) {
		return fails
	}
	if p.needExp || p.lifetime != nil {
		if !t.hasExp || t.exp == 0 {
			return fails
		}
		if p.lifetime != nil && time.Unix(int64(t.exp), 0).Sub(now) >= *p.lifetime {
			return fails
		}
	}
	return good
}

// output is what a verified token changes of a request.
type output struct {
	fields   []filter.Field
	metadata map[string]any
}

// prepare makes the output once, for all requests that carry the token.
func (p *provider) prepare(t *token) {
	o := &output{}
	if p.payloadHeader != "" {
		v := t.payload64
		if p.padded {
			v += strings.Repeat("=", (4-len(v)%4)%4)
		}
		o.fields = append(o.fields, filter.Field{Name: p.payloadHeader, Value: v})
	}
	for _, c := range p.claims {
		if v := claimText(filter.Lookup(t.claims, c.path)); v != "" {
			o.fields = append(o.fields, filter.Field{Name: c.header, Value: v})
		}
	}
	if p.headerKey != "" || p.payloadKey != "" {
		o.metadata = map[string]any{}
	}
	if p.headerKey != "" {
		o.metadata[p.headerKey] = t.header
	}
	if p.payloadKey != "" {
		o.metadata[p.payloadKey] = p.normalized(t.claims)
	}
	t.out = o
}

// normalized makes lists of claims that are lists by spaces.
func (p *provider) normalized(claims map[string]any) map[string]any {
	if len(p.spaced) == 0 {
		return claims
	}
	out := maps.Clone(claims)
	for _, name := range p.spaced {
		if s, ok := claims[name].(string); ok {
			list := []any{}
			for one := range strings.SplitSeq(s, " ") {
				list = append(list, one)
			}
			out[name] = list
		}
	}
	return out
}

// claimText is a claim as a header's value.
func claimText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case float64:
		if v >= 0 && v < 1<<64 && v == float64(uint64(v)) {
			return strconv.FormatUint(uint64(v), 10)
		}
		return strconv.FormatFloat(v, 'f', 6, 64)
	case []any, map[string]any:
		b, err := json.Marshal(v)
		if err != nil {
			return ""
		}
		return base64.StdEncoding.EncodeToString(b)
	}
	return ""
}
