package console

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/control/fleet"
	"github.com/weftmesh/weft/control/model"
)

// TestTransitions: a time is that of the last change of a condition's status, and not of
// its message; an object that goes and comes again begins anew.
func TestTransitions(t *testing.T) {
	clock := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tr := &transitions{now: func() time.Time { return clock }}
	k := model.Key{Kind: model.KindVirtualService, Namespace: "shop", Name: "a"}
	at := func(status, message string) string {
		list := []Condition{{Type: "Programmed", Status: status, Message: message}}
		tr.mark(k, list)
		return list[0].Since
	}
	want := func(step, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: since %s, want %s", step, got, want)
		}
	}
	want("first", at("False", "on 0 of 2"), "2026-01-02T03:04:05Z")
	clock = clock.Add(time.Minute)
	want("another message", at("False", "on 1 of 2"), "2026-01-02T03:04:05Z")
	want("another status", at("True", "on 2 of 2"), "2026-01-02T03:05:05Z")
	clock = clock.Add(time.Minute)
	want("no change", at("True", "on 2 of 2"), "2026-01-02T03:05:05Z")
	tr.keep(func(model.Key) bool { return false })
	want("gone between", at("True", "on 2 of 2"), "2026-01-02T03:06:05Z")
}

// TestEventsDateTransitions: what events say counts, whenever it is asked; of several it
// is the one that made the status what it is.
func TestEventsDateTransitions(t *testing.T) {
	k := start(t)
	hour := func(h int) time.Time { return time.Date(2026, 1, 2, h, 0, 0, 0, time.UTC) }
	finding := func(code string) model.Finding {
		return model.Finding{Code: code, Severity: model.Error, Object: model.Key{Kind: model.KindVirtualService, Namespace: "shop", Name: "a"}, Message: "x"}
	}
	s := mesh(1, &model.RouteSet{Meta: head(model.KindVirtualService, "shop", "a")}, &model.RouteSet{Meta: head(model.KindVirtualService, "shop", "b")})
	s.Findings = []model.Finding{finding("WEFT0201")}
	k.snapshots.Store(s)
	k.proxies.found = hour(4)
	k.proxies.history = map[string]fleet.History{
		"a": {Born: hour(1), Findings: []fleet.Found{{Finding: finding("WEFT0105"), From: hour(1), To: hour(3)}}},
		"b": {Born: hour(2)},
	}
	k.proxies.reach = map[string]fleet.Reach{
		"a": {Programmed: 1, Of: 1, Since: hour(5)},
		"b": {Of: 1, Pending: []fleet.Pending{{Proxy: "p.shop", Why: "is not connected"}}, Since: hour(6)},
	}
	want := map[string]string{
		"a Accepted": "03", "a ResolvedRefs": "04", "a Programmed": "05", "a Reconciled": "05",
		"b Accepted": "02", "b ResolvedRefs": "02", "b Programmed": "06", "b Reconciled": "06",
	}
	got := map[string]string{}
	for _, o := range get[[]ObjectSummary](k, "/v1/objects?status=true&namespace=shop") {
		for _, c := range o.Status.Conditions {
			got[o.Name+" "+c.Type] = c.Since[len("2026-01-02T"):len("2026-01-02T03")]
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("hours of transitions, -want +got:\n%s", d)
	}
}
