package fleet

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/control/serve"
	"github.com/weftmesh/weft/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	shop = workload("shop", "web", 1)
	bank = workload("bank", "till", 2)
)

func TestStreamsThatAreRefused(t *testing.T) {
	f := start(t)
	f.snapshots.Store(snapshot(1, "start", shop, bank))
	for _, tc := range []struct {
		name, id, token string
		want            codes.Code
		says            string
	}{
		{"no token", nodeID("shop", "web"), "", codes.Unauthenticated, "initial_metadata"},
		{"somebody else's token", nodeID("shop", "web"), "token of till", codes.PermissionDenied, "shop/web, the token is that of bank/till"},
		{"no node id", "web", "token of web", codes.InvalidArgument, "type~ip~name.namespace~domain"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := f.dial(t, tc.id, tc.token)
			_, err := c.stream.Recv()
			if status.Code(err) != tc.want || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v, want %v that says %q", err, tc.want, tc.says)
			}
		})
	}
}

// A proxy may be quicker than the news of its workload.
func TestStreamsWaitForTheirWorkload(t *testing.T) {
	f := start(t)
	c := f.dial(t, nodeID("shop", "web"), "token of web")
	c.subscribe(wire.TypeCluster, nil)
	f.publish(t, snapshot(1, "start", bank))
	f.publish(t, snapshot(2, "web runs", bank, shop))
	if r := c.until(wire.TypeCluster); r.GetSystemVersionInfo() != "2" {
		t.Errorf("served from version %s, want 2", r.GetSystemVersionInfo())
	}
}

func TestAChangeWakesWhomItConcerns(t *testing.T) {
	f := start(t)
	f.publish(t, snapshot(1, "start", shop, bank, service("shop", "web", 80)))
	web, till := f.connect(t, "shop", "web"), f.connect(t, "bank", "till")
	if len(web.held[wire.TypeCluster]) <= len(till.held[wire.TypeCluster]) {
		t.Fatalf("web holds %v and till %v: the service should be web's alone", web.held, till.held)
	}
	before := till.sent

	events, stop := f.Subscribe()
	defer stop()
	f.snapshots.Store(snapshot(2, "a port more", shop, bank, service("shop", "web", 80, 81)))
	web.until(wire.TypeCluster)
	web.barrier()
	e := next(t, events)
	if e.Proxies != 1 || len(e.Late) != 0 || !cmp.Equal(e.Why, []string{"a port more"}) {
		t.Errorf("event is %+v, want one proxy, none late", e)
	}
	if till.barrier(); till.sent != before {
		t.Errorf("till got %d resources of a change that is none of its business", till.sent-before)
	}

	// Nothing that anybody holds is different.
	if e := f.publish(t, snapshot(3, "a comment", shop, bank, service("shop", "web", 80, 81))); e.Proxies != 0 {
		t.Errorf("event is %+v, want no proxies", e)
	}
}

func TestEqualResourcesAreShared(t *testing.T) {
	f := start(t)
	public := service("shop", "web", 80)
	public.Exports = model.Visibility{Public: true}
	f.publish(t, snapshot(1, "start", shop, bank, public))
	web, till := f.connect(t, "shop", "web"), f.connect(t, "bank", "till")
	name := wire.ClusterName(wire.Outbound, 80, "", public.Host)
	find := func(proxy string) *resource.Resource { return f.Config(proxy).Set(wire.TypeCluster).Get(name) }
	a, b := find("web.shop"), find(nodeID("bank", "till"))
	if a == nil || a != b {
		t.Errorf("cluster %s is %p for one proxy and %p for the other", name, a, b)
	}
	// What nobody holds any more is forgotten, and only that.
	f.close(web)
	f.close(till)
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.sessions) != 0 || len(f.groups) != 0 {
		t.Errorf("%d sessions and %d groups are kept", len(f.sessions), len(f.groups))
	}
}

