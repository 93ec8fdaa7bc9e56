package scope_test

import (
	"reflect"
	"slices"
	"testing"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
)

// TestChangeOfKinds: a snapshot in which objects of any kind but instances are
// different is no Change, or proxies would not hear of it.
func TestChangeOfKinds(t *testing.T) {
	instances := []string{"Workloads"}
	unseen := []string{"Namespaces", "Accounts", "Processes", "Slices"} // by translation: services have what slices say
	kinds := 0
	for f := range reflect.TypeFor[model.Snapshot]().Fields() {
		if f.Type.Kind() != reflect.Slice || f.Type.Elem().Kind() != reflect.Pointer || slices.Contains(slices.Concat(instances, unseen), f.Name) {
			continue
		}
		kinds++
		mesh := model.DefaultMesh()
		before, after := &model.Snapshot{Version: 1, Mesh: mesh}, &model.Snapshot{Version: 2, Mesh: mesh}
		list := reflect.ValueOf(after).Elem().FieldByIndex(f.Index)
		list.Set(reflect.Append(list, reflect.New(f.Type.Elem().Elem())))
		if idx := scope.NewIndex(before).Next(after); idx.Change != nil {
			t.Errorf("a snapshot whose %s are different is taken for one that differs in instances", f.Name)
		}
	}
	if kinds < 10 {
		t.Errorf("looked at %d kinds", kinds)
	}
}
