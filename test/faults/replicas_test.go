package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"

	"github.com/weftmesh/weft/wire"
)

func cluster(name string, port uint16) string {
	return wire.ClusterName(wire.Outbound, port, "", name+".default.svc.cluster.local")
}

// TestHandOver: of two control planes on one folder one ends: its proxies are with the
// other at once, get nothing that they have, and what changes reaches them; and back.
func TestHandOver(t *testing.T) {
	dir := folder(t, 20)
	a, b := startReplica(t, dir, "a"), startReplica(t, dir, "b")
	var at where
	at.set(a.address, b.address)
	var proxies []*proxy
	for i := range 10 {
		proxies = append(proxies, startProxy(t, at.connect(t), i))
	}
	all := func(what string, streams int, cluster string) {
		t.Helper()
		for i, p := range proxies {
			eventually(t, fmt.Sprintf("%s: proxy %d", what, i), func() error { return p.has(streams, cluster) })
		}
	}
	all("the first", 1, cluster("s19", 80))
	for round, end := range []func(){a.stop, func() {
		a = startReplica(t, dir, "a again")
		at.set(a.address)
		b.stop()
	}} {
		end()
		all("the other", 2+round, cluster("s19", 80))
		name := fmt.Sprintf("new%d", round)
		write(t, dir, name, service(name, 81))
		all("a change", 2+round, cluster(name, 81))
		for i, p := range proxies {
			if _, again := p.received(); again > 0 {
				t.Errorf("round %d: proxy %d was sent %d resources that it had", round, i, again)
			}
		}
	}
	if raw, err := os.ReadFile(filepath.Join(dir, "ca", "ca-cert.pem")); err != nil || len(raw) == 0 {
		t.Errorf("the root that both share: %v", err)
	}
}

// TestAllComeBack: a thousand proxies come back at once to a control plane that has just
// begun. All are served, none is sent what it has, and a change reaches all.
func TestAllComeBack(t *testing.T) {
	const proxies, connections = 1000, 50
	dir := folder(t, 50)
	first := startReplica(t, dir, "first")
	var at where
	at.set(first.address)
	var conns []*grpc.ClientConn
	for range connections {
		conns = append(conns, at.connect(t))
	}
	var list []*proxy
	for i := range proxies {
		list = append(list, startProxy(t, conns[i%connections], i))
	}
	held := make([]int, proxies)
	for i, p := range list {
		eventually(t, fmt.Sprintf("proxy %d", i), func() error { return p.has(1, cluster("s49", 80)) })
		held[i], _ = p.received()
	}
	first.stop()
	second := startReplica(t, dir, "second")
	at.set(second.address)
	write(t, dir, "new", service("new", 81))
	for i, p := range list {
		eventually(t, fmt.Sprintf("proxy %d is back", i), func() error { return p.has(2, cluster("new", 81)) })
		// Some find the state before the change, and are sent that of after it later.
		if came, again := p.received(); again > 0 || came-held[i] > 10 {
			t.Errorf("proxy %d was sent %d resources for one that is new, %d of which it had", i, came-held[i], again)
		}
	}
}