func TestStatus(t *testing.T) {
	f := start(t)
	none := workload("shop", "cron", 3)
	none.Engine = "none"
	gateway := workload("edge", "gw", 4)
	gateway.Gateway = true
	f.publish(t, snapshot(1, "start", shop, bank, none, gateway, service("shop", "web", 80)))
	web := f.connect(t, "shop", "web")
	till := f.dial(t, nodeID("bank", "till"), "token of till")
	till.refuse = wire.TypeListener
	till.subscribe(wire.TypeListener, nil)
	till.barrier()

	type row struct {
		Name, Type        string
		Connected, Synced bool
		Version           uint64
		Error             string
	}
	rows := func() (out []row) {
		for _, p := range f.Status() {
			out = append(out, row{p.Name + "." + p.Namespace, p.Type, p.Connected, p.Synced, p.Version, p.Types[wire.TypeListener].Error})
		}
		return out
	}
	want := []row{
		{"till.bank", "sidecar", true, false, 1, "field x is not for me"},
		{"gw.edge", "router", false, false, 0, ""}, // not connected
		{"web.shop", "sidecar", true, true, 1, ""},
	}
	if d := cmp.Diff(want, rows()); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}

	// A later response that is taken ends the rejection; one that is not answered
	// is not in sync.
	till.hold, web.hold = "", wire.TypeCluster
	public := service("shop", "web", 80, 81)
	public.Exports = model.Visibility{Public: true}
	f.snapshots.Store(snapshot(2, "public", shop, bank, none, gateway, public))
	till.until(wire.TypeListener)
	till.barrier()
	web.until(wire.TypeCluster)
	want[0].Synced, want[0].Version, want[0].Error = true, 2, ""
	want[2].Synced = false
	if d := cmp.Diff(want, rows()); d != "" {
		t.Errorf("after the change, -want +got:\n%s", d)
	}
	web.hold = ""
	web.answer(web.unanswered)
	web.until(wire.TypeListener)
	web.barrier()
	want[2].Synced, want[2].Version = true, 2
	if d := cmp.Diff(want, rows()); d != "" {
		t.Errorf("after all answers, -want +got:\n%s", d)
	}
}

func TestAgentsAreNotCounted(t *testing.T) {
	f := start(t)
	f.publish(t, snapshot(1, "start", shop))
	agent := f.dialAs(t, nodeID("shop", "web"), "token of web", wire.NodeMetadata{Engine: "go", Agent: true})
	agent.subscribe(wire.TypeHost, nil)
	agent.barrier()
	if list := f.Status(); len(list) != 1 || list[0].Connected {
		t.Errorf("status is %+v, want one proxy that is not connected", list)
	}
	if e := f.publish(t, snapshot(2, "a service", shop, service("shop", "web", 80))); e.Proxies != 0 {
		t.Errorf("event counts %d proxies, want none: only an agent is there", e.Proxies)
	}
	if agent.until(wire.TypeHost); len(agent.held[wire.TypeHost]) != 1 {
		t.Errorf("the agent has names %v, want that of the service", agent.held[wire.TypeHost])
	}
	if f.Config("web.shop") != nil {
		t.Error("the agent's configuration is taken for the proxy's")
	}
}

func TestReconnectingSendsNothing(t *testing.T) {
	f := start(t)
	f.publish(t, snapshot(1, "start", shop, service("shop", "web", 80)))
	first := f.connect(t, "shop", "web")
	if first.sent == 0 {
		t.Fatal("the first connection got nothing")
	}
	// The new stream comes before the fleet knows that the old one has gone.
	again := f.dial(t, nodeID("shop", "web"), "token of web")
	for _, typ := range []string{wire.TypeCluster, wire.TypeListener} {
		again.subscribe(typ, first.held[typ])
	}
	again.barrier()
	if again.sent != 0 {
		t.Errorf("%d resources were sent again", again.sent)
	}
	if list := f.Status(); len(list) != 1 || !list[0].Synced {
		t.Errorf("status is %+v, want the one proxy in sync", list)
	}
	f.close(first)
	events, stop := f.Subscribe()
	defer stop()
	f.snapshots.Store(snapshot(2, "a port more", shop, service("shop", "web", 80, 81)))
	again.until(wire.TypeCluster)
	again.barrier()
	if e := next(t, events); e.Proxies != 1 || len(e.Late) != 0 {
		t.Errorf("event after the old stream's end is %+v", e)
	}
	if f.Config("web.shop") == nil {
		t.Error("the end of the old stream took the new one along")
	}
}

