// Package metadata is the HTTP filters that write dynamic metadata:
// envoy.filters.http.header_to_metadata takes values from headers and cookies,
// envoy.filters.http.set_metadata sets constant ones.
//
// Who reads the metadata (logs, header mutations, rate limits, RBAC) is no
// business of theirs. Values are copied, they outlive the headers.
package metadata

import (
	"encoding/base64"
	"maps"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/route"
)

// Names of the filters, in Envoy's words.
const (
	HeaderName = "envoy.filters.http.header_to_metadata"
	SetName    = "envoy.filters.http.set_metadata"
)

// maxValue is Envoy's bound on a value that comes from a header.
const maxValue = 8 << 10

type valueKind uint8

const (
	asString valueKind = iota
	asNumber
	asProto
)

// pair says what to write. value, when not empty, replaces the header's.
type pair struct {
	namespace, key, value string
	rewrite               *route.Replacer
	kind                  valueKind
	base64                bool
}

// rule is about one header or cookie.
type rule struct {
	header, cookie   string
	present, missing *pair
	remove           bool
}

type rules struct {
	request, response []rule
	up, down          direction
	broken            failures
}

// direction counts what rules of requests, or of responses, do.
type direction struct{ processed, added, missing *filter.Counter }

// failures count values that were not written.
type failures struct{ tooLong, noSubstitute, noBase64 *filter.Counter }

// count finds the counters; without a prefix nobody reads them.
func (r *rules) count(stats *filter.Stats, prefix string) {
	if prefix == "" {
		stats = nil
	}
	counter := func(stat string) *filter.Counter { return stats.Counter("http_filter_name", prefix, stat) }
	for name, d := range map[string]*direction{"request_": &r.up, "response_": &r.down} {
		*d = direction{counter(name + "rules_processed"), counter(name + "metadata_added"), counter(name + "header_not_found")}
	}
	r.broken = failures{counter("header_value_too_long"), counter("regex_substitution_failed"), counter("base64_decode_failed")}
}

type headerFactory struct {
	filter.PassThrough
	name string
	own  *rules
}

// New implements filter.HTTPFactory. The filter has no state: one serves all streams.
func (f *headerFactory) New(filter.Stream) filter.HTTPFilter { return f }

func (f *headerFactory) rules(s filter.Stream) *rules {
	if r, ok := s.RouteConfig(f.name).(*rules); ok {
		return r
	}
	return f.own
}

// RequestHeaders applies the request rules.
func (f *headerFactory) RequestHeaders(s filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
	r := f.rules(s)
	r.apply(r.request, &r.up, h, s.Info())
	return filter.Continue
}

// ResponseHeaders applies the response rules.
func (f *headerFactory) ResponseHeaders(s filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
	r := f.rules(s)
	r.apply(r.response, &r.down, h, s.Info())
	return filter.Continue
}

func (x *rules) apply(rs []rule, d *direction, h *filter.Headers, info *filter.Info) {
	for i := range rs {
		r := &rs[i]
		d.processed.Add(1)
		v, ok := r.find(h)
		p := r.present
		if !ok {
			if p, v = r.missing, ""; p != nil {
				d.missing.Add(1)
			}
		}
		if p != nil && p.write(v, info, &x.broken) {
			d.added.Add(1)
		}
		if ok && r.remove {
			h.Del(r.header)
		}
	}
}

func (r *rule) find(h *filter.Headers) (string, bool) {
	if r.cookie == "" {
		return h.Joined(r.header)
	}
	for line := range h.Values("cookie") {
		for c := range strings.SplitSeq(line, ";") {
			name, v, ok := strings.Cut(strings.TrimSpace(c), "=")
			if ok && name == r.cookie {
				return strings.Trim(v, `"`), v != ""
			}
		}
	}
	return "", false
}

// write puts the value into the metadata, if it is one.
func (p *pair) write(v string, info *filter.Info, broken *failures) bool {
	switch {
	case p.value != "":
		v = p.value
	case p.rewrite != nil && v != "":
		if v = p.rewrite.Replace(v); v == "" {
			broken.noSubstitute.Add(1)
		}
	}
	if v == "" {
		return false
	}
	if len(v) >= maxValue {
		broken.tooLong.Add(1)
		return false
	}
	if p.base64 {
		b, err := base64.StdEncoding.DecodeString(v)
		if err != nil || len(b) == 0 {
			broken.noBase64.Add(1)
			return false
		}
		v = string(b)
	}
	var out any
	switch p.kind {
	case asString:
		out = strings.Clone(v)
	case asNumber:
		n, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
		if err != nil {
			return false
		}
		out = n
	case asProto:
		m := &structpb.Value{}
		if err := proto.Unmarshal([]byte(v), m); err != nil {
			return false
		}
		out = m.AsInterface()
	}
	namespace(info, p.namespace)[p.key] = out
	return true
}

// namespace returns the metadata of a namespace, to be changed. What another
// filter has put there may be shared, so it is copied.
func namespace(info *filter.Info, name string) map[string]any {
	old, _ := info.Metadata[name].(map[string]any)
	m := maps.Clone(old)
	if m == nil {
		m = map[string]any{}
	}
	if info.Metadata == nil {
		info.Metadata = map[string]any{}
	}
	info.Metadata[name] = m
	return m
}
