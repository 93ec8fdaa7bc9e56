package cli

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"

	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/control/fleet"
	"github.com/weftmesh/weft/control/model"
)

func TestReach(t *testing.T) {
	object := func(kind model.Kind, name, result string) console.Applied {
		return console.Applied{Object: model.Key{Kind: kind, Namespace: "default", Name: name}, Result: result}
	}
	route := object(model.KindVirtualService, "reviews", "configured")
	other := fleet.Event{Why: []string{"web-0 is ready"}, Proxies: 9, Millis: 9}
	mine := fleet.Event{Why: []string{"VirtualService default/reviews changed (split.yaml)"}, Proxies: 13, Millis: 42}
	for _, c := range []struct {
		name    string
		results []console.Applied
		events  []fleet.Event
		said    string
	}{
		{"nothing new", []console.Applied{object(model.KindVirtualService, "reviews", "unchanged")}, nil, ""},
		{"the event that names it", []console.Applied{route}, []fleet.Event{other, mine}, "13 proxies updated in 42 ms\n"},
		{"two events", []console.Applied{route, object(model.KindService, "x", "deleted")}, []fleet.Event{
			mine, {Why: []string{"Service default/x removed"}, Proxies: 1, Millis: 8},
		}, "13 proxies updated in 50 ms\n"},
		{"the mesh's own", []console.Applied{object(model.KindConfigMap, "istio", "created")}, []fleet.Event{
			{Why: []string{"MeshConfig istio-system/istio added (mesh.yaml)"}},
		}, "concerns no proxy\n"},
		{"one refuses", []console.Applied{route}, []fleet.Event{
			{Why: mine.Why, Proxies: 1, Millis: 3, Rejected: []fleet.Rejection{{Proxy: "web-0.default", Error: "listener l: field f"}}},
		}, "1 proxy updated in 3 ms\nweb-0.default rejected it: listener l: field f\n"},
		{"more than an event names", []console.Applied{route}, []fleet.Event{{Why: []string{"Service default/a added, 9 more"}, Proxies: 2}}, "2 proxies updated in 0 ms\n"},
		{"only a comment", []console.Applied{route}, []fleet.Event{{Why: []string{"virtualservice_default_reviews.yaml changed"}}}, "concerns no proxy\n"},
		{"nobody tells", []console.Applied{route}, []fleet.Event{other}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				events := make(chan fleet.Event, len(c.events))
				for _, e := range c.events {
					events <- e
				}
				ctx, stop := context.WithCancel(t.Context())
				r := &reach{events, stop}
				var out bytes.Buffer
				r.await(ctx, c.results, &out)
				if out.String() != c.said {
					t.Errorf("said %q, want %q", out.String(), c.said)
				}
				if ctx.Err() == nil {
					t.Error("the stream goes on")
				}
			})
		})
	}
}
