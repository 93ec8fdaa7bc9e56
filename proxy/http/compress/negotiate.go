package compress

import (
	"strconv"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
)

// verdict says why a choice was made, for the statistics.
type verdict uint8

const (
	byCompressor verdict = iota
	byIdentity
	byWildcard
	notValid
)

// choice is the encoding that all compressors of a stream have settled on.
type choice struct {
	coding string // "identity": none
	why    verdict
}

// chain is what the compressors of one stream share.
type chain struct {
	list   []*compressor
	choice *choice
}

// stateKey is where the chain lies in the filter state.
const stateKey = "weft.compressors"

// chainOf finds the stream's, made when there is none.
func chainOf(info *filter.Info) *chain {
	if c, ok := info.FilterState[stateKey].(*chain); ok {
		return c
	}
	if info.FilterState == nil {
		info.FilterState = map[string]any{}
	}
	c := &chain{}
	info.FilterState[stateKey] = c
	return c
}

// choose settles on an encoding by Accept-Encoding: the one with the highest
// weight that some compressor makes of this type of content. Among equals the
// client's order counts, or the compressor that is to be first.
func (c *chain) choose(accept string, h *filter.Headers) choice {
	type entry struct {
		coding string
		first  bool
	}
	var allowed []entry
	for _, f := range c.list {
		if f.response.typeAllowed(h) && !containsCoding(allowed, func(e entry) bool { return e.coding == f.library.coding }) {
			allowed = append(allowed, entry{f.library.coding, f.first})
		}
	}
	type wish struct {
		coding string
		q      float64
	}
	var wishes []wish
	for part := range strings.SplitSeq(accept, ",") {
		coding, q, ok := parseWish(part)
		if !ok {
			continue
		}
		wishes = append(wishes, wish{coding, q})
		if q == 0 {
			for i := range allowed {
				if allowed[i].coding == coding {
					allowed = append(allowed[:i], allowed[i+1:]...)
					break
				}
			}
		}
	}
	if len(allowed) == 0 {
		return choice{"identity", notValid}
	}
	best := wish{"identity", 0}
	bestFirst := false
	for _, w := range wishes {
		known, first := w.coding == "identity" || w.coding == "*", false
		for _, a := range allowed {
			if a.coding == w.coding {
				known, first = true, a.first
			}
		}
		if known && (w.q > best.q || w.q == best.q && first && !bestFirst) {
			best, bestFirst = w, first
		}
	}
	switch {
	case best.q == 0:
		return choice{"identity", notValid}
	case best.coding == "identity":
		return choice{"identity", byIdentity}
	case best.coding == "*":
		return choice{allowed[0].coding, byWildcard}
	}
	return choice{best.coding, byCompressor}
}

func containsCoding[T any](list []T, is func(T) bool) bool {
	for _, e := range list {
		if is(e) {
			return true
		}
	}
	return false
}

// parseWish reads "gzip;q=0.5".
func parseWish(s string) (coding string, q float64, ok bool) {
	coding, params, has := strings.Cut(s, ";")
	coding, q = strings.TrimSpace(coding), 1
	if has {
		if name, v, eq := strings.Cut(params, "="); eq && strings.EqualFold(strings.TrimSpace(name), "q") {
			f, err := strconv.ParseFloat(strings.TrimSpace(v), 32)
			if err != nil {
				return "", 0, false
			}
			q = f
		}
	}
	return coding, q, coding != ""
}

// hasToken tells whether a list header has an element.
func hasToken(h *filter.Headers, name, token string) bool {
	for v := range h.Values(name) {
		for t := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}
