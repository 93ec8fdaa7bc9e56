package scope

import (
	"testing"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/wire"
)

// TestWhoReadsRedis: an object about commands is for the sidecars that read them, which gateways do not.
func TestWhoReadsRedis(t *testing.T) {
	cache := &model.Service{Namespace: "default", Name: "cache", Host: "cache.default.svc.cluster.local", Ports: []model.ServicePort{{Name: "redis", Protocol: model.Redis}}}
	cache.Exports = model.Visibility{Public: true, Default: true}
	first, second := &model.RedisService{Hosts: []string{cache.Host}}, &model.RedisService{Hosts: []string{cache.Host}}
	to := &model.RedisDestination{Host: cache.Host}
	snap := &model.Snapshot{Mesh: &model.Mesh{}, Services: []*model.Service{cache}, Redis: []*model.RedisService{first, second}, RedisDestinations: []*model.RedisDestination{to}}
	for _, c := range []struct {
		kind wire.NodeType
		o    model.Object
		want bool
	}{
		{wire.Sidecar, first, true}, {wire.Sidecar, second, false}, {wire.Sidecar, to, true},
		{wire.Router, first, false}, {wire.Router, to, false},
	} {
		v := Build(NewIndex(snap), Proxy{ID: wire.NodeID{Type: c.kind, Name: "web-0", Namespace: "default", IP: "10.0.0.9"}})
		if got := v.Has(c.o); got != c.want {
			t.Errorf("%s has %T: %v", c.kind, c.o, got)
		}
	}
}
