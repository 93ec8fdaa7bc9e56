package up

import (
	"testing"

	"github.com/weftmesh/weft/wire"
)

// TestWaiting: who looks at a mesh that is not ready yet is told what is being built,
// and what does not come up.
func TestWaiting(t *testing.T) {
	list := []wire.Instance{
		{Name: "a-0", Namespace: "default", State: "ready"}, {Name: "b-0", Namespace: "default", State: "building"},
		{Name: "c-0", Namespace: "shop", State: "starting"}, {Name: "d-0", Namespace: "default", State: "running"},
		{Name: "e-0", Namespace: "default", State: "restarting"}, {Name: "f-0", Namespace: "default", State: "failed"},
	}
	for range fewWaiting + 1 {
		list = append(list, wire.Instance{Name: "b-1", Namespace: "default", State: "building"})
	}
	want := "b-0, b-1, b-1, b-1, b-1, b-1, 2 more (building), e-0 (ended or cannot be started), f-0 (failed), d-0 (running and not ready), c-0.shop (starting)"
	if got := waiting(list); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
