package fleet

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/control/habit"
	"github.com/weftmesh/weft/wire"
)

// asks is a consumer that asks for virtual hosts.
func (f *testFleet) asks(t *testing.T, name string, hosts ...string) *consumer {
	t.Helper()
	c := f.connect(t, "shop", name)
	c.subscribe(wire.TypeRoute, nil)
	c.subscribe(wire.TypeVirtualHost, nil)
	c.barrier()
	if len(hosts) > 0 {
		c.askFor(wire.TypeVirtualHost, hosts...)
	}
	return c
}

// TestIdle: what a proxy does not use is taken away, so that it asks again.
func TestIdle(t *testing.T) {
	f := start(t)
	a, b, one := httpService("shop", "a"), httpService("shop", "b"), onDemand(workload("shop", "one", 2))
	f.publish(t, snapshot(1, "start", a, b, one))
	c := f.asks(t, "one", "on-demand/a", "on-demand/b", "on-demand/none")
	routes, clusterB := c.held[wire.TypeRoute][wire.OnDemandRoute], strings.Replace(clusterA, "a.shop", "b.shop", 1)

	now := time.Now()
	f.busy(one.Key, []string{clusterB}, now.Add(f.idle/2))
	f.sweep(now.Add(f.idle / 2))
	c.barrier()
	if got := c.outbound(); got != clusterA+" "+clusterB {
		t.Fatalf("nothing is old, and there is %s", got)
	}
	f.sweep(now.Add(f.idle + time.Minute))
	c.until(wire.TypeVirtualHost)
	c.barrier()
	if got := c.outbound(); got != clusterB {
		t.Errorf("there is %s, want what is in use", got)
	}
	hosts := c.held[wire.TypeVirtualHost]
	if hosts["on-demand/a"] != "" || hosts["on-demand/none"] != "" || hosts["on-demand/b"] == "" {
		t.Errorf("virtual hosts %v", hosts)
	}
	if c.held[wire.TypeRoute][wire.OnDemandRoute] == routes {
		t.Error("the routes are the same: the proxy will not ask again")
	}
	c.askFor(wire.TypeVirtualHost, "on-demand/a")
	if got := c.outbound(); got != clusterA+" "+clusterB {
		t.Errorf("asked again, and there is %s", got)
	}
}

// TestAskedIsBounded: who asks for ever more names does not fill the control plane.
func TestAskedIsBounded(t *testing.T) {
	f := start(t)
	f.publish(t, snapshot(1, "start", httpService("shop", "a"), onDemand(workload("shop", "one", 2))))
	c := f.asks(t, "one")
	for i := range maxAsked / 256 * 2 { // below what ends a stream
		var hosts, names []string
		for j := range 256 {
			hosts = append(hosts, fmt.Sprintf("on-demand/x%d-%d", i, j))
			names = append(names, fmt.Sprintf("x%d-%d.shop.svc.cluster.local", i, j))
		}
		c.askFor(wire.TypeVirtualHost, hosts...)
		c.askFor(wire.TypeHost, names...)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for p := range f.sessions {
		for url, names := range p.asked {
			if len(names) > maxAsked || len(names) < maxAsked/2 {
				t.Errorf("%d names of %s are held", len(names), url)
			}
		}
	}
}

// TestWarm: a proxy that starts has what others of its account used.
func TestWarm(t *testing.T) {
	f := start(t)
	book := habit.Open("", slog.New(slog.DiscardHandler))
	f.habits = book // as Remember does before Run
	one, two, other := onDemand(workload("shop", "one", 2)), onDemand(workload("shop", "two", 3)), onDemand(workload("shop", "other", 4))
	other.ServiceAccount = "another"
	f.publish(t, snapshot(1, "start", httpService("shop", "a"), one, two, other))
	f.close(f.asks(t, "one", "on-demand/a", "on-demand/stranger"))
	c := f.asks(t, "two")
	if got := c.outbound(); got != clusterA || c.held[wire.TypeVirtualHost]["on-demand/a"] == "" {
		t.Errorf("before it asks it has %q and the virtual hosts %v", got, c.held[wire.TypeVirtualHost])
	}
	if c.held[wire.TypeVirtualHost]["on-demand/stranger"] != "" {
		t.Error("a host that leads nowhere is remembered")
	}
	if got := f.asks(t, "other").outbound(); got != "" {
		t.Errorf("of another account came %s", got)
	}
	if n := book.Names("shop/default", time.Now()); len(n[wire.TypeVirtualHost]) != 1 {
		t.Errorf("remembered %v", n)
	}
}
