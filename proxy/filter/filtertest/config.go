package filtertest

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
)

// Any is a configuration written as JSON; "@type" says what it is, with or
// without "type.googleapis.com/".
func Any(t testing.TB, json string) *anypb.Any {
	t.Helper()
	a := &anypb.Any{}
	if err := protojson.Unmarshal([]byte(json), a); err != nil {
		t.Fatalf("%v\n%s", err, json)
	}
	return a
}

// Filter is the filter f of a configuration for stream s.
func Filter(t testing.TB, k filter.HTTPKind, json string, s filter.Stream) filter.HTTPFilter {
	t.Helper()
	f, err := k.Parse(&filter.ParseContext{FilterName: "f", StatPrefix: "test"}, Any(t, json))
	if err != nil {
		t.Fatalf("%v\n%s", err, json)
	}
	return f.New(s)
}

// Refused checks that configurations are refused by the names of their fields.
func Refused(t *testing.T, parse func(*filter.ParseContext, *anypb.Any) error, cases map[string]string) {
	t.Helper()
	for json, field := range cases {
		if err := parse(&filter.ParseContext{FilterName: "f"}, Any(t, json)); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v, want it to name %s", json, err, field)
		}
	}
}
