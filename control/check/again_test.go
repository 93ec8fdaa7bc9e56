package check

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/control/model"
)

// TestCheckerFollows: a Checker finds what Check finds, after each kind of change.
func TestCheckerFollows(t *testing.T) {
	meta := func(kind model.Kind, name string, line int) model.Meta {
		return model.Meta{Key: model.Key{Kind: kind, Namespace: "shop", Name: name}, Origin: model.Origin{File: name, Line: line}}
	}
	service := func(labels string, address string, lines model.Lines, host string) *model.Service {
		s := &model.Service{
			Meta: meta(model.KindServiceEntry, "web", 1), Host: host, Namespace: "shop", Name: "web", FromEntry: true,
			Ports:  []model.ServicePort{{Port: 80}},
			Inline: []model.Endpoint{{Address: address, Labels: map[string]string{"version": labels}}},
		}
		s.Lines = lines
		return s
	}
	lines := func(n int) (l model.Lines) {
		l.Set("spec.hosts", n)
		return l.Pack()
	}
	workload := func(name string, ready bool, labels map[string]string) *model.Workload {
		return &model.Workload{
			Meta: meta(model.KindWorkload, name, 1), Name: name, Namespace: "shop", Labels: labels, Ready: ready,
			Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")},
		}
	}
	rule := &model.TrafficPolicySet{
		Meta: meta(model.KindDestinationRule, "rule", 1), Host: "web.example",
		Subsets: []model.Subset{{Name: "one", Labels: map[string]string{"version": "1"}}},
	}
	picky := &model.Service{
		Meta: meta(model.KindService, "picky", 1), Host: "picky.shop", Namespace: "shop", Name: "picky",
		Selector: map[string]string{"app": "picky"},
	}
	at := func(web *model.Service, w *model.Workload) *model.Snapshot {
		s := &model.Snapshot{Mesh: model.DefaultMesh(), Policies: []*model.TrafficPolicySet{rule}, Services: []*model.Service{picky, web}}
		if w != nil {
			s.Workloads = []*model.Workload{w}
		}
		return s
	}
	app := map[string]string{"app": "picky"}
	mesh := model.DefaultMesh()
	var c Checker
	counts := map[int]bool{}
	for i, s := range []*model.Snapshot{
		at(service("1", "1.1.1.1", model.Lines{}, "web.example"), nil),
		at(service("1", "1.1.1.2", model.Lines{}, "web.example"), nil),
		at(service("2", "1.1.1.2", model.Lines{}, "web.example"), nil),
		at(service("2", "1.1.1.2", lines(7), "picky.shop"), nil),
		at(service("2", "1.1.1.2", lines(9), "picky.shop"), nil),
		at(service("1", "1.1.1.2", model.Lines{}, "web.example"), workload("a", false, app)),
		at(service("1", "1.1.1.2", model.Lines{}, "web.example"), workload("a", true, app)),
		at(service("1", "1.1.1.2", model.Lines{}, "web.example"), workload("a", true, nil)),
		at(service("1", "1.1.1.2", model.Lines{}, "web.example"), workload("b", true, app)),
	} {
		s.Mesh = mesh
		want := Check(s)
		counts[len(want)] = true
		if d := cmp.Diff(want, c.Check(s)); d != "" {
			t.Errorf("snapshot %d, -want +got:\n%s", i, d)
		}
	}
	if len(counts) < 3 {
		t.Errorf("numbers of findings were %v: the snapshots do not differ enough to show anything", counts)
	}
}

// TestCheckerSeesKinds: objects of every kind but those that no check asks for.
func TestCheckerSeesKinds(t *testing.T) {
	mesh := model.DefaultMesh()
	fields := slices.Collect(reflect.TypeFor[model.Snapshot]().Fields())
	for f := range reflect.TypeFor[model.Cluster]().Fields() {
		of, _ := reflect.TypeFor[model.Snapshot]().FieldByName("Cluster")
		f.Index = append(slices.Clone(of.Index), f.Index...)
		fields = append(fields, f)
	}
	for _, f := range fields {
		if f.Type.Kind() != reflect.Slice || f.Type.Elem().Kind() != reflect.Pointer || f.Name == "KeySets" || f.Name == "Bundles" {
			continue
		}
		var c Checker
		before, after := &model.Snapshot{Version: 1, Mesh: mesh}, &model.Snapshot{Version: 2, Mesh: mesh}
		list := reflect.ValueOf(after).Elem().FieldByIndex(f.Index)
		list.Set(reflect.Append(list, reflect.New(f.Type.Elem().Elem())))
		if c.unaffected(before, after) {
			t.Errorf("a change of %s is not looked at", f.Name)
		}
	}
}
