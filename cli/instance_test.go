package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/wire"
)

// TestInstanceByName: a proxy is found by its own name, and by that of its workload.
func TestInstanceByName(t *testing.T) {
	var list []wire.Instance
	for _, x := range [][3]string{
		{"web-10", "web", "shop"}, {"web-2", "web", "shop"}, {"cart-0", "cart", "shop"}, {"both-0", "both", "a"}, {"both-0", "both", "b"},
		{"web-2-0", "web-2", "shop"}, {"istio-ingressgateway-0", "istio-ingressgateway", "istio-system"},
	} {
		list = append(list, wire.Instance{Name: x[0], App: x[1], Namespace: x[2], AdminSocket: "x"})
	}
	for word, want := range map[string]string{
		"web-10": "web-10", "web": "web-2", "web.shop": "web-2", "shop/web": "web-2", "cart": "cart-0", "both.b": "both-0", "web-2": "web-2",
		"both": `error: "both" is in several namespaces: write both.a`, "gateway/istio-ingressgateway": "istio-ingressgateway-0", "nobody": `error: no proxy "nobody": there are both-0.a, `,
	} {
		i, err := one(list, word)
		got := i.Name
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != want && (err == nil || !strings.HasPrefix(got, want)) {
			t.Errorf("%s: %s, want %s", word, got, want)
		}
	}
	if n := replicasOf(list, &list[0]); n != 2 {
		t.Errorf("web has %d replicas", n)
	}
}

// TestConfigOfAWorkload: of several replicas the first is shown, and that is said.
func TestConfigOfAWorkload(t *testing.T) {
	r := runs{t.TempDir()}
	serve(t, r.Dir("m"), wire.SupervisorSocket, map[string]any{"/v1/instances": []wire.Instance{
		{Name: "web-0", App: "web", Namespace: "default", AdminSocket: "x"}, {Name: "web-1", App: "web", Namespace: "default", AdminSocket: "x"},
		{Name: "cart-0", App: "cart", Namespace: "default", AdminSocket: "x"},
	}})
	serve(t, r.Dir("m"), wire.ConsoleSocket, map[string]any{"/v1/config": []console.ConfigResource{{Type: "Cluster", Name: "c"}}})
	for word, note := range map[string]string{"web": "note: web has 2 replicas: this is web-0\n", "web-1": "", "cart": ""} {
		out, err := run(t, r, "config", word, "--made")
		if err != nil || !strings.HasPrefix(out, note) || note == "" && strings.Contains(out, "note:") {
			t.Errorf("%s: %v\n%s", word, err, out)
		}
	}
}

// TestGetAllLeavesOutWhatRuns: nobody has written a Workload, and no command takes one.
func TestGetAllLeavesOutWhatRuns(t *testing.T) {
	r := runs{t.TempDir()}
	key := func(k model.Kind) console.ObjectSummary {
		return console.ObjectSummary{Key: model.Key{Kind: k, Namespace: "default", Name: "web"}}
	}
	serve(t, r.Dir("m"), wire.SupervisorSocket, nil)
	serve(t, r.Dir("m"), wire.ConsoleSocket, map[string]any{"/v1/objects": []console.ObjectSummary{key(model.KindService), key(model.KindWorkload)}})
	for _, command := range []string{"get", "status"} {
		if out, err := run(t, r, command, "all"); err != nil || strings.Contains(out, "Workload") || !strings.Contains(out, "Service") {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
	}
}

// TestUpgradeCounts: one connection is one.
func TestUpgradeCounts(t *testing.T) {
	st := func(n int64) *wire.HandoverStatus {
		return &wire.HandoverStatus{Version: "v2", Draining: []wire.HandoverStatus{{Connections: n}}}
	}
	for n, want := range map[int64]string{1: "1 connection stays with", 2: "2 connections stay with"} {
		var out bytes.Buffer
		showUpgrade(&out, wire.UpgradeEvent{State: "done", From: st(0), To: st(n)})
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s", out.String())
		}
	}
	if got := proxyCell(st(1)); got != "v2, 1 draining with 1 connection" {
		t.Errorf("%s", got)
	}
}
