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

type rules struct{ request, response []rule }

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
	apply(f.rules(s).request, h, s.Info())
	return filter.Continue
}

// ResponseHeaders applies the response rules.
func (f *headerFactory) ResponseHeaders(s filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
	apply(f.rules(s).response, h, s.Info())
	return filter.Continue
}

func apply(rs []rule, h *filter.Headers, info *filter.Info) {
	for i := range rs {
		r := &rs[i]
		v, ok := r.find(h)
		switch {
		case ok && r.present != nil:
			r.present.write(v, info)
		case !ok && r.missing != nil:
			r.missing.write("", info)
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
func (p *pair) write(v string, info *filter.Info) {
	switch {
	case p.value != "":
		v = p.value
	case p.rewrite != nil:
		v = p.rewrite.Replace(v)
	}
	if v == "" || len(v) >= maxValue {
		return
	}
	if p.base64 {
		b, err := base64.StdEncoding.DecodeString(v)
		if err != nil || len(b) == 0 {
			return
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
			return
		}
		out = n
	case asProto:
		m := &structpb.Value{}
		if err := proto.Unmarshal([]byte(v), m); err != nil {
			return
		}
		out = m.AsInterface()
	}
	namespace(info, p.namespace)[p.key] = out
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
