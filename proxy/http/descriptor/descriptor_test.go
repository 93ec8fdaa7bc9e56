package descriptor

import (
	"net/netip"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
	"github.com/weftmesh/weft/proxy/http/match"
)

func rule1(t *testing.T, json string) *routev3.RateLimit {
	t.Helper()
	m := &routev3.RateLimit{}
	if err := protojson.Unmarshal([]byte(json), m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestSupportedIsSpelt(t *testing.T) {
	c, err := strict.New(Supported, match.Supported)
	if err == nil {
		err = c.Verify()
	}
	if err != nil {
		t.Error(err)
	}
}

func TestActions(t *testing.T) {
	for _, tt := range []struct {
		name, actions string
		want          []Entry // nil: no descriptor
	}{
		{"clusters", `{"sourceCluster":{}},{"destinationCluster":{}}`, []Entry{{"source_cluster", "me"}, {"destination_cluster", "up"}}},
		{"header", `{"requestHeaders":{"headerName":"X-A","descriptorKey":"a"}}`, []Entry{{"a", "1"}}},
		{"header missing", `{"requestHeaders":{"headerName":"x-no","descriptorKey":"a"}}`, nil},
		{"header missing, skipped", `{"requestHeaders":{"headerName":"x-no","descriptorKey":"a","skipIfAbsent":true}},{"genericKey":{"descriptorValue":"v"}}`, []Entry{{"generic_key", "v"}}},
		{"query", `{"queryParameters":{"queryParameterName":"q","descriptorKey":"k"}}`, []Entry{{"k", "a b"}}},
		{"query missing", `{"queryParameters":{"queryParameterName":"no","descriptorKey":"k"}}`, nil},
		{"address", `{"remoteAddress":{}}`, []Entry{{"remote_address", "192.0.2.77"}}},
		{"masked", `{"maskedRemoteAddress":{"v4PrefixMaskLen":24}}`, []Entry{{"masked_remote_address", "192.0.2.0/24"}}},
		{"address match", `{"remoteAddressMatch":{"descriptorValue":"near","addressMatcher":{"ranges":[{"addressPrefix":"192.0.2.0","prefixLen":24}]}}}`, []Entry{{"remote_address_match", "near"}}},
		{"address match inverted", `{"remoteAddressMatch":{"descriptorValue":"far","addressMatcher":{"invertMatch":true,"ranges":[{"addressPrefix":"192.0.2.0","prefixLen":24}]}}}`, nil},
		{"generic key with commands", `{"genericKey":{"descriptorKey":"k","descriptorValue":"%REQ(x-a)%-%REQ(:METHOD)%"}}`, []Entry{{"k", "1-GET"}}},
		{"header match", `{"headerValueMatch":{"descriptorValue":"v","headers":[{"name":"x-a","exactMatch":"1"}]}}`, []Entry{{"header_match", "v"}}},
		{"header match fails", `{"headerValueMatch":{"descriptorValue":"v","headers":[{"name":"x-a","exactMatch":"2"}]}}`, nil},
		{"header match unwanted", `{"headerValueMatch":{"descriptorValue":"v","expectMatch":false,"headers":[{"name":"x-a","exactMatch":"2"}]}}`, []Entry{{"header_match", "v"}}},
		{"query match", `{"queryParameterValueMatch":{"descriptorValue":"v","queryParameters":[{"name":"q","stringMatch":{"prefix":"a"}},{"name":"r","presentMatch":true}]}}`, []Entry{{"query_match", "v"}}},
		{"dynamic metadata", `{"dynamicMetadata":{"descriptorKey":"d","metadataKey":{"key":"ns","path":[{"key":"a"},{"key":"b"}]}}}`, []Entry{{"d", "deep"}}},
		{"metadata default", `{"metadata":{"descriptorKey":"d","defaultValue":"def","metadataKey":{"key":"ns","path":[{"key":"no"}]}}}`, []Entry{{"d", "def"}}},
		{"metadata of the route", `{"metadata":{"descriptorKey":"d","source":"ROUTE_ENTRY","metadataKey":{"key":"r","path":[{"key":"x"}]}}}`, []Entry{{"d", "y"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rules, err := Parse([]*routev3.RateLimit{rule1(t, `{"actions":[`+tt.actions+`]}`)})
			if err != nil {
				t.Fatal(err)
			}
			s := filtertest.New("x-a", "1", ":path", "/p?q=a%20b&r")
			s.StreamInfo.Remote = netip.MustParseAddrPort("192.0.2.77:1")
			s.StreamInfo.Upstream.Cluster = "up"
			s.StreamInfo.Metadata = map[string]any{"ns": map[string]any{"a": map[string]any{"b": "deep"}}}
			s.StreamInfo.RouteMetadata = map[string]any{"r": map[string]any{"x": "y"}}
			var got []Entry
			for _, d := range rules.Append(nil, Facts{Stream: s, Source: "me"}, 0) {
				got = d.Entries
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestHitsAndLimits(t *testing.T) {
	rules, err := Parse([]*routev3.RateLimit{
		rule1(t, `{"actions":[{"genericKey":{"descriptorValue":"a"}}],"hitsAddend":{"number":7},"limit":{"dynamicMetadata":{"metadataKey":{"key":"ns","path":[{"key":"l"}]}}}}`),
		rule1(t, `{"actions":[{"genericKey":{"descriptorValue":"b"}}],"hitsAddend":{"format":"%REQ(x-n)%","isNegativeHits":true},"limit":{"rateLimit":{"requestsPerUnit":5,"unit":"HOUR"}}}`),
		rule1(t, `{"actions":[{"genericKey":{"descriptorValue":"c"}}],"hitsAddend":{"format":"%REQ(x-bad)%"}}`),
		rule1(t, `{"actions":[{"genericKey":{"descriptorValue":"d"}}],"stage":3}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	s := filtertest.New("x-n", "3", "x-bad", "many")
	s.StreamInfo.Metadata = map[string]any{"ns": map[string]any{"l": map[string]any{"requests_per_unit": 42.0, "unit": "MINUTE"}}}
	want := []Descriptor{
		{Entries: []Entry{{"generic_key", "a"}}, Hits: 7, HitsSet: true, Limit: &Limit{42, 2}},
		{Entries: []Entry{{"generic_key", "b"}}, Hits: 3, HitsSet: true, Negative: true, Limit: &Limit{5, 3}},
	}
	if d := cmp.Diff(want, rules.Append(nil, Facts{Stream: s}, 0)); d != "" {
		t.Error(d)
	}
}

// TestLevels: which of a route's and its virtual host's rules apply.
func TestLevels(t *testing.T) {
	policy := func(v string, host, include bool) *Policy {
		list := []*routev3.RateLimit{}
		if v != "" {
			list = append(list, rule1(t, `{"actions":[{"genericKey":{"descriptorValue":"`+v+`"}}]}`))
		}
		p, err := RouteConfig(list, host, include)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	host := policy("host", true, false)
	for _, tt := range []struct {
		name  string
		route *Policy
		vhost VirtualHost
		want  string
	}{
		{"no rules on the route", nil, Override, "host"},
		{"overridden", policy("route", false, false), Override, "route"},
		{"included by the filter", policy("route", false, false), Include, "route host"},
		{"included by the route", policy("route", false, true), Override, "route host"},
		{"ignored", nil, Ignore, ""},
		{"included by a route without rules", policy("", false, true), Ignore, "host"},
	} {
		s := filtertest.New()
		s.Levels = map[string][]any{Key: {host}}
		if tt.route != nil {
			s.Levels[Key] = append(s.Levels[Key], tt.route)
		}
		var got []string
		for _, d := range OfRoute(nil, Facts{Stream: s}, 0, tt.vhost) {
			got = append(got, d.Entries[0].Value)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
