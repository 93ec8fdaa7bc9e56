package metadata

import (
	"errors"
	"fmt"
	"strings"

	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_to_metadata/v3"
	setv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_metadata/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/match"
	"github.com/weftmesh/weft/proxy/route"
)

// HeaderKind describes envoy.filters.http.header_to_metadata.
func HeaderKind() filter.HTTPKind {
	return filter.HTTPKind{
		Name:     HeaderName,
		TypeURLs: []string{"type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config"},
		Parse: func(ctx *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
			c, err := parseHeader(ctx, a)
			if err != nil {
				return nil, err
			}
			return &headerFactory{name: ctx.FilterName, own: c}, nil
		},
		ParseRoute: func(ctx *filter.ParseContext, a *anypb.Any) (any, error) {
			c, err := parseHeader(ctx, a)
			if err == nil && len(c.request)+len(c.response) == 0 {
				err = errors.New("want request_rules or response_rules")
			}
			return c, err
		},
	}
}

// SetKind describes envoy.filters.http.set_metadata.
func SetKind() filter.HTTPKind {
	return filter.HTTPKind{
		Name:     SetName,
		TypeURLs: []string{"type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config"},
		Parse:    parseSet,
	}
}

var supported = strict.Table{
	"envoy.extensions.filters.http.header_to_metadata.v3.Config":              "request_rules response_rules stat_prefix",
	"envoy.extensions.filters.http.header_to_metadata.v3.Config.Rule":         "header cookie on_header_present on_header_missing remove",
	"envoy.extensions.filters.http.header_to_metadata.v3.Config.KeyValuePair": "metadata_namespace key value regex_value_rewrite type encode",
	"envoy.type.matcher.v3.RegexMatchAndSubstitute":                           "pattern substitution",
	"envoy.extensions.filters.http.set_metadata.v3.Config":                    "metadata_namespace value~ metadata",
	"envoy.extensions.filters.http.set_metadata.v3.Metadata":                  "metadata_namespace allow_overwrite value~",
}

func parseHeader(ctx *filter.ParseContext, a *anypb.Any) (*rules, error) {
	m := &headerv3.Config{}
	if err := match.Open(a, m, supported); err != nil {
		return nil, err
	}
	out := &rules{}
	out.count(ctx.Stats, m.StatPrefix)
	for i, r := range m.RequestRules {
		c, err := parseRule(r)
		if err != nil {
			return nil, fmt.Errorf("request_rules[%d].%w", i, err)
		}
		out.request = append(out.request, c)
	}
	for i, r := range m.ResponseRules {
		c, err := parseRule(r)
		if err != nil {
			return nil, fmt.Errorf("response_rules[%d].%w", i, err)
		}
		out.response = append(out.response, c)
	}
	return out, nil
}

func parseRule(m *headerv3.Config_Rule) (r rule, err error) {
	r = rule{header: strings.ToLower(m.Header), cookie: m.Cookie, remove: m.Remove}
	switch {
	case (m.Header == "") == (m.Cookie == ""):
		return r, errors.New("header: want one of header and cookie")
	case m.Cookie != "" && m.Remove:
		return r, errors.New("remove: a cookie cannot be removed")
	case strings.HasPrefix(r.header, ":") && m.Remove:
		return r, errors.New("remove: a pseudo header cannot be removed")
	case m.OnHeaderPresent == nil && m.OnHeaderMissing == nil:
		return r, errors.New("on_header_present: want it or on_header_missing")
	}
	if r.present, err = parsePair(m.OnHeaderPresent); err != nil {
		return r, fmt.Errorf("on_header_present.%w", err)
	}
	if r.missing, err = parsePair(m.OnHeaderMissing); err != nil {
		return r, fmt.Errorf("on_header_missing.%w", err)
	}
	if r.missing != nil && r.missing.value == "" {
		return r, errors.New("on_header_missing.value: is empty")
	}
	return r, nil
}

func parsePair(m *headerv3.Config_KeyValuePair) (*pair, error) {
	if m == nil {
		return nil, nil
	}
	p := &pair{namespace: m.MetadataNamespace, key: m.Key, value: m.GetValue()} //nolint:staticcheck // deprecated, not gone
	if p.namespace == "" {
		p.namespace = HeaderName
	}
	switch m.Type {
	case headerv3.Config_STRING:
		p.kind = asString
	case headerv3.Config_NUMBER:
		p.kind = asNumber
	case headerv3.Config_PROTOBUF_VALUE:
		p.kind = asProto
	}
	p.base64 = m.Encode == headerv3.Config_BASE64
	if w := m.GetRegexValueRewrite(); w != nil {
		r, err := route.NewReplacer(route.RegexRewrite{Pattern: w.GetPattern().GetRegex(), Substitution: w.Substitution})
		if err != nil {
			return nil, fmt.Errorf("regex_value_rewrite: %w", err)
		}
		p.rewrite = &r
	}
	return p, nil
}

func parseSet(ctx *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
	m := &setv3.Config{}
	if err := match.Open(a, m, supported); err != nil {
		return nil, err
	}
	f := &setFactory{denied: ctx.Counter("set_metadata.overwrite_denied")}
	if m.Value != nil { //nolint:staticcheck // deprecated, not gone
		f.entries = append(f.entries, entry{m.MetadataNamespace, m.Value.AsMap(), true}) //nolint:staticcheck // see above
	}
	for _, e := range m.Metadata {
		f.entries = append(f.entries, entry{e.MetadataNamespace, e.Value.AsMap(), e.AllowOverwrite})
	}
	for i, e := range f.entries {
		if e.namespace == "" {
			return nil, fmt.Errorf("metadata[%d].metadata_namespace: is empty", i)
		}
	}
	return f, nil
}
