package rbac

import (
	"strings"
	"testing"
	"time"

	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"

	"github.com/weftmesh/weft/proxy/filter"
)

const action = `{"action":{"name":"a","typedConfig":{"@type":"type.googleapis.com/envoy.config.rbac.v3.Action","name":"a","action":"ALLOW"}}}`

// tree allows what the input has under the value.
func tree(input, value string) string {
	return `{"matcherTree":{"input":{"name":"i","typedConfig":` + input + `},"exactMatchMap":{"map":{"` + value + `":` + action + `}}}}`
}

func TestTreeOfConnection(t *testing.T) {
	const network = `{"@type":"type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.`
	const ssl = `{"@type":"type.googleapis.com/envoy.extensions.matching.common_inputs.ssl.v3.`
	for _, tt := range []struct {
		input, value string
		want         bool
	}{
		{network + `DestinationIPInput"}`, "10.0.0.1", true},
		{network + `DestinationPortInput"}`, "8080", true},
		{network + `SourcePortInput"}`, "8080", false},
		{network + `DirectSourceIPInput"}`, "10.1.2.3", true},
		{network + `SourceTypeInput"}`, "local", false},
		{network + `ServerNameInput"}`, "outbound_.80_._.shop", true},
		{network + `FilterStateInput","key":"k"}`, "v", true},
		{network + `FilterStateInput","key":"other"}`, "v", false},
		{network + `DynamicMetadataInput","filter":"ns","path":[{"key":"a"}]}`, "b", true},
		{ssl + `UriSanInput"}`, me + ",spiffe://other/x", true},
		{ssl + `DnsSanInput"}`, "", false},
	} {
		f, err := HTTPKind().Parse(&filter.ParseContext{}, decode(t, `{"matcher":`+tree(tt.input, tt.value)+`}`, &httpv3.RBAC{}))
		if err != nil {
			t.Fatalf("%s: %v", tt.input, err)
		}
		s := request()
		s.StreamInfo.SetObject(filter.Shared{Key: "k", Value: "v"})
		s.StreamInfo.Metadata = map[string]any{"ns": map[string]any{"a": "b"}}
		if got := f.New(s).RequestHeaders(s, s.Req, true) == filter.Continue; got != tt.want {
			t.Errorf("%s: %v", tt.input, got)
		}
	}
}

func TestCertificates(t *testing.T) {
	const custom = `{"custom":{"name":"m","typedConfig":{"@type":"type.googleapis.com/envoy.extensions.rbac.principals.mtls_authenticated.v3.Config",`
	cert := peer(me)
	cert.PeerCertificates[0].DNSNames = []string{"a.example"}
	for json, want := range map[string]bool{
		custom + `"anyValidatedClientCertificate":true}}}`:                             true,
		custom + `"sanMatcher":{"sanType":"URI","matcher":{"exact":"` + me + `"}}}}}`:  true,
		custom + `"sanMatcher":{"sanType":"DNS","matcher":{"suffix":".example"}}}}}`:   true,
		custom + `"sanMatcher":{"sanType":"EMAIL","matcher":{"suffix":".example"}}}}}`: false,
		custom + `"sanMatcher":{"sanType":"IP_ADDRESS","matcher":{"prefix":"10."}}}}}`: false,
	} {
		rules := `{"policies":{"p":{"permissions":[{"any":true}],"principals":[` + json + `]}}}`
		s := request()
		s.StreamInfo.Conn.TLS, s.StreamInfo.Conn.Verified = cert, true
		if got := judged(t, rules, s) == filter.Continue; got != want {
			t.Errorf("%s: %v", json, got)
		}
		s.StreamInfo.Conn.Verified = false
		if judged(t, rules, s) == filter.Continue {
			t.Errorf("%s: holds for a certificate that nobody has checked", json)
		}
	}
}

func TestRefusedConditions(t *testing.T) {
	call := func(function string) string {
		return `{"rules":{"policies":{"p":{"permissions":[{"any":true}],"principals":[{"any":true}],"condition":{"callExpr":{"function":"_==_","args":[
			{"callExpr":{"function":"` + function + `","args":[{"constExpr":{"stringValue":"a"}}]}},{"constExpr":{"stringValue":"a"}}]}}}}}}`
	}
	for function, want := range map[string]string{"string": "enable_string_conversion", "_+_": "enable_string_concat", "lowerAscii": "enable_string_functions"} {
		if _, err := HTTPKind().Parse(&filter.ParseContext{}, decode(t, call(function), &httpv3.RBAC{})); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", function, err)
		}
	}
}

// TestDelay: a denied connection is held, unless its client goes.
func TestDelay(t *testing.T) {
	f, err := NetworkKind().Parse(&filter.ParseContext{}, decode(t, `{"statPrefix":"x","delayDeny":"3600s","rules":{}}`, &networkv3.RBAC{}))
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	info := &filter.ConnInfo{Gone: func() bool { asked++; return asked == 2 }}
	start := time.Now()
	if f.New().Open(nil, info) != filter.Reply || info.Termination != noneMatched || time.Since(start) > time.Minute {
		t.Errorf("%q after %v", info.Termination, time.Since(start))
	}
}

func TestCountsOfPolicies(t *testing.T) {
	stats := &filter.Stats{}
	f, err := HTTPKind().Parse(&filter.ParseContext{Stats: stats, StatPrefix: "p"}, decode(t, `{"trackPerRuleStats":true,"rulesStatPrefix":"r","shadowRulesStatPrefix":"s",
		"rules":{"policies":{"one":{"permissions":[{"any":true}],"principals":[{"any":true}]}}},
		"shadowRules":{"action":"DENY","policies":{"two":{"permissions":[{"any":true}],"principals":[{"any":true}]}}}}`, &httpv3.RBAC{}))
	if err != nil {
		t.Fatal(err)
	}
	s := request()
	f.New(s).RequestHeaders(s, s.Req, true)
	for _, name := range []string{"rbac.r.policy.one.allowed", "rbac.s.policy.two.shadow_denied", "rbac.r.allowed"} {
		if n := stats.Counter("http", "p", name).Load(); n != 1 {
			t.Errorf("%s is %d", name, n)
		}
	}
}
