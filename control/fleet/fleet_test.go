package fleet

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/control/model"
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
	find := func(proxy string) *serve.Resource { return f.Config(proxy).Set(wire.TypeCluster).Get(name) }
	a, b := find("web.shop"), find(nodeID("bank", "till"))
	if a == nil || a != b {
		t.Errorf("cluster %s is %p for one proxy and %p for the other", name, a, b)
	}
	// What nobody holds any more is forgotten, and only that.
	f.close(web)
	f.close(till)
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.sessions) != 0 || len(f.shared) != 0 {
		t.Errorf("%d sessions and %d resources are kept", len(f.sessions), len(f.shared))
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
