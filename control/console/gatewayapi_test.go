package console

import (
	"testing"

	"github.com/weftmesh/weft/control/fleet"
	"github.com/weftmesh/weft/control/gwstatus"
	"github.com/weftmesh/weft/control/model"
)

// TestStatusOfGatewayAPI: objects of Gateway API have the API's own status beside ours:
// with what the proxies say, the times of its conditions, and for a route that is refused
// what its text tells.
func TestStatusOfGatewayAPI(t *testing.T) {
	k := start(t)
	gw := &model.APIGateway{Meta: head(model.KindAPIGateway, "shop", "edge")}
	gw.Generation = 4
	s := mesh(1, gw, &model.RouteSet{Meta: head(model.KindVirtualService, "shop", "r")})
	s.Verdicts = map[model.Key]*model.APIVerdict{gw.Key: {Controller: "c", Listeners: []model.ListenerVerdict{{Name: "http", Routes: 3}}}}
	bad := model.Key{Kind: model.KindHTTPRoute, Namespace: "shop", Name: "bad"}
	s.Findings = []model.Finding{{Object: bad, Code: "WEFT0107", Severity: model.Error, Field: "spec.rules", Message: "is odd"}}
	k.snapshots.Store(s)
	k.proxies.reach = map[string]fleet.Reach{"edge": {Programmed: 1, Of: 2, Pending: []fleet.Pending{{Proxy: "g-1.shop", Why: "has not taken it yet"}}}}
	status := map[model.Key]*gwstatus.Status{}
	for _, o := range get[[]ObjectSummary](k, "/v1/objects?status=true&raw=true") {
		status[o.Key] = o.Status.GatewayAPI
		if o.Key == bad && o.Raw != "kind: HTTPRoute" {
			t.Errorf("a refused route is written as %q", o.Raw)
		}
	}
	if len(status) != 3 || status[model.Key{Kind: model.KindVirtualService, Namespace: "shop", Name: "r"}] != nil {
		t.Errorf("got %v", status)
	}
	got := status[gw.Key]
	if got == nil || len(got.Listeners) != 1 || got.Listeners[0].AttachedRoutes != 3 {
		t.Fatalf("the Gateway's is %+v", got)
	}
	got.Each(func(place string, c *gwstatus.Condition) {
		if c.LastTransitionTime == "" || c.ObservedGeneration != 4 {
			t.Errorf("%s: %+v", place, *c)
		}
		if c.Type == "Programmed" && (c.Reason != "Pending" || c.Message != "on 1 of 2 proxies: g-1.shop has not taken it yet") {
			t.Errorf("%s: %+v", place, *c)
		}
	})
	if refused := status[bad]; refused == nil || len(refused.Parents) != 0 {
		t.Errorf("the refused route's is %+v", refused)
	}
}
