package console

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/control/model"
)

func TestServiceRows(t *testing.T) {
	svc := func(name string, ports ...model.Protocol) *model.Service {
		s := &model.Service{
			Meta: head(model.KindService, "shop", name), Namespace: "shop", Name: name, Host: name + ".shop", Selector: map[string]string{"app": name},
			VIPs: []netip.Prefix{netip.MustParsePrefix("10.96.0.1/32"), netip.MustParsePrefix("fd00::1/128")},
		}
		for _, p := range ports {
			s.Ports = append(s.Ports, model.ServicePort{Protocol: p})
		}
		return s
	}
	work := func(name, app, version string, ready, inMesh bool) *model.Workload {
		return &model.Workload{
			Meta: head(model.KindWorkload, "shop", name), Name: name, Namespace: "shop",
			Labels: map[string]string{"app": app, "version": version}, Ready: ready, Mesh: inMesh,
		}
	}
	entry := svc("api", model.TLS)
	entry.FromEntry, entry.Selector, entry.Inline = true, nil, []model.Endpoint{{}, {}}
	headless := svc("db", model.TCP)
	headless.Headless, headless.VIPs = true, nil
	foreign := work("w", "web", "v9", true, true)
	foreign.Namespace = "bank"
	got := serviceRows(mesh(1,
		svc("web", model.HTTP, model.Unknown, model.HTTP), entry, headless, svc("idle"), svc("old", model.HTTP),
		work("web-1", "web", "v2", true, true), work("web-0", "web", "v1", false, true), work("web-2", "web", "v2", true, true),
		work("db-0", "db", "", true, true), work("old-0", "old", "", true, false), work("old-1", "old", "", true, true), foreign,
	))
	want := []ServiceRow{
		{Service: "api.shop", Namespace: "shop", Host: "api.shop", Versions: []string{}, Ready: 2, Replicas: 2, Protocols: []string{"TLS"}, MTLS: "-", Address: "10.96.0.1"},
		{Service: "db", Namespace: "shop", Host: "db.shop", Versions: []string{}, Ready: 1, Replicas: 1, Protocols: []string{"TCP"}, MTLS: "permissive", Address: "headless"},
		{Service: "idle", Namespace: "shop", Host: "idle.shop", Versions: []string{}, Protocols: []string{}, MTLS: "-", Address: "10.96.0.1"},
		{Service: "old", Namespace: "shop", Host: "old.shop", Versions: []string{}, Ready: 2, Replicas: 2, Protocols: []string{"HTTP"}, MTLS: "mixed", Address: "10.96.0.1"},
		{Service: "web", Namespace: "shop", Host: "web.shop", Versions: []string{"v1", "v2"}, Ready: 2, Replicas: 3, Protocols: []string{"HTTP", "auto"}, MTLS: "permissive", Address: "10.96.0.1"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestMTLS(t *testing.T) {
	web := &model.Workload{Namespace: "shop", Labels: map[string]string{"app": "web"}, Mesh: true}
	auth := func(namespace string, mode model.MTLSMode, selector map[string]string) *model.PeerAuth {
		return &model.PeerAuth{Meta: head(model.KindPeerAuthentication, namespace, "p"), Mode: mode, Selector: selector}
	}
	mine, other := map[string]string{"app": "web"}, map[string]string{"app": "db"}
	for _, tc := range []struct {
		name string
		have []*model.PeerAuth
		want string
	}{
		{"nothing said", nil, "permissive"},
		{"mesh", []*model.PeerAuth{auth("istio-system", model.MTLSStrict, nil)}, "strict"},
		{"namespace beats mesh", []*model.PeerAuth{auth("istio-system", model.MTLSStrict, nil), auth("shop", model.MTLSDisable, nil)}, "disable"},
		{"workload beats namespace", []*model.PeerAuth{auth("shop", model.MTLSStrict, mine), auth("shop", model.MTLSDisable, nil)}, "strict"},
		{"unset leaves it to the wider one", []*model.PeerAuth{auth("istio-system", model.MTLSStrict, nil), auth("shop", model.MTLSUnset, mine)}, "strict"},
		{"others' do not count", []*model.PeerAuth{auth("shop", model.MTLSStrict, other), auth("bank", model.MTLSStrict, nil), auth("bank", model.MTLSStrict, mine)}, "permissive"},
	} {
		s := mesh(1)
		s.PeerAuths = tc.have
		if got := mtls(s, web); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
	if got := mtls(mesh(1), &model.Workload{}); got != "off" {
		t.Errorf("outside the mesh: %s", got)
	}
}
