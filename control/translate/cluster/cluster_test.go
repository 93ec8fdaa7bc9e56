package cluster

import (
	"net/netip"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/wire"
)

func TestParseDefaultEndpoint(t *testing.T) {
	for _, tc := range []struct {
		in, to, pipe string
		fails        bool
	}{
		{in: "127.0.0.1:80", to: "127.0.0.1:80"},
		{in: "0.0.0.0:80", to: "0.0.0.0:80"},
		{in: ":80", to: "127.0.0.1:80"},
		{in: "[::1]:80", to: "[::1]:80"},
		{in: "unix:///run/x.sock", pipe: "/run/x.sock"},
		{in: "localhost:80", fails: true},
		{in: "127.0.0.1", fails: true},
		{in: "", fails: true},
	} {
		to, pipe, err := ParseDefaultEndpoint(tc.in)
		var want netip.AddrPort
		if tc.to != "" {
			want = netip.MustParseAddrPort(tc.to)
		}
		if (err != nil) != tc.fails || err == nil && (to != want || pipe != tc.pipe) {
			t.Errorf("%q: got %v %q %v", tc.in, to, pipe, err)
		}
	}
}

func group(region, zone string, weight uint32) *endpointv3.LocalityLbEndpoints {
	return &endpointv3.LocalityLbEndpoints{
		Locality: &corev3.Locality{Region: region, Zone: zone}, LoadBalancingWeight: pb.U32(weight),
	}
}

func TestDistribute(t *testing.T) {
	own := model.Locality{Region: "r1", Zone: "z1"}
	for _, tc := range []struct {
		name   string
		shares []model.LocalityShare
		want   map[string]uint32
	}{
		{"other places' rule", []model.LocalityShare{{From: "r2/*", To: map[string]uint32{"r2/*": 100}}}, map[string]uint32{"r1/z1": 2, "r1/z2": 1, "r2/z1": 1}},
		{"by region", []model.LocalityShare{{From: "r1/*", To: map[string]uint32{"r1/*": 80, "r2/*": 20}}}, map[string]uint32{"r1/z1": 5333, "r1/z2": 2666, "r2/z1": 2000}},
		{"by zone", []model.LocalityShare{{From: "r1/z1", To: map[string]uint32{"r1/z1/*": 70, "r1/z2/*": 30}}}, map[string]uint32{"r1/z1": 7000, "r1/z2": 3000}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cla := &endpointv3.ClusterLoadAssignment{Endpoints: []*endpointv3.LocalityLbEndpoints{
				group("r1", "z1", 2), group("r1", "z2", 1), group("r2", "z1", 1),
			}}
			distribute(tc.shares, own, cla)
			got := map[string]uint32{}
			for _, g := range cla.Endpoints {
				got[g.Locality.Region+"/"+g.Locality.Zone] = g.LoadBalancingWeight.GetValue()
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestDistributeHeavy: weights are as large as users like.
func TestDistributeHeavy(t *testing.T) {
	cla := &endpointv3.ClusterLoadAssignment{Endpoints: []*endpointv3.LocalityLbEndpoints{
		group("r1", "z1", 3_000_000_000), group("r1", "z2", 1_000_000_000), group("r2", "z1", 7),
	}}
	distribute([]model.LocalityShare{{From: "*", To: map[string]uint32{"r1/*": 80, "r2/*": 20}}}, model.Locality{}, cla)
	var got []uint32
	for _, g := range cla.Endpoints {
		got = append(got, g.LoadBalancingWeight.GetValue())
	}
	if diff := cmp.Diff([]uint32{6000, 2000, 2000}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestClass: what depends on the proxy's labels is not shared, in whichever
// subset or port it stands.
func TestClass(t *testing.T) {
	priority := &model.LoadBalancer{Locality: &model.LocalityLB{Enabled: true, Priority: []string{"network"}}}
	plain := &model.LoadBalancer{Locality: &model.LocalityLB{Enabled: true}}
	off := &model.LoadBalancer{Locality: &model.LocalityLB{Priority: []string{"network"}}}
	for _, tc := range []struct {
		name         string
		whole, other *model.LoadBalancer
		want         bool
	}{
		{"no policy", nil, nil, true},
		{"in the whole", priority, nil, false},
		{"in a subset", nil, priority, false},
		{"before another", priority, plain, false},
		{"switched off", off, nil, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := &model.Service{
				Meta: model.Meta{Key: model.Key{Kind: model.KindService, Namespace: "default", Name: "a"}},
				Name: "a", Namespace: "default", Host: "a.default.svc.cluster.local", Exports: model.Visibility{Public: true},
			}
			p := &model.TrafficPolicySet{
				Meta: model.Meta{Key: model.Key{Kind: model.KindDestinationRule, Namespace: "default", Name: "a"}},
				Host: s.Host, Exports: model.Visibility{Public: true}, Policy: model.TrafficPolicy{LB: tc.whole},
				Subsets: []model.Subset{{Name: "v1", Policy: model.TrafficPolicy{LB: tc.other}}},
			}
			idx := scope.NewIndex(&model.Snapshot{Services: []*model.Service{s}, Policies: []*model.TrafficPolicySet{p}})
			v := scope.Build(idx, scope.Proxy{ID: wire.NodeID{Type: wire.Sidecar, Namespace: "default", Name: "x"}})
			if _, ok := NewBuilder(v, nil).Class(s); ok != tc.want {
				t.Errorf("shared: %v, want %v", ok, tc.want)
			}
		})
	}
}

func TestLabelDistance(t *testing.T) {
	own := &model.Workload{Labels: map[string]string{"network": "a", "app": "x"}, Locality: model.Locality{Region: "r1"}}
	in := func(network, region string) model.Instance {
		return model.Instance{Endpoint: model.Endpoint{Labels: map[string]string{"network": network}, Locality: model.Locality{Region: region}}}
	}
	labels := []string{"network", "topology.kubernetes.io/region"}
	for _, tc := range []struct {
		name   string
		labels []string
		in     model.Instance
		want   uint32
	}{
		{"all", labels, in("a", "r1"), 0},
		{"first only", labels, in("a", "r2"), 1},
		{"none", labels, in("b", "r1"), 2},
		{"a fixed value", []string{"network=b"}, in("b", "r1"), 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := labelDistance(tc.labels, spot{labels: own.Labels, at: own.Locality}, spotOf(&tc.in)); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

func TestALPN(t *testing.T) {
	for _, tc := range []struct {
		protocol model.Protocol
		pool     *model.ConnectionPool
		want     string
	}{
		{model.HTTP, nil, "istio-http/1.1"},
		{model.HTTP, &model.ConnectionPool{H2Upgrade: 1}, "istio-h2"},
		{model.HTTP, &model.ConnectionPool{UseClientProtocol: true}, "istio-http/1.1"},
		{model.GRPC, nil, "istio-h2"},
		{model.TCP, nil, "istio"},
		{model.HTTPS, nil, "istio"},
		{model.Unknown, nil, "istio"},
	} {
		t.Run(string(tc.protocol), func(t *testing.T) {
			got := meshALPN(&target{port: &model.ServicePort{Protocol: tc.protocol}, policy: model.TrafficPolicy{Pool: tc.pool}})
			if got[0] != tc.want {
				t.Errorf("%s offers %v, want %s first", tc.protocol, got, tc.want)
			}
		})
	}
}
