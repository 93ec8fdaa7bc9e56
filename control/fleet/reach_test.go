package fleet

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/base/cow"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/wire"
)

// versions gives the objects of a snapshot their versions: those of before, unless
// they are named.
func versions(s, before *model.Snapshot, now ...model.Key) *model.Snapshot {
	out := map[model.Key]model.Age{}
	for k := range s.Objects.All {
		out[k] = model.Age{Born: s.Version, Formed: s.Version}
		if before != nil {
			out[k] = before.Ages.Get(k)
		}
	}
	for _, k := range now {
		out[k] = model.Age{Born: max(out[k].Born, 1), Formed: s.Version}
	}
	s.Ages = cow.Of(out)
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
	reach := func(k model.Key) Reach { return f.timeless(k) }
	late := Pending{Proxy: "away.shop", Why: "is not connected"}
	if d := cmp.Diff(Reach{Programmed: 3, Of: 4, Pending: []Pending{late}}, reach(web80.Key)); d != "" {
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
	want := Reach{Programmed: 1, Of: 4, Pending: []Pending{
		{"api.shop", "rejected: field x is not for me", true}, late, {Proxy: "job.shop", Why: "has not taken it yet"},
	}}
	if d := cmp.Diff(want, reach(web.Key)); d != "" {
		t.Errorf("after the change, -want +got:\n%s", d)
	}
	if d := cmp.Diff(Reach{Programmed: 1, Of: 1}, reach(other.Key)); d != "" {
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
	if d := cmp.Diff(Reach{Programmed: 3, Of: 4, Pending: []Pending{late}}, reach(third.Key)); d != "" {
		t.Errorf("in the end, -want +got:\n%s", d)
	}
	if got := f.Reach([]model.Key{{Kind: model.KindService, Namespace: "shop", Name: "nobody"}}); len(got) != 0 {
		t.Errorf("an object that is not there: %v", got)
	}
}

// timeless is who has an object, whenever.
func (f *testFleet) timeless(k model.Key) Reach {
	r := f.Reach([]model.Key{k})[k]
	r.Since = time.Time{}
	return r
}

// TestBlame: of what came with a refused version only those objects count as not
// programmed that the refused resource was made of, and the status names them. A refusal
// that names no resource is one of all that were in the response.
func TestBlame(t *testing.T) {
	for _, tc := range []struct {
		name, because string
		guilty        []string
	}{
		{"by name", "listener 10.96.0.1_81: field x is not for me", []string{"web"}},
		{"both by name", "10.96.0.1_81, and 10.96.0.8_91", []string{"shelf", "web"}},
		{"without a name", "field x is not for me", []string{"shelf", "web"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := start(t)
			at := func(s *model.Service, vip string) *model.Service {
				s.VIPs = []netip.Prefix{netip.MustParsePrefix(vip)}
				return s
			}
			quiet, far := at(service("shop", "quiet", 70), "10.96.0.7/32"), service("bank", "till", 90)
			first := versions(snapshot(1, "start", shop, bank, service("shop", "web", 80), at(service("shop", "shelf", 90), "10.96.0.8/32"), quiet, far), nil)
			f.publish(t, first)
			c := f.connect(t, "shop", "web")
			c.refuse, c.because = wire.TypeListener, tc.because
			web, shelf := service("shop", "web", 80, 81), at(service("shop", "shelf", 90, 91), "10.96.0.8/32")
			other := at(service("shop", "other"), "10.96.0.9/32") // without ports: it is in no listener
			other.Ports = nil
			keys := []model.Key{other.Key, shelf.Key, web.Key}
			f.snapshots.Store(versions(snapshot(2, "change", shop, bank, web, shelf, other, quiet, far), first, keys...))
			c.until(wire.TypeListener)
			c.barrier()
			var guilty, causes []string
			for _, k := range keys {
				if r := f.timeless(k); r.Programmed == 0 && r.Of == 1 && r.Pending[0].Rejected {
					guilty = append(guilty, k.Name)
				}
			}
			if d := cmp.Diff(tc.guilty, guilty); d != "" {
				t.Errorf("rejected objects, -want +got:\n%s", d)
			}
			for _, p := range f.Status() {
				for _, k := range p.Types[wire.TypeListener].Causes {
					causes = append(causes, k.Name)
				}
			}
			if d := cmp.Diff(tc.guilty, causes); d != "" {
				t.Errorf("causes in the status, -want +got:\n%s", d)
			}
		})
	}
}

// TestFaultsKeepTheirVersions: what is refused again was not taken meanwhile.
func TestFaultsKeepTheirVersions(t *testing.T) {
	var f faults
	at := func(version uint64) string {
		for _, x := range f.all() {
			if x.of(version) {
				return x.text
			}
		}
		return ""
	}
	f.rejected([]string{"a", "b"}, "a is bad", 3, 5)
	f.rejected([]string{"a"}, "a is bad still", 5, 7)
	for v, want := range map[uint64]string{3: "", 4: "a is bad still", 5: "a is bad still", 7: "a is bad still", 8: ""} {
		if got := at(v); got != want {
			t.Errorf("version %d: %q, want %q", v, got, want)
		}
	}
	f.taken([]string{"a"})
	if got := at(5); got != "" {
		t.Errorf("after it was taken: %q", got)
	}
	f.rejected([]string{"x"}, "no name in it", 0, 9)
	f.rejected([]string{"x"}, "nor here", 9, 10)
	if at(1) != "nor here" || at(11) != "" {
		t.Errorf("without a name: %q, %q", at(1), at(11))
	}
}

// TestReachKnowsWhen: the times are those of events, not of questions.
func TestReachKnowsWhen(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		web := service("shop", "web", 80)
		since := func() time.Duration {
			return time.Since(b.Reach([]model.Key{web.Key})[web.Key].Since)
		}
		want := func(step string, d time.Duration) {
			t.Helper()
			if got := since(); got != d {
				t.Errorf("%s: %v ago, want %v", step, got, d)
			}
		}
		first := versions(snapshot(1, "start", shop, web), nil)
		b.store(first)
		b.want(Event{Why: []string{"start"}})
		time.Sleep(time.Minute)
		p := b.open("shop", "web")
		time.Sleep(time.Second)
		want("it has not answered", time.Second) // since it came: before, there was nobody
		settled(p, 1)
		time.Sleep(time.Minute)
		want("it has answered", time.Minute)

		web = service("shop", "web", 81)
		b.store(versions(snapshot(2, "change", shop, web), first, web.Key))
		synctest.Wait()
		time.Sleep(2 * time.Second)
		want("the change has not been taken", 2*time.Second)
		settled(p, 2)
		b.want(Event{Why: []string{"change"}, Proxies: 1, Millis: 2000})
		time.Sleep(time.Hour)
		want("the change has been taken", time.Hour)
		h := b.History(web.Key, nil)
		if got, want := time.Since(h.Born), time.Hour+2*time.Minute+3*time.Second; got != want {
			t.Errorf("the object came %v ago, want %v", got, want)
		}
		p.Close()
		time.Sleep(time.Minute)
		want("the proxy is gone", time.Minute)
	})
}

// TestMoments: of many versions those are kept that objects are of.
func TestMoments(t *testing.T) {
	m := newMoments()
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	k := model.Key{Kind: model.KindService, Namespace: "shop", Name: "web"}
	const last = 3000
	for v := uint64(1); v <= last; v++ {
		if v == 7 {
			continue // it went out with the next
		}
		m.published(&model.Snapshot{Version: v, Ages: cow.Of(map[model.Key]model.Age{k: {Born: 7, Formed: max(7, v/2)}})}, begin.Add(time.Duration(v)*time.Second))
	}
	for version, want := range map[uint64]uint64{7: 8, last: last} {
		if got := m.of(version).published.Sub(begin); got != time.Duration(want)*time.Second {
			t.Errorf("version %d went out after %v, want %d s", version, got, want)
		}
	}
	if n := len(m.list); n > 600 {
		t.Errorf("%d versions are remembered for one object", n)
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
