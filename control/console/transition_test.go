package console

import (
	"testing"
	"time"

	"github.com/weftmesh/weft/control/model"
)

// TestTransitions: a time is that of the last change of a condition's status, and not of
// its message; an object that goes and comes again begins anew.
func TestTransitions(t *testing.T) {
	clock := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tr := &transitions{now: func() time.Time { return clock }}
	k := model.Key{Kind: model.KindVirtualService, Namespace: "shop", Name: "a"}
	at := func(status, message string) string {
		list := []Condition{{Type: "Programmed", Status: status, Message: message}}
		tr.mark(k, list)
		return list[0].Since
	}
	want := func(step, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: since %s, want %s", step, got, want)
		}
	}
	want("first", at("False", "on 0 of 2"), "2026-01-02T03:04:05Z")
	clock = clock.Add(time.Minute)
	want("another message", at("False", "on 1 of 2"), "2026-01-02T03:04:05Z")
	want("another status", at("True", "on 2 of 2"), "2026-01-02T03:05:05Z")
	clock = clock.Add(time.Minute)
	want("no change", at("True", "on 2 of 2"), "2026-01-02T03:05:05Z")
	tr.keep(func(model.Key) bool { return false })
	want("gone between", at("True", "on 2 of 2"), "2026-01-02T03:06:05Z")
}
