package config

import (
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/weftmesh/weft/proxy/listener"
)

const (
	inputAt    = `"@type": type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.`
	chainNamed = `{action: {name: x, typed_config: {"@type": type.googleapis.com/google.protobuf.StringValue, value: `
)

// byInput is a listener that chooses "in" for the text "v" of an input, else "out".
func byInput(input string) string {
	return `{name: l, filter_chains: [{name: in}, {name: out}], filter_chain_matcher: {matcher_tree: {input: {name: i, typed_config: {` + inputAt + input +
		`}}, exact_match_map: {map: {v: ` + chainNamed + `in}}}}}}, on_no_match: ` + chainNamed + `out}}}}}`
}

// TestChainInputs: inputs that Envoy 1.40 does not know as those of chains.
func TestChainInputs(t *testing.T) {
	for _, tt := range []struct {
		input string
		facts listener.Facts
		want  string
	}{
		{"DynamicMetadataInput, filter: ns, path: [{key: a}, {key: b}]", listener.Facts{Metadata: map[string]any{"ns": map[string]any{"a": map[string]any{"b": "v"}}}}, "in"},
		{"DynamicMetadataInput, filter: ns, path: [{key: a}]", listener.Facts{Metadata: map[string]any{"ns": map[string]any{"a": "w"}}}, "out"},
		{"DynamicMetadataInput, filter: ns, path: [{key: a}]", listener.Facts{}, "out"},
		{"FilterStateInput, key: k", listener.Facts{Objects: map[string]any{"k": "v"}}, "in"},
		{"NetworkNamespaceInput", listener.Facts{}, "out"},
	} {
		m := &listenerv3.Listener{}
		fromYAML(t, byInput(tt.input), m)
		if err := check(m); err != nil {
			t.Errorf("%s: %v", tt.input, err)
			continue
		}
		l := &listener.Listener{Chains: []*listener.FilterChain{{Name: "in"}, {Name: "out"}}}
		if err := newDecoder().chainMatcher(m.FilterChainMatcher, l); err != nil {
			t.Errorf("%s: %v", tt.input, err)
			continue
		}
		if got, _ := l.Matcher.Choose(&tt.facts); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.input, got, tt.want)
		}
	}
}

func TestRefusedChainMatchers(t *testing.T) {
	for _, tt := range []struct{ matcher, want string }{
		{`{}`, "filter_chain_matcher.matcher_type: is missing"},
		{`{on_no_match: {action: {name: x, typed_config: {"@type": type.googleapis.com/google.protobuf.BoolValue, value: true}}}}`, "filter_chain_matcher.on_no_match.action.typed_config: want the name of a filter chain"},
		{`{matcher_tree: {input: {name: i, typed_config: {` + inputAt + `ServerNameInput}}, custom_match: {name: m, typed_config: {"@type": type.googleapis.com/google.protobuf.BoolValue, value: true}}}}`, "matcher_tree.custom_match.typed_config: type.googleapis.com/google.protobuf.BoolValue is not supported"},
		{`{matcher_list: {matchers: [{predicate: {single_predicate: {input: {name: i, typed_config: {` + inputAt + `SourceIPInput}}, custom_match: {name: m, typed_config:
			{"@type": type.googleapis.com/envoy.extensions.matching.input_matchers.consistent_hashing.v3.ConsistentHashing, threshold: 3, modulo: 2}}}}, on_match: ` + chainNamed + `in}}}}]}}`,
			"matchers[0].predicate.single_predicate.custom_match.typed_config.threshold: 3 is more than modulo"},
	} {
		m := &listenerv3.Listener{}
		fromYAML(t, `{name: l, filter_chain_matcher: `+tt.matcher+`}`, m)
		err := newDecoder().chainMatcher(m.FilterChainMatcher, &listener.Listener{})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.matcher, err, tt.want)
		}
	}
}
