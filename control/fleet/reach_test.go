package fleet

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/base/cow"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/wire"
)

// versions gives the objects of a snapshot their versions: those of before, unless
// they are named.
func versions(s, before *model.Snapshot, now ...model.Key) *model.Snapshot {
	out := map[model.Key]uint64{}
	for k := range s.Objects.All {
		out[k] = s.Version
		if before != nil {
			out[k] = before.Versions.Get(k)
		}
	}
	for _, k := range now {
		out[k] = s.Version
	}
	s.Versions = cow.Of(out)
	return s
}

// TestReach: of three proxies that see a service one takes what is new, one refuses
// it, and one does not answer; a fourth is not connected, and a fifth is of another
// namespace. The old version stays in force where the new one was refused.
func TestReach(t *testing.T) {
	f := start(t)
	api, job, away := workload("shop", "api", 5), workload("shop", "job", 6), workload("shop", "away", 7)
	web80 := service("shop", "web", 80)
	other := service("bank", "till", 90)
	first := versions(snapshot(1, "start", shop, bank, api, job, away, web80, other), nil)
	f.publish(t, first)
	takes, refuses, behind := f.connect(t, "shop", "web"), f.connect(t, "shop", "api"), f.connect(t, "shop", "job")
	f.connect(t, "bank", "till")
	reach := func(k model.Key) Reach { return f.Reach([]model.Key{k})[k] }
	late := Pending{Proxy: "away.shop", Why: "is not connected"}
	if d := cmp.Diff(Reach{3, 4, []Pending{late}}, reach(web80.Key)); d != "" {
		t.Errorf("at first, -want +got:\n%s", d)
	}

	refuses.refuse, behind.hold = wire.TypeListener, wire.TypeListener
	web := service("shop", "web", 80, 81)
	second := versions(snapshot(2, "a port", shop, bank, api, job, away, web, other), first, web.Key)
	f.snapshots.Store(second)
	takes.until(wire.TypeListener)
	takes.barrier()
	refuses.until(wire.TypeListener)
	refuses.barrier()
	behind.until(wire.TypeListener)
	want := Reach{1, 4, []Pending{
		{"api.shop", "rejected: field x is not for me", true}, late, {Proxy: "job.shop", Why: "has not taken it yet"},
	}}
	if d := cmp.Diff(want, reach(web.Key)); d != "" {
		t.Errorf("after the change, -want +got:\n%s", d)
	}
	if d := cmp.Diff(Reach{1, 1, nil}, reach(other.Key)); d != "" {
		t.Errorf("what has not changed, -want +got:\n%s", d)
	}

	// An answer, and a version that is taken.
	behind.hold = ""
	behind.answer(behind.unanswered)
	behind.barrier()
	refuses.refuse = ""
	third := service("shop", "web", 80, 82)
	f.snapshots.Store(versions(snapshot(3, "another", shop, bank, api, job, away, third, other), second, third.Key))
	for _, c := range []*consumer{takes, refuses, behind} {
		c.until(wire.TypeListener)
		c.barrier()
	}
	if d := cmp.Diff(Reach{3, 4, []Pending{late}}, reach(third.Key)); d != "" {
		t.Errorf("in the end, -want +got:\n%s", d)
	}
	if got := f.Reach([]model.Key{{Kind: model.KindService, Namespace: "shop", Name: "nobody"}}); len(got) != 0 {
		t.Errorf("an object that is not there: %v", got)
	}
}

// TestFaultsKeepTheirVersions: what is refused again was not taken meanwhile.
func TestFaultsKeepTheirVersions(t *testing.T) {
	var f faults
	f.rejected([]string{"a", "b"}, fault{"a is bad", 3, 5})
	f.rejected([]string{"a"}, fault{"a is bad still", 5, 7})
	for v, want := range map[uint64]string{3: "", 4: "a is bad still", 5: "a is bad still", 7: "a is bad still", 8: ""} {
		if got := f.at(v); got != want {
			t.Errorf("version %d: %q, want %q", v, got, want)
		}
	}
	f.taken([]string{"a"})
	if got := f.at(5); got != "" {
		t.Errorf("after it was taken: %q", got)
	}
	f.rejected([]string{"x"}, fault{"no name in it", 0, 9})
	f.rejected([]string{"x"}, fault{"nor here", 9, 10})
	if f.at(1) != "nor here" || f.at(11) != "" {
		t.Errorf("without a name: %q, %q", f.at(1), f.at(11))
	}
}

// TestWhatAStreamDoesNotTakeIsHeld: a change of what a proxy is not subscribed to is not
// waited for: it holds the new version.
func TestWhatAStreamDoesNotTakeIsHeld(t *testing.T) {
	f := start(t)
	f.publish(t, snapshot(1, "start", shop, service("shop", "web", 80)))
	f.connect(t, "shop", "web") // which takes no names
	before := f.Config("web.shop").Sets[wire.TypeHost]
	alias := service("shop", "alias")
	alias.VIPs, alias.Headless, alias.ExternalName = nil, true, "web.shop.svc.cluster.local"
	f.publish(t, snapshot(2, "a name", shop, service("shop", "web", 80), alias))
	if f.Config("web.shop").Sets[wire.TypeHost].Same(before) {
		t.Fatal("the names are as before: there is nothing to be seen")
	}
	for _, p := range f.Status() {
		if p.Name == "web" && (p.Holds != 2 || !p.Synced) {
			t.Errorf("holds version %d, synced %v; want version 2", p.Holds, p.Synced)
		}
	}
}