func TestManySessionsChurn(t *testing.T) {
	const proxies, rounds, versions = 12, 8, 40
	f := start(t)
	at := func(version uint64) *model.Snapshot {
		parts := []any{service("shop", "web", 80, 81+uint16(version%5))}
		for i := range proxies {
			parts = append(parts, workload("shop", fmt.Sprintf("web-%d", i), byte(10+i)))
		}
		return snapshot(version, "churn", parts...)
	}
	f.publish(t, at(1))
	var wg sync.WaitGroup
	for i := range proxies {
		wg.Go(func() {
			name := fmt.Sprintf("web-%d", i)
			for range rounds {
				c := f.dial(t, nodeID("shop", name), "token of "+name)
				c.subscribe(wire.TypeCluster, nil)
				c.until(wire.TypeCluster)
				f.Status()
				f.Findings()
				f.close(c)
			}
		})
	}
	for v := range uint64(versions) {
		f.snapshots.Store(at(v + 2))
	}
	wg.Wait()
	// The last state reaches whoever stays, and nothing else is kept.
	c := f.connect(t, "shop", "web-0")
	want := wire.ClusterName(wire.Outbound, 81+(versions+1)%5, "", "web.shop.svc.cluster.local")
	for c.held[wire.TypeCluster][want] == "" {
		c.receive()
	}
}

// TestAChangeBuildsOnlyItself counts: one service's change is translated once, for
// any number of proxies, and nothing else is.
func TestAChangeBuildsOnlyItself(t *testing.T) {
	public := func(name string, address string) *model.Service {
		s := service("shop", name, 80)
		s.Exports, s.Selector, s.VIPs = model.Visibility{Public: true}, nil, nil
		s.Inline = []model.Endpoint{{Address: address, Healthy: true}}
		return s
	}
	mesh := model.DefaultMesh()
	at := func(version uint64, services ...any) *model.Snapshot {
		s := snapshot(version, "change", append(services, shop, bank)...)
		s.Mesh = mesh
		return s
	}
	a, b, c := public("a", "11.0.0.1"), public("b", "11.0.0.2"), public("c", "11.0.0.3")
	f := start(t)
	f.publish(t, at(1, a, b, c))
	web, till := f.connect(t, "shop", "web"), f.connect(t, "bank", "till")
	more := f.connect(t, "shop", "web")
	before := f.cache.Builds()
	if before != 3 {
		t.Errorf("%d builds for 3 services that all proxies see alike", before)
	}
	f.snapshots.Store(at(2, a, public("b", "11.0.9.9"), c))
	for _, x := range []*consumer{web, till, more} {
		r := x.until(wire.TypeEndpoint)
		if len(r.GetResources()) != 1 || r.GetResources()[0].GetName() != wire.ClusterName(wire.Outbound, 80, "", b.Host) {
			t.Errorf("of the change came %v", r)
		}
	}
	if n := f.cache.Builds() - before; n != 1 {
		t.Errorf("%d builds for one endpoint, want 1", n)
	}
	// A route concerns no cluster: what was made of services stays.
	with := at(3, a, b, c)
	with.Routes = []*model.RouteSet{{
		Meta: key(model.KindVirtualService, "shop", "r"), Hosts: []string{a.Host}, Gateways: []string{"mesh"}, Exports: model.Visibility{Public: true},
		HTTP: []model.Route{{Destinations: []model.Destination{{Host: b.Host, Port: 80}}}},
	}}
	before = f.cache.Builds()
	f.snapshots.Store(with)
	for _, x := range []*consumer{web, till, more} {
		x.until(wire.TypeEndpoint)
	}
	if n := f.cache.Builds() - before; n != 1 { // b is another object again
		t.Errorf("%d builds for a route and a service, want 1", n)
	}
}

