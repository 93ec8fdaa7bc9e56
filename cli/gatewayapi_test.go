package cli

import (
	"bytes"
	"testing"

	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/control/gwstatus"
	"github.com/weftmesh/weft/control/model"
)

// TestWithStatus: the document stays as it was written, but for its status.
func TestWithStatus(t *testing.T) {
	status := &gwstatus.Status{Conditions: []gwstatus.Condition{{Type: "Accepted", Status: "True", Reason: "Accepted", Message: "m"}}}
	const text = "status:\n  conditions:\n  - message: m\n    reason: Accepted\n    status: \"True\"\n    type: Accepted\n"
	for _, tc := range []struct{ name, doc, want string }{
		{"none", "# mine\nkind: Gateway\nspec: {}", "# mine\nkind: Gateway\nspec: {}\n" + text},
		{"last", "kind: Gateway\nspec: {}\nstatus:\n  old: 1\n  # more\n  x: 2", "kind: Gateway\nspec: {}\n" + text},
		{"first", "status:\n  old: 1\nkind: Gateway\nspec: {status: kept}", "kind: Gateway\nspec: {status: kept}\n" + text},
		{"flow", `{"kind": "Gateway", "status": {"old": 1}}`, "kind: Gateway\n" + text},
		{"comment", "# not to be had", "# not to be had"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := withStatus(tc.doc, status)
			if err != nil || got != tc.want {
				t.Errorf("got %v:\n%s\nwant:\n%s", err, got, tc.want)
			}
		})
	}
	if _, err := withStatus("a: [", status); err == nil {
		t.Error("what is no YAML has a status")
	}
}

// TestWriteGatewayAPI: what is well is one line, what is not has the API's words.
func TestWriteGatewayAPI(t *testing.T) {
	var out bytes.Buffer
	writeStatus(&out, &console.ObjectSummary{
		Key: model.Key{Kind: model.KindHTTPRoute, Namespace: "a", Name: "r"}, Source: "r.yaml:1",
		Status: &console.ObjectStatus{
			Conditions: []console.Condition{{Type: "Accepted", Status: "True", Reason: "Accepted"}},
			GatewayAPI: &gwstatus.Status{
				Addresses: []gwstatus.Address{{Type: "IPAddress", Value: "10.0.0.1"}},
				Listeners: []gwstatus.Listener{{Name: "http", AttachedRoutes: 2, Conditions: []gwstatus.Condition{{Type: "Conflicted", Status: "False", Reason: "NoConflicts", Message: "none"}}}},
				Parents: []gwstatus.Parent{{
					ParentRef:  &gwstatus.ParentRef{Kind: "Gateway", Namespace: "a", Name: "g", SectionName: "http"},
					Conditions: []gwstatus.Condition{{Type: "Accepted", Status: "False", Reason: "NoMatchingParent", Message: "no listener"}},
				}},
				Ancestors: []gwstatus.Parent{{AncestorRef: &gwstatus.ParentRef{Kind: "Service", Namespace: "a", Name: "s"}}},
			},
		},
	})
	const want = `HTTPRoute a/r  r.yaml:1
  Accepted      True
  addresses 10.0.0.1
  listener http, 2 routes: ok
  parent Gateway a/g http:
    Accepted      False    NoMatchingParent: no listener
  ancestor Service a/s: ok
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
}
