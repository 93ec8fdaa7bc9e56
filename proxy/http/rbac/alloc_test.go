//go:build !race

package rbac

import (
	"testing"

	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"

	"github.com/weftmesh/weft/proxy/filter"
)

func TestJudgingAllocatesNothing(t *testing.T) {
	f, err := HTTPKind().Parse(&filter.ParseContext{}, decode(t, `{"rules":{"policies":{"p":{
		"permissions":[{"andRules":{"rules":[{"header":{"name":":method","exactMatch":"POST"}},{"urlPath":{"path":{"prefix":"/api"}}}]}}],
		"principals":[{"andIds":{"ids":[{"authenticated":{"principalName":{"suffix":"/sa/reviews"}}},{"remoteIp":{"addressPrefix":"203.0.113.0","prefixLen":24}},
			{"metadata":{"filter":"ns","path":[{"key":"a"},{"key":"b"}],"value":{"listMatch":{"oneOf":{"stringMatch":{"exact":"x"}}}}}}]}}]}}},
		"shadowRules":{"action":"DENY","policies":{"s":{"permissions":[{"any":true}],"principals":[{"any":true}]}}}}`, &httpv3.RBAC{}))
	if err != nil {
		t.Fatal(err)
	}
	s := request()
	s.StreamInfo.Metadata = map[string]any{"ns": map[string]any{"a": map[string]any{"b": []any{"w", "x"}}}}
	n := testing.AllocsPerRun(100, func() {
		delete(s.StreamInfo.Metadata, HTTPName)
		if f.New(s).RequestHeaders(s, s.Req, true) != filter.Continue {
			t.Fatal("denied")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
