package metadata

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
)

const (
	header = `{"@type":"type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config",`
	setter = `{"@type":"type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config",`
)

func TestRefused(t *testing.T) {
	parse := func(c *filter.ParseContext, a *anypb.Any) error {
		_, err := HeaderKind().Parse(c, a)
		return err
	}
	filtertest.Refused(t, parse, map[string]string{
		header + `"requestRules":[{"onHeaderPresent":{"key":"k"}}]}`:                                                            "request_rules[0].header",
		header + `"requestRules":[{"header":"a"}]}`:                                                                             "request_rules[0].on_header_present",
		header + `"requestRules":[{"cookie":"a","remove":true,"onHeaderPresent":{"key":"k"}}]}`:                                 "request_rules[0].remove",
		header + `"responseRules":[{"header":"a","onHeaderMissing":{"key":"k"}}]}`:                                              "response_rules[0].on_header_missing.value",
		header + `"requestRules":[{"header":"a","onHeaderPresent":{"key":"k","regexValueRewrite":{"pattern":{"regex":"("}}}}]}`: "regex_value_rewrite",
	})
	parse = func(c *filter.ParseContext, a *anypb.Any) error {
		_, err := SetKind().Parse(c, a)
		return err
	}
	filtertest.Refused(t, parse, map[string]string{
		setter + `"metadata":[{"metadataNamespace":"n","typedValue":{"@type":"type.googleapis.com/google.protobuf.Empty"}}]}`: "metadata[0].typed_value",
		setter + `"value":{"a":1}}`: "metadata_namespace",
	})
}

// What filters share between streams is not changed by one of them.
func TestMergeCopies(t *testing.T) {
	a := map[string]any{"m": map[string]any{"x": 1.0}, "l": []any{"a"}, "s": "a", "only": "a"}
	b := map[string]any{"m": map[string]any{"y": 2.0}, "l": []any{"b"}, "s": []any{"b"}}
	want := map[string]any{"m": map[string]any{"x": 1.0, "y": 2.0}, "l": []any{"a", "b"}, "s": []any{"b"}, "only": "a"}
	for range 2 {
		if d := cmp.Diff(want, merge(a, b)); d != "" {
			t.Error(d)
		}
	}
	if len(a["m"].(map[string]any)) != 1 || len(a["l"].([]any)) != 1 {
		t.Errorf("changed: %v", a)
	}
}
