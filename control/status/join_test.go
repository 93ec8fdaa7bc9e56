package status

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/file"
)

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	out := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestJoin: what the cluster has is kept where it is another's, or the same.
func TestJoin(t *testing.T) {
	for name, c := range map[string]struct{ before, status, want string }{
		"a condition that stays keeps its time": {
			"{conditions: [{type: Accepted, status: 'True', lastTransitionTime: then}]}",
			"{conditions: [{type: Accepted, status: 'True', lastTransitionTime: now, message: m}]}",
			"{conditions: [{type: Accepted, status: 'True', lastTransitionTime: then, message: m, observedGeneration: 3}]}",
		},
		"one that changes has its own": {
			"{conditions: [{type: Accepted, status: 'False', lastTransitionTime: then}]}",
			"{conditions: [{type: Accepted, status: 'True', lastTransitionTime: now}]}",
			"{conditions: [{type: Accepted, status: 'True', lastTransitionTime: now, message: '', observedGeneration: 3}]}",
		},
		"listeners by their names": {
			"{listeners: [{name: b, conditions: [{type: X, status: 'True', lastTransitionTime: b}]}, {name: a, conditions: [{type: X, status: 'True', lastTransitionTime: a}]}]}",
			"{listeners: [{name: a, conditions: [{type: X, status: 'True', lastTransitionTime: now}]}]}",
			"{listeners: [{name: a, conditions: [{type: X, status: 'True', lastTransitionTime: a, message: '', observedGeneration: 3}]}]}",
		},
		"parents of other controllers": {
			"{parents: [{controllerName: example.com/x, parentRef: {name: a}}, {controllerName: weft.dev/gateway-controller, parentRef: {name: gone}}]}",
			"{parents: [{controllerName: weft.dev/gateway-controller, parentRef: {name: a}, conditions: []}]}",
			"{parents: [{controllerName: example.com/x, parentRef: {name: a}}, {controllerName: weft.dev/gateway-controller, parentRef: {name: a}, conditions: []}]}",
		},
		"a route that nobody of ours has any more": {
			"{parents: [{controllerName: weft.dev/gateway-controller, parentRef: {name: gone}}]}", "{parents: []}", "{parents: []}",
		},
	} {
		status, want := parse(t, c.status), parse(t, c.want)
		join(parse(t, c.before), status, 3)
		for _, m := range []map[string]any{status, want} { // numbers differ by who made them
			for _, list := range []any{m["conditions"], first(m["listeners"])["conditions"]} {
				if l, _ := list.([]any); len(l) > 0 {
					if g := l[0].(map[string]any); g["observedGeneration"] != nil {
						g["observedGeneration"] = "3"
					}
				}
			}
		}
		if l, _ := status["parents"].([]any); status["parents"] != nil && len(l) == 0 {
			status["parents"] = []any{}
		}
		if d := cmp.Diff(want, status); d != "" {
			t.Errorf("%s (-want, +got):\n%s", name, d)
		}
		if !same(status, status) {
			t.Errorf("%s: it is not the same as itself", name)
		}
	}
	if same(parse(t, "{a: 1}"), parse(t, "{a: 2}")) || same(nil, parse(t, "{a: 1}")) {
		t.Error("what differs is the same")
	}
}

func first(list any) map[string]any {
	if l, _ := list.([]any); len(l) > 0 {
		return l[0].(map[string]any)
	}
	return nil
}

// TestKinds: names that two projects have are two kinds, and the Gateway API's is the stable one.
func TestKinds(t *testing.T) {
	kinds := Kinds(file.NewDecoder())
	for k, want := range map[model.Kind]string{
		model.KindGateway: "[Gateway.networking.istio.io]", model.KindAPIGateway: "[Gateway.gateway.networking.k8s.io]",
		model.KindListenerSet: "[ListenerSet.gateway.networking.k8s.io XListenerSet.gateway.networking.x-k8s.io]",
	} {
		var got []string
		for _, x := range kinds[k] {
			got = append(got, x.String())
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%s is %v, want %s", k, got, want)
		}
	}
	if _, ok := kinds["Service"]; ok {
		t.Error("Kubernetes' own kinds get a status")
	}
}
