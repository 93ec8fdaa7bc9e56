package scope

import (
	"net/netip"
	"testing"

	"github.com/weftmesh/weft/control/model"
)

// TestRegistered: instances of registries at the addresses of workloads are these, and a change of them is seen everywhere.
func TestRegistered(t *testing.T) {
	port := model.ServicePort{Name: "dubbo-20880", Port: 20880, Protocol: model.MessagesOf("dubbo")}
	inline := func(address string) model.Endpoint {
		return model.Endpoint{Address: address, Port: 20881, Ports: map[string]uint16{port.Name: 20881}, Labels: map[string]string{"version": "2"}, Healthy: true}
	}
	svc := &model.Service{
		Meta: model.Meta{Key: model.Key{Kind: model.KindServiceEntry, Namespace: "ns", Name: "cart"}}, Host: "cart", Namespace: "ns", FromEntry: true,
		Registry: "ns/zk", Ports: []model.ServicePort{port}, Inline: []model.Endpoint{inline("10.0.0.1"), inline("10.0.0.9")},
	}
	w := &model.Workload{
		Meta: model.Meta{Key: model.Key{Kind: model.KindWorkload, Namespace: "ns", Name: "a"}}, Name: "a", Namespace: "ns", Ready: true, Mesh: true,
		Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, Labels: map[string]string{"version": "1", "app": "a"}, ServiceAccount: "sa",
	}
	before := NewIndex(&model.Snapshot{Version: 1, Services: []*model.Service{svc}})
	if in := before.Instances(svc); len(in) != 2 || in[0].Workload != nil {
		t.Fatalf("instances %+v without workloads", in)
	}
	now := before.Next(&model.Snapshot{Version: 2, Services: []*model.Service{svc}, Workloads: []*model.Workload{w}})
	if now.Change != nil {
		t.Error("a workload at a registry's instance is more than a change of endpoints")
	}
	in := now.Instances(svc)
	if in[0].Workload != w || in[1].Workload != nil || in[0].Endpoint.Labels["version"] != "2" || in[0].Endpoint.Labels["app"] != "a" || in[0].Endpoint.ServiceAccount != "sa" {
		t.Errorf("instances %+v", in)
	}
	if served := now.Served(w); len(served) != 1 || served[0] != svc {
		t.Errorf("serves %v", served)
	}
	if own := now.Own(svc, w); len(own) != 1 {
		t.Errorf("its own instances are %v", own)
	} else if n, ok := TargetPort(own[0], svc, &port); n != 20881 || !ok {
		t.Errorf("its port is %d, %v", n, ok)
	}
	if !now.SpeaksMTLS(in[0], svc, &port) || now.SpeaksMTLS(in[1], svc, &port) {
		t.Error("the workload speaks mutual TLS, and the other does not")
	}
	// Of instances elsewhere a change is one of endpoints.
	far := *svc
	far.Inline = []model.Endpoint{inline("10.0.0.8"), inline("10.0.0.9")}
	other := *svc
	other.Inline = []model.Endpoint{inline("10.0.0.9")}
	if x := NewIndex(&model.Snapshot{Version: 1, Services: []*model.Service{&far}, Workloads: []*model.Workload{w}}); x.Next(&model.Snapshot{Version: 2, Services: []*model.Service{&other}, Workloads: x.Snapshot.Workloads}).Change == nil {
		t.Error("a change of endpoints alone made everything anew")
	}
}