// TestPlaintext: on a listener for it a proxy is who its node says, and gets all but
// what is secret; a token still counts.
func TestPlaintext(t *testing.T) {
	f := start(t)
	cert := &model.Secret{Meta: key(model.KindSecret, "shop", "cert"), Cert: []byte("c"), PrivateKey: []byte("k")}
	s := snapshot(1, "start", shop, bank, service("shop", "web", 80))
	s.Secrets = []*model.Secret{cert}
	at443 := []*model.Gateway{{
		Meta: key(model.KindGateway, "shop", "gw"), Selector: map[string]string{"istio": "gw"},
		Servers: []model.Server{{Port: 443, PortName: "https", Protocol: model.HTTPS, Hosts: []string{"*/*"},
			TLS: &model.ServerTLS{Mode: model.TLSSimple, Credentials: []string{"shop/cert"}}}},
	}}
	s.Gateways = at443
	f.publish(t, s)
	meta := wire.NodeMetadata{Namespace: "shop", InstanceIPs: "10.244.9.9", Labels: map[string]string{"istio": "gw"}}
	node := func(kind wire.NodeType, name string) *corev3.Node {
		id := wire.NodeID{Type: kind, IP: "10.244.9.9", Name: name, Namespace: "shop", Domain: "shop.svc.cluster.local"}
		return &corev3.Node{Id: id.String(), Metadata: meta.Struct()}
	}
	open := func(ctx context.Context, n *corev3.Node) *serve.State {
		t.Helper()
		session, err := f.Plaintext().Open(ctx, n, false)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(session.Close)
		state, _, err := session.State(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return state
	}
	state := open(t.Context(), node(wire.Sidecar, "anybody"))
	if state.Set(wire.TypeCluster).Get(wire.ClusterName(wire.Outbound, 80, "", "web.shop.svc.cluster.local")) == nil {
		t.Error("a proxy that proves nothing does not get its namespace's service")
	}
	gateway := open(t.Context(), node(wire.Router, "gw"))
	if gateway.Set(wire.TypeListener).Len() == 0 || gateway.Set(wire.TypeSecret).Len() != 0 {
		t.Errorf("a gateway that proves nothing gets %d listeners and %d secrets, want some and none",
			gateway.Set(wire.TypeListener).Len(), gateway.Set(wire.TypeSecret).Len())
	}
	// Two that say one name as a workload's do not stand in for it.
	open(t.Context(), node(wire.Sidecar, "web"))
	if !slices.ContainsFunc(f.Status(), func(p ProxyStatus) bool { return p.Name == "web" && !p.Connected }) {
		t.Errorf("the workload counts as connected: %+v", f.Status())
	}
	gatewayToken := workload("shop", "edge", 9)
	gatewayToken.Labels = map[string]string{"istio": "gw"}
	s = snapshot(2, "a gateway", shop, bank, gatewayToken)
	s.Secrets, s.Gateways = []*model.Secret{cert}, at443
	f.snapshots.Store(s)
	if open(bearer(t.Context(), "token of edge"), node(wire.Router, "edge")).Set(wire.TypeSecret).Len() != 0 {
		t.Error("a secret goes over a line that others may read, since its owner has a token")
	}
	if s, err := f.Open(bearer(t.Context(), "token of edge"), node(wire.Router, "edge"), false); err != nil {
		t.Error(err)
	} else {
		defer s.Close()
		if state, _, _ := s.State(t.Context()); state.Set(wire.TypeSecret).Len() == 0 {
			t.Error("the gateway gets no secret where it should")
		}
	}
	withToken := bearer(t.Context(), "token of till")
	if _, err := f.Plaintext().Open(withToken, node(wire.Sidecar, "web"), false); status.Code(err) != codes.PermissionDenied {
		t.Errorf("somebody else's token: %v", err)
	}
	if _, err := f.Plaintext().Open(t.Context(), &corev3.Node{Id: "web"}, false); status.Code(err) != codes.InvalidArgument {
		t.Errorf("no node id: %v", err)
	}
}
