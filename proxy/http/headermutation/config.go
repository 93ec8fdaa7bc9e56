package headermutation

import (
	"errors"
	"fmt"
	"strings"

	rulesv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/format"
	"github.com/weftmesh/weft/proxy/http/match"
)

// Kind describes the filter; o is for the formats of values.
func Kind(o format.Options) filter.HTTPKind {
	const prefix = "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3."
	p := parser{o}
	return filter.HTTPKind{
		Name:     Name,
		TypeURLs: []string{prefix + "HeaderMutation", prefix + "HeaderMutationPerRoute"},
		Parse: func(ctx *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
			m := &mutationv3.HeaderMutation{}
			if err := match.Open(a, m, supported); err != nil {
				return nil, err
			}
			own, err := p.mutations(m.Mutations)
			return &factory{name: ctx.FilterName, own: own, specificWins: m.MostSpecificHeaderMutationsWins}, err
		},
		ParseRoute: func(_ *filter.ParseContext, a *anypb.Any) (any, error) {
			m := &mutationv3.HeaderMutationPerRoute{}
			if err := match.Open(a, m, supported); err != nil {
				return nil, err
			}
			return p.mutations(m.Mutations)
		},
	}
}

var supported = strict.Table{
	"envoy.extensions.filters.http.header_mutation.v3.HeaderMutation":         "mutations most_specific_header_mutations_wins",
	"envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute": "mutations",
	"envoy.extensions.filters.http.header_mutation.v3.Mutations": "request_mutations query_parameter_mutations response_mutations " +
		"response_trailers_mutations request_trailers_mutations",
	"envoy.config.common.mutation_rules.v3.HeaderMutation":               "remove append remove_on_match",
	"envoy.config.common.mutation_rules.v3.HeaderMutation.RemoveOnMatch": "key_matcher",
	"envoy.config.core.v3.HeaderValueOption":                             "header append append_action keep_empty_value",
	"envoy.config.core.v3.HeaderValue":                                   "key value raw_value",
	"envoy.config.core.v3.KeyValueMutation":                              "append remove",
	"envoy.config.core.v3.KeyValueAppend":                                "record action",
	"envoy.config.core.v3.KeyValuePair":                                  "key value~",
}

type parser struct{ format format.Options }

func (p parser) mutations(m *mutationv3.Mutations) (*mutations, error) {
	out := &mutations{}
	for _, part := range []struct {
		what string
		from []*rulesv3.HeaderMutation
		to   *[]mutation
	}{
		{"request_mutations", m.GetRequestMutations(), &out.request},
		{"response_mutations", m.GetResponseMutations(), &out.response},
		{"response_trailers_mutations", m.GetResponseTrailersMutations(), &out.responseTrailers},
		{"request_trailers_mutations", m.GetRequestTrailersMutations(), &out.requestTrailers},
	} {
		for i, x := range part.from {
			c, err := p.header(x)
			if err != nil {
				return nil, fmt.Errorf("mutations.%s[%d]: %w", part.what, i, err)
			}
			*part.to = append(*part.to, c)
		}
	}
	for i, x := range m.GetQueryParameterMutations() {
		c, err := p.query(x)
		if err != nil {
			return nil, fmt.Errorf("mutations.query_parameter_mutations[%d]: %w", i, err)
		}
		out.query = append(out.query, c)
	}
	return out, nil
}

func (p parser) header(m *rulesv3.HeaderMutation) (c mutation, err error) {
	switch a := m.Action.(type) {
	case *rulesv3.HeaderMutation_Remove:
		c.kind, c.name = remove, strings.ToLower(a.Remove)
		return c, changeable(c.name, "remove")
	case *rulesv3.HeaderMutation_RemoveOnMatch_:
		c.kind = removeMatching
		c.names, err = match.Strings(a.RemoveOnMatch.KeyMatcher)
		return c, err
	case *rulesv3.HeaderMutation_Append:
		h := a.Append.GetHeader()
		c.name, c.keepEmpty = strings.ToLower(h.GetKey()), a.Append.KeepEmptyValue
		text := h.GetValue()
		if raw := h.GetRawValue(); len(raw) > 0 {
			text = string(raw)
		}
		if c.kind, err = headerAction(a.Append); err != nil {
			return c, err
		}
		if err := changeable(c.name, "append.header.key"); err != nil {
			return c, err
		}
		return c, p.text(&c, text)
	}
	return c, errors.New("no action: want remove, append or remove_on_match")
}

func (p parser) text(c *mutation, text string) error {
	f, err := format.Compile(text, p.format)
	if err != nil {
		return err
	}
	if lit, ok := f.Literal(); ok {
		c.text = lit
	} else {
		c.format = f
	}
	return nil
}

// changeable refuses what would change the request line.
func changeable(name, field string) error {
	if name == "" || name[0] == ':' || name == "host" {
		return fmt.Errorf("%s: %q may not be changed by header mutations; a route can rewrite it", field, name)
	}
	return nil
}

func headerAction(o *corev3.HeaderValueOption) (kind, error) {
	if o.Append != nil {
		if o.AppendAction != corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD {
			return 0, errors.New("append: append and append_action are both set")
		}
		if !o.Append.Value {
			return set, nil
		}
		return add, nil
	}
	switch o.AppendAction {
	case corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD:
		return add, nil
	case corev3.HeaderValueOption_ADD_IF_ABSENT:
		return addIfAbsent, nil
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD:
		return set, nil
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:
		return setIfPresent, nil
	}
	return 0, fmt.Errorf("append.append_action: %v is not supported", o.AppendAction)
}

func (p parser) query(m *corev3.KeyValueMutation) (c mutation, err error) {
	if (m.Append == nil) == (m.Remove == "") {
		return c, errors.New("want one of append and remove")
	}
	if m.Append == nil {
		return mutation{kind: remove, name: m.Remove}, nil
	}
	r := m.Append.GetRecord()
	if r.GetKey() == "" {
		return c, errors.New("append.record.key: is empty")
	}
	c.name = r.Key
	switch m.Append.Action {
	case corev3.KeyValueAppend_APPEND_IF_EXISTS_OR_ADD:
		c.kind = add
	case corev3.KeyValueAppend_ADD_IF_ABSENT:
		c.kind = addIfAbsent
	case corev3.KeyValueAppend_OVERWRITE_IF_EXISTS_OR_ADD:
		c.kind = set
	case corev3.KeyValueAppend_OVERWRITE_IF_EXISTS:
		c.kind = setIfPresent
	default:
		return c, fmt.Errorf("append.action: %v is not supported", m.Append.Action)
	}
	text, ok := r.GetValue().AsInterface().(string)
	if !ok {
		return c, errors.New("append.record.value: only a string is supported")
	}
	return c, p.text(&c, text)
}
