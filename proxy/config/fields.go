package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/http/match"
	"github.com/weftmesh/weft/proxy/route"
	"github.com/weftmesh/weft/proxy/transport"
)

// at puts the path of a field before an error.
func at(err error, format string, args ...any) error { return strict.At(err, format, args...) }

// validator is what go-control-plane generates from the API's constraints.
type validator interface{ Validate() error }

// unpack reads what is inside an Any into m, and checks the API's constraints.
// The strict check has been done with the message around it.
func unpack(a *anypb.Any, m proto.Message) error {
	if err := a.UnmarshalTo(m); err != nil {
		return err
	}
	if v, ok := m.(validator); ok {
		return v.Validate()
	}
	return nil
}

// duration is 0 for nil.
func duration(d *durationpb.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return d.AsDuration()
}

// durationPtr is nil for nil.
func durationPtr(d *durationpb.Duration) *time.Duration {
	if d == nil {
		return nil
	}
	v := d.AsDuration()
	return &v
}

// offDuration is for fields whose plain-Go form has 0 for "default" and a
// negative value for "off".
func offDuration(d *durationpb.Duration) time.Duration {
	switch {
	case d == nil:
		return 0
	case d.AsDuration() == 0:
		return -1
	}
	return d.AsDuration()
}

// textMatch reads a string matcher for certificates.
func textMatch(m *matcherv3.StringMatcher) (transport.TextMatch, error) {
	s, err := match.String(m)
	t := transport.TextMatch{IgnoreCase: s.IgnoreCase}
	switch s.Kind {
	case route.StringExact:
		t.Exact = s.Value
	case route.StringPrefix:
		t.Prefix = s.Value
	case route.StringSuffix:
		t.Suffix = s.Value
	case route.StringContains:
		t.Contains = s.Value
	case route.StringRegex:
		if err == nil {
			t.Regex, err = transport.CompileRegex(s.Value)
		}
	}
	return t, err
}

func regexRewrite(m *matcherv3.RegexMatchAndSubstitute) (*route.RegexRewrite, error) {
	if m == nil {
		return nil, nil
	}
	r := &route.RegexRewrite{Pattern: m.GetPattern().GetRegex(), Substitution: m.Substitution}
	return r, at(match.Regex(r.Pattern), "pattern.regex")
}

// runtimeFraction is the default value unless the runtime has one for the key.
func (d *Decoder) runtimeFraction(p *corev3.RuntimeFractionalPercent) *route.Fraction {
	if p == nil || p.DefaultValue == nil {
		return nil
	}
	f := match.Fraction(p.DefaultValue)
	f.Key = d.Runtime.Key(p.RuntimeKey)
	return &f
}

// headerOps reads a level's four lists.
func readHeaderOps(add []*corev3.HeaderValueOption, remove []string, what string) (route.HeaderOps, error) {
	ops := route.HeaderOps{}
	for _, n := range remove {
		ops.Remove = append(ops.Remove, strings.ToLower(n))
	}
	for i, o := range add {
		v := route.HeaderValue{Name: strings.ToLower(o.GetHeader().GetKey()), Value: o.GetHeader().GetValue(), KeepEmpty: o.KeepEmptyValue}
		if raw := o.GetHeader().GetRawValue(); len(raw) > 0 {
			v.Value = string(raw)
		}
		action := o.AppendAction
		if o.Append != nil { // deprecated, but it is what Istio writes
			if action != corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD {
				return ops, at(errors.New("append and append_action are both set"), "%s[%d]", what, i)
			}
			if !o.Append.Value {
				action = corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
			}
		}
		switch action {
		case corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD:
			ops.Add = append(ops.Add, v)
		case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD:
			ops.Set = append(ops.Set, v)
		case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:
			ops.SetIfPresent = append(ops.SetIfPresent, v)
		case corev3.HeaderValueOption_ADD_IF_ABSENT:
			ops.AddIfAbsent = append(ops.AddIfAbsent, v)
		default:
			return ops, at(fmt.Errorf("%v is not supported", action), "%s[%d].append_action", what, i)
		}
	}
	return ops, nil
}

// headerOpsHolder is what has the four lists of header operations.
type headerOpsHolder interface {
	GetRequestHeadersToAdd() []*corev3.HeaderValueOption
	GetRequestHeadersToRemove() []string
	GetResponseHeadersToAdd() []*corev3.HeaderValueOption
	GetResponseHeadersToRemove() []string
}

func bothHeaderOps(m headerOpsHolder) (request, response route.HeaderOps, err error) {
	request, err = readHeaderOps(m.GetRequestHeadersToAdd(), m.GetRequestHeadersToRemove(), "request_headers_to_add")
	if err != nil {
		return request, response, err
	}
	response, err = readHeaderOps(m.GetResponseHeadersToAdd(), m.GetResponseHeadersToRemove(), "response_headers_to_add")
	return request, response, err
}

// labels reads metadata's section of that name as strings.
func labels(m *corev3.Metadata, section string) (map[string]string, error) {
	s := m.GetFilterMetadata()[section]
	if len(s.GetFields()) == 0 {
		return nil, nil
	}
	out := make(map[string]string, len(s.Fields))
	for k, v := range s.Fields {
		switch v.GetKind().(type) {
		case *structpb.Value_StringValue:
			out[k] = v.GetStringValue()
		case *structpb.Value_NumberValue, *structpb.Value_BoolValue:
			out[k] = fmt.Sprint(v.AsInterface())
		default:
			return nil, at(errors.New("want a string"), "metadata.filter_metadata[%q][%q]", section, k)
		}
	}
	return out, nil
}

// plain is metadata as Go values by filter name.
func plain(m *corev3.Metadata) map[string]any {
	if len(m.GetFilterMetadata()) == 0 {
		return nil
	}
	out := make(map[string]any, len(m.FilterMetadata))
	for k, s := range m.FilterMetadata {
		out[k] = s.AsMap()
	}
	return out
}
