package format

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
)

// headBytes is the size of a head: names and values, pseudo headers included.
func headBytes(h *filter.Headers) uint64 {
	if h == nil {
		return 0
	}
	n := 0
	for _, name := range [...]string{":method", ":scheme", ":authority", ":path", ":protocol", ":status"} {
		if v, ok := h.Lookup(name); ok {
			n += len(name) + len(v)
		}
	}
	for i := range h.Len() {
		f := h.At(i)
		n += len(f.Name) + len(f.Value)
	}
	return uint64(n)
}

// path compiles PATH(WQ or NQ:ORIG, PATH or ORIG_OR_PATH).
func (c command) path() (value, error) {
	query, which, _ := strings.Cut(c.args, ":")
	switch query {
	case "", "WQ", "NQ":
	default:
		return nil, fmt.Errorf("format command %%PATH(%s)%%: the first argument must be WQ or NQ", c.args)
	}
	name, alt := "x-envoy-original-path", ":path"
	switch which {
	case "", "ORIG_OR_PATH":
	case "ORIG":
		alt = ""
	case "PATH":
		name, alt = ":path", ""
	default:
		return nil, fmt.Errorf("format command %%PATH(%s)%%: the second argument must be ORIG, PATH or ORIG_OR_PATH", c.args)
	}
	return func(dst []byte, i *filter.Info) ([]byte, bool) {
		s, ok := lookup(i.Request, name, alt)
		if query == "NQ" {
			s, _, _ = strings.Cut(s, "?")
		}
		return append(dst, s...), ok
	}, nil
}

// queryParam compiles QUERY_PARAM(name): the first of that name, unescaped.
func (c command) queryParam() (value, error) {
	if c.args == "" {
		return nil, fmt.Errorf("format command %%QUERY_PARAM%% needs the parameter's name")
	}
	return func(dst []byte, i *filter.Info) ([]byte, bool) {
		if i.Request == nil {
			return dst, false
		}
		_, q, _ := strings.Cut(i.Request.Path, "?")
		for q != "" {
			var pair string
			pair, q, _ = strings.Cut(q, "&")
			if k, v, _ := strings.Cut(pair, "="); k == c.args {
				if text, err := url.PathUnescape(v); err == nil {
					v = text
				}
				return append(dst, v...), true
			}
		}
		return dst, false
	}, nil
}

// points are the times of a request that COMMON_DURATION knows.
var points = map[string]func(*filter.Info) (time.Duration, bool){
	"DS_RX_BEG": func(*filter.Info) (time.Duration, bool) { return 0, true },
	"DS_RX_END": func(i *filter.Info) (time.Duration, bool) { return i.RequestEnd, i.RequestEnd > 0 },
	"US_TX_BEG": func(i *filter.Info) (time.Duration, bool) { return i.UpstreamStart, i.Attempts > 0 },
	"US_RX_BEG": func(i *filter.Info) (time.Duration, bool) { return i.UpstreamFirstByte, i.UpstreamFirstByte > 0 },
	"DS_TX_BEG": func(i *filter.Info) (time.Duration, bool) { return i.ResponseStart, i.ResponseStart > 0 },
	"DS_TX_END": func(i *filter.Info) (time.Duration, bool) { return i.Duration, i.Duration > 0 },
}

// between compiles COMMON_DURATION(start:end:precision).
func (c command) between() (value, error) {
	args := strings.Split(c.args, ":")
	if len(args) < 2 || len(args) > 3 {
		return nil, fmt.Errorf("format command %%COMMON_DURATION(%s)%%: want start:end:precision", c.args)
	}
	unit := time.Millisecond
	if len(args) == 3 {
		var ok bool
		if unit, ok = map[string]time.Duration{"ms": time.Millisecond, "us": time.Microsecond, "ns": time.Nanosecond}[args[2]]; !ok {
			return nil, fmt.Errorf("format command %%COMMON_DURATION(%s)%%: the precision must be ms, us or ns", c.args)
		}
	}
	from, to := points[args[0]], points[args[1]]
	if from == nil || to == nil {
		return nil, fmt.Errorf("format command %%COMMON_DURATION(%s)%%: a point in time that is not supported", c.args)
	}
	return func(dst []byte, i *filter.Info) ([]byte, bool) {
		a, ok := from(i)
		b, ok2 := to(i)
		if !ok || !ok2 || b < a {
			return dst, false
		}
		return strconv.AppendInt(dst, int64((b-a)/unit), 10), true
	}, nil
}
