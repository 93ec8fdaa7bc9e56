package match

import (
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/route"
)

func TestHeaders(t *testing.T) {
	h := &filter.Headers{Method: "GET", Authority: "a.b"}
	h.Add("x", "abc")
	h.Add("n", "7")
	h.Add("m", "1")
	h.Add("m", "2")
	for _, tt := range []struct {
		json string
		want bool
	}{
		{`{"name":"x"}`, true},
		{`{"name":"X","presentMatch":true}`, true},
		{`{"name":"y","presentMatch":true}`, false},
		{`{"name":"y","presentMatch":false}`, true},
		{`{"name":"x","exactMatch":"abc"}`, true},
		{`{"name":"x","prefixMatch":"ab"}`, true},
		{`{"name":"x","suffixMatch":"ab"}`, false},
		{`{"name":"x","containsMatch":"b"}`, true},
		{`{"name":"x","safeRegexMatch":{"regex":"a.c"}}`, true},
		{`{"name":"x","safeRegexMatch":{"regex":"a"}}`, false},
		{`{"name":"x","stringMatch":{"exact":"ABC","ignoreCase":true}}`, true},
		{`{"name":"x","exactMatch":"abc","invertMatch":true}`, false},
		{`{"name":"y","exactMatch":"abc","invertMatch":true}`, false},
		{`{"name":"y","exactMatch":"","invertMatch":true,"treatMissingHeaderAsEmpty":true}`, false},
		{`{"name":"n","rangeMatch":{"start":7,"end":8}}`, true},
		{`{"name":"n","rangeMatch":{"start":1,"end":7}}`, false},
		{`{"name":"m","exactMatch":"1,2"}`, false}, // lines are matched one by one, as Envoy does
		{`{"name":"m","exactMatch":"2"}`, true},
		{`{"name":":method","exactMatch":"GET"}`, true},
		{`{"name":"host","exactMatch":"a.b"}`, true},
	} {
		m := &routev3.HeaderMatcher{}
		if err := protojson.Unmarshal([]byte(tt.json), m); err != nil {
			t.Fatal(err)
		}
		c, err := Headers(m)
		if err != nil {
			t.Fatalf("%s: %v", tt.json, err)
		}
		if got := c.All(h); got != tt.want {
			t.Errorf("%s = %v", tt.json, got)
		}
	}
}

func TestErrors(t *testing.T) {
	if _, err := Headers(&routev3.HeaderMatcher{Name: "x", HeaderMatchSpecifier: &routev3.HeaderMatcher_SafeRegexMatch{SafeRegexMatch: &matcherv3.RegexMatcher{Regex: "("}}}); err == nil {
		t.Error("a bad regex was accepted")
	}
	if _, err := Strings(&matcherv3.StringMatcher{}); err == nil {
		t.Error("an empty matcher was accepted")
	}
	a, err := anypb.New(&routev3.HeaderMatcher{Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if err := Open(a, &matcherv3.StringMatcher{}, nil); err == nil {
		t.Error("a message of another type was accepted")
	}
	a, err = anypb.New(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Custom{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := Open(a, &matcherv3.StringMatcher{}, nil); err == nil || !strings.Contains(err.Error(), "custom") {
		t.Errorf("an unsupported field: %v", err)
	}
}

func TestFraction(t *testing.T) {
	got := Fraction(&typev3.FractionalPercent{Numerator: 3, Denominator: typev3.FractionalPercent_TEN_THOUSAND})
	if want := (route.Fraction{Numerator: 3, Denominator: 10_000}); got != want {
		t.Errorf("got %v", got)
	}
	if none := Fraction(nil); none.Chosen(0) {
		t.Error("no share chose a request")
	}
}
