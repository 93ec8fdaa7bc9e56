package fleet

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/wire"
)

func httpService(namespace, name string) *model.Service {
	s := service(namespace, name, 80)
	s.Ports[0].Protocol = model.HTTP
	return s
}

func onDemand(w *model.Workload) *model.Workload {
	w.Annotations = map[string]string{wire.ModeKey: wire.ModeOnDemand}
	return w
}

// askFor asks for names and takes what comes.
func (c *consumer) askFor(typ string, names ...string) {
	c.t.Helper()
	c.send(&discoverypb.DeltaDiscoveryRequest{TypeUrl: typ, ResourceNamesSubscribe: names})
	c.barrier()
}

// outbound are the outbound clusters that the consumer has, and those by address.
func (c *consumer) outbound() string {
	var out []string
	for name := range c.held[wire.TypeCluster] {
		if strings.HasPrefix(name, wire.Outbound) || strings.HasPrefix(name, wire.DemandTCP) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

const clusterA = "outbound|80||a.shop.svc.cluster.local"

// TestOnDemand: a proxy gets what it asks for, as far as it may see it, and nobody
// else does; what is not there comes when it is.
func TestOnDemand(t *testing.T) {
	f := start(t)
	one, two := onDemand(workload("shop", "one", 2)), onDemand(workload("shop", "two", 3))
	a, b := httpService("shop", "a"), httpService("bank", "b")
	f.publish(t, snapshot(1, "start", a, b, one, two))
	c, d := f.connect(t, "shop", "one"), f.connect(t, "shop", "two")
	if got := c.outbound(); got != "" {
		t.Errorf("unasked came %s", got)
	}
	if n := len(c.held[wire.TypeListener]); n != 2 {
		t.Errorf("%d listeners at the start, want virtualOutbound and virtualInbound", n)
	}

	c.subscribe(wire.TypeVirtualHost, nil)
	c.barrier()
	c.askFor(wire.TypeVirtualHost, "on-demand/a", "on-demand/a.shop.svc:80", "on-demand/b.bank", "on-demand/late")
	if got := c.outbound(); got != clusterA {
		t.Errorf("with the virtual hosts came %q, want %s", got, clusterA)
	}
	members := f.Members()
	if i := slices.IndexFunc(members, func(m Member) bool { return m.ID.Name == "one" }); i < 0 || len(members) != 2 || !members[i].OnDemand ||
		!slices.Contains(members[i].Asked[wire.TypeVirtualHost], "on-demand/b.bank") {
		t.Errorf("the members are %+v", members)
	}
	hosts := maps.Clone(c.held[wire.TypeVirtualHost])
	for _, name := range []string{"a", "a.shop.svc:80", "b.bank", "late"} {
		if hosts["on-demand/"+name] == "" {
			t.Errorf("no answer about %s: %v", name, hosts)
		}
	}
	// Asking for a cluster shows no more than asking for a host.
	c.askFor(wire.TypeCluster, "outbound|80||b.bank.svc.cluster.local", "tcp|10.96.0.2:80")
	if got := c.outbound(); got != clusterA+" tcp|10.96.0.2:80" { // which passes through
		t.Errorf("of another namespace came %s", got)
	}
	if d.barrier(); d.outbound() != "" {
		t.Errorf("the other proxy got %s", d.outbound())
	}

	late := httpService("shop", "late")
	late.VIPs = nil // an address would be a name for all to know
	events, stop := f.Subscribe()
	defer stop()
	f.snapshots.Store(snapshot(2, "late appears", a, b, late, one, two))
	c.until(wire.TypeVirtualHost)
	c.barrier()
	if e := next(t, events); e.Proxies != 1 {
		t.Errorf("%d proxies were told, want the one that had asked", e.Proxies)
	}
	if got := c.outbound(); !strings.Contains(got, "|late.shop") || c.held[wire.TypeVirtualHost]["on-demand/late"] == hosts["on-demand/late"] {
		t.Errorf("late did not come: %s", got)
	}
	f.snapshots.Store(snapshot(3, "and goes", a, b, one, two))
	c.until(wire.TypeVirtualHost)
	c.until(wire.TypeCluster)
	if got := c.outbound(); strings.Contains(got, "late") || c.held[wire.TypeVirtualHost]["on-demand/late"] != hosts["on-demand/late"] {
		t.Errorf("late did not go: %s", got)
	}
}

// cluster takes one out of a response.
func (c *consumer) cluster(r *discoverypb.DeltaDiscoveryResponse, name string) *clusterv3.Cluster {
	c.t.Helper()
	for _, x := range r.GetResources() {
		if x.GetName() == name {
			m := &clusterv3.Cluster{}
			if err := x.GetResource().UnmarshalTo(m); err != nil {
				c.t.Fatal(err)
			}
			return m
		}
	}
	c.t.Fatalf("no cluster %s came", name)
	return nil
}

func (c *consumer) addresses(m *endpointv3.ClusterLoadAssignment) (out []string) {
	for _, l := range m.GetEndpoints() {
		for _, e := range l.GetLbEndpoints() {
			out = append(out, e.GetEndpoint().GetAddress().GetSocketAddress().GetAddress())
		}
	}
	return out
}

// TestOneRoundTrip: with a first virtual host comes all that it takes, and nothing
// of it waits for an answer; endpoints that change come by themselves.
func TestOneRoundTrip(t *testing.T) {
	f := start(t)
	a, one, server := httpService("shop", "a"), onDemand(workload("shop", "one", 2)), workload("shop", "a", 7)
	f.publish(t, snapshot(1, "start", a, one, server))
	c := f.connect(t, "shop", "one")
	c.subscribe(wire.TypeVirtualHost, nil)
	c.barrier()
	c.hold = wire.TypeCluster
	c.send(&discoverypb.DeltaDiscoveryRequest{TypeUrl: wire.TypeVirtualHost, ResourceNamesSubscribe: []string{"on-demand/a"}})
	m := c.cluster(c.until(wire.TypeCluster), clusterA)
	if got := c.addresses(m.GetLoadAssignment()); len(got) != 1 || got[0] != "10.244.0.7" {
		t.Errorf("the cluster came with the endpoints %v", got)
	}
	c.until(wire.TypeVirtualHost) // although neither cluster nor endpoints have been taken
	c.hold = ""
	c.answer(c.unanswered)
	c.barrier()

	f.snapshots.Store(snapshot(2, "an instance appears", a, one, server, func() *model.Workload {
		w := workload("shop", "a2", 8)
		w.Labels = server.Labels
		return w
	}()))
	m = c.cluster(c.until(wire.TypeCluster), clusterA)
	if m.GetEdsClusterConfig() == nil || m.GetLoadAssignment() != nil {
		t.Errorf("the cluster is still whole: %v", m)
	}
	e := &endpointv3.ClusterLoadAssignment{}
	if err := c.until(wire.TypeEndpoint).GetResources()[0].GetResource().UnmarshalTo(e); err != nil {
		t.Fatal(err)
	}
	if got := c.addresses(e); len(got) != 2 {
		t.Errorf("it has the endpoints %v", got)
	}
	// From here on only they change.
	before := c.held[wire.TypeCluster][clusterA]
	f.snapshots.Store(snapshot(3, "and goes", a, one, server))
	c.until(wire.TypeEndpoint)
	if c.held[wire.TypeCluster][clusterA] != before {
		t.Error("the cluster changed with its endpoints")
	}
	// Who comes back keeps the cluster as it is.
	held := c.held
	f.close(c)
	c = f.dial(t, nodeID("shop", "one"), "token of one")
	c.subscribe(wire.TypeCluster, held[wire.TypeCluster])
	c.barrier()
	if c.sent != 0 {
		t.Errorf("%d resources came again: %v", c.sent, c.held)
	}
}

// TestWokenForWhatItAskedFor: a change wakes the streams that subscribe to its type,
// and no others; who asks later gets what is newest.
func TestWokenForWhatItAskedFor(t *testing.T) {
	f := start(t)
	a, one := httpService("shop", "a"), workload("shop", "one", 2)
	f.publish(t, snapshot(1, "start", a, one))
	c, d := f.connect(t, "shop", "one"), f.connect(t, "shop", "one")
	d.send(&discoverypb.DeltaDiscoveryRequest{TypeUrl: wire.TypeWorkload, ResourceNamesSubscribe: []string{"10.244.0.2"}})
	d.barrier()
	woken := map[*session]<-chan struct{}{}
	f.mu.Lock()
	for p := range f.sessions {
		woken[p] = p.state.Load().changed
	}
	f.mu.Unlock()
	f.publish(t, snapshot(2, "a stranger appears", a, one, workload("bank", "till", 9)))
	for p, changed := range woken {
		select {
		case <-changed:
			if !p.watched[wire.TypeWorkload] {
				t.Error("a stream was woken for a type that it does not subscribe to")
			}
		default:
			if p.watched[wire.TypeWorkload] {
				t.Error("a stream was not woken")
			}
		}
	}
	c.send(&discoverypb.DeltaDiscoveryRequest{TypeUrl: wire.TypeWorkload, ResourceNamesSubscribe: []string{"10.244.0.9"}})
	c.barrier()
	if c.held[wire.TypeWorkload]["10.244.0.9"] == "" {
		t.Errorf("who asked later got %v", c.held[wire.TypeWorkload])
	}
}

// TestNamesOnDemand: names for DNS come when they are asked for, as far as the proxy
// may know them, and names that there are not come when there are.
func TestNamesOnDemand(t *testing.T) {
	f := start(t)
	a, b, one := httpService("shop", "a"), httpService("bank", "b"), onDemand(workload("shop", "one", 2))
	wild := httpService("shop", "wild")
	wild.Host, wild.VIPs = "*.example.com", []netip.Prefix{netip.MustParsePrefix("240.240.0.1/32")}
	headless := httpService("shop", "db")
	headless.Headless, headless.VIPs, headless.Resolution, headless.Selector = true, nil, model.Passthrough, map[string]string{"app": "db"}
	f.publish(t, snapshot(1, "start", a, b, wild, headless, one, workload("shop", "db", 5)))
	c := f.connect(t, "shop", "one")
	c.subscribe(wire.TypeHost, nil)
	c.barrier()
	if got := slices.Sorted(maps.Keys(c.held[wire.TypeHost])); len(got) != 1 || got[0] != wire.HostsOnDemand {
		t.Errorf("unasked came %v", got)
	}
	const domain = ".svc.cluster.local"
	c.askFor(wire.TypeHost, "a.shop"+domain, "b.bank"+domain, "x.example.com", "db.db.shop"+domain, "late.shop"+domain)
	want := []string{wire.HostsOnDemand, "a.shop" + domain, "db.db.shop" + domain, "x.example.com"}
	if got := slices.Sorted(maps.Keys(c.held[wire.TypeHost])); !slices.Equal(got, want) {
		t.Errorf("names %v, want %v", got, want)
	}
	f.snapshots.Store(snapshot(2, "late appears", a, b, wild, headless, one, httpService("shop", "late")))
	c.until(wire.TypeHost)
	if c.held[wire.TypeHost]["late.shop"+domain] == "" {
		t.Errorf("names %v, want the late one", c.held[wire.TypeHost])
	}
}

// TestOnDemandResumes: a proxy that reconnects says what it has, and keeps it.
func TestOnDemandResumes(t *testing.T) {
	f := start(t)
	f.publish(t, snapshot(1, "start", httpService("shop", "a"), onDemand(workload("shop", "one", 2))))
	c := f.connect(t, "shop", "one")
	c.subscribe(wire.TypeVirtualHost, nil)
	c.barrier()
	c.askFor(wire.TypeVirtualHost, "on-demand/a")
	held := c.held
	if c.outbound() != clusterA || held[wire.TypeVirtualHost]["on-demand/a"] == "" {
		t.Fatalf("got %v", held)
	}
	f.close(c)

	c = f.dial(t, nodeID("shop", "one"), "token of one")
	// In this order: clusters come before what says that they are used.
	c.subscribe(wire.TypeCluster, held[wire.TypeCluster])
	c.barrier()
	c.send(&discoverypb.DeltaDiscoveryRequest{
		TypeUrl: wire.TypeVirtualHost, ResourceNamesSubscribe: []string{"on-demand/a"}, InitialResourceVersions: held[wire.TypeVirtualHost],
	})
	c.barrier()
	if c.sent != 0 {
		t.Errorf("%d resources came again: %v", c.sent, c.held)
	}
}
