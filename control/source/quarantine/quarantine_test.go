package quarantine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/weftmesh/weft/base/cow"
	"github.com/weftmesh/weft/base/watch"
	"github.com/weftmesh/weft/control/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// proxy takes a resource that patches have changed, unless bad says no.
type proxy struct {
	s     *Source
	all   []model.PatchRef
	bad   func(indexes []int) bool
	nacks int
}

// kept are the patches that are kept back, as the newest delta says.
func (p *proxy) kept() (out []int) {
	for _, o := range p.s.delta("").Upserts {
		out = append(out, o.(*model.Quarantine).Index)
	}
	slices.Sort(out)
	return out
}

// push is one version that goes out; it returns what was sent.
func (p *proxy) push() []int {
	kept := p.kept()
	var refs []model.PatchRef
	var indexes []int
	for _, r := range p.all {
		if !slices.Contains(kept, r.Index) {
			refs, indexes = append(refs, r), append(indexes, r.Index)
		}
	}
	switch {
	case len(refs) == 0:
	case p.bad(indexes):
		p.nacks++
		p.s.Refused("envoy", "cluster c", refs, "no")
		p.s.Refused("envoy", "cluster c", refs, "no") // another proxy, late
	default:
		p.s.Taken("envoy", "cluster c", refs)
	}
	return indexes
}

func TestTrials(t *testing.T) {
	for _, tc := range []struct {
		name string
		n    int
		bad  func([]int) bool
		want string // that go out in the end
	}{
		{"all good", 3, func([]int) bool { return false }, "[0 1 2]"},
		{"the only one", 1, func(i []int) bool { return len(i) > 0 }, "[]"},
		{"the first", 3, func(i []int) bool { return slices.Contains(i, 0) }, "[1 2]"},
		{"the last", 3, func(i []int) bool { return slices.Contains(i, 2) }, "[0 1]"},
		{"two", 4, func(i []int) bool { return slices.Contains(i, 1) || slices.Contains(i, 3) }, "[0 2]"},
		{"only together", 3, func(i []int) bool { return slices.Contains(i, 0) && slices.Contains(i, 2) }, "[0 1]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := &model.EnvoyFilter{Meta: model.Meta{Key: model.Key{Kind: model.KindEnvoyFilter, Name: "f"}, Hash: 7}, Patches: make([]model.EnvoyPatch, tc.n)}
			p := &proxy{s: New(nil, slog.New(slog.DiscardHandler)), bad: tc.bad}
			for i := range tc.n {
				p.all = append(p.all, model.PatchRef{Filter: f, Index: i})
			}
			var got []int
			for range 2*tc.n + 2 {
				got = p.push()
			}
			if fmt.Sprint(got) != tc.want || p.nacks > tc.n {
				t.Errorf("%v go out after %d refusals, want %s", got, p.nacks, tc.want)
			}
			for _, o := range p.s.delta("").Upserts {
				if q := o.(*model.Quarantine); q.Suspect || q.Reason != "no" || q.Engine != "envoy" || q.Version != 7 {
					t.Errorf("kept back: %+v", q)
				}
			}
		})
	}
}

// TestOtherAnswersSayNothing: a resource beside the refused one does not free a suspect.
func TestOtherAnswersSayNothing(t *testing.T) {
	f := &model.EnvoyFilter{Patches: make([]model.EnvoyPatch, 2)}
	refs := []model.PatchRef{{Filter: f, Index: 0}, {Filter: f, Index: 1}}
	s := New(nil, slog.New(slog.DiscardHandler))
	s.Refused("envoy", "cluster c", refs, "no")
	s.Taken("envoy", "cluster d", refs[:1])
	s.Taken("go", "cluster c", refs[:1])
	if n := len(s.delta("").Upserts); n != 1 {
		t.Errorf("%d are kept back, want the one that waits", n)
	}
}

// TestWhatWorkedIsNotSuspected: a patch that joins others which the resource has been
// taken with is tried alone, and they stay.
func TestWhatWorkedIsNotSuspected(t *testing.T) {
	f := &model.EnvoyFilter{Patches: make([]model.EnvoyPatch, 5)}
	refs := make([]model.PatchRef, 5)
	for i := range refs {
		refs[i] = model.PatchRef{Filter: f, Index: i}
	}
	s := New(nil, slog.New(slog.DiscardHandler))
	p := &proxy{s: s}
	s.Taken("envoy", "cluster c", refs[:2])
	s.Refused("envoy", "cluster c", refs[:4], "no")
	if got := fmt.Sprint(p.kept()); got != "[3]" { // 2 is on trial
		t.Errorf("kept back: %s", got)
	}
	s.Taken("envoy", "cluster c", refs[:3])
	s.Refused("envoy", "cluster c", refs[:4], "no")
	if got := fmt.Sprint(p.kept()); got != "[3]" {
		t.Errorf("kept back in the end: %s", got)
	}
	// Of another resource nothing is known, and where all have worked it may be any.
	s.Refused("envoy", "cluster d", []model.PatchRef{refs[0], refs[4]}, "no")
	if got := fmt.Sprint(p.kept()); got != "[3 4]" {
		t.Errorf("kept back of the other: %s", got)
	}
	s.Refused("envoy", "cluster c", refs[1:3], "no")
	if got := fmt.Sprint(p.kept()); got != "[1 2 3 4]" { // behind the trial of 0
		t.Errorf("kept back of what worked: %s", got)
	}
}

// TestEdited: a verdict ends with the version that it is about.
func TestEdited(t *testing.T) {
	snapshot := func(hash uint64) *model.Snapshot {
		f := &model.EnvoyFilter{Meta: model.Meta{Key: model.Key{Kind: model.KindEnvoyFilter, Name: "f"}, Hash: hash}, Patches: make([]model.EnvoyPatch, 1)}
		return &model.Snapshot{EnvoyFilters: []*model.EnvoyFilter{f}, Objects: cow.Of(map[model.Key]model.Object{f.Key: f})}
	}
	var cell watch.Cell[*model.Snapshot]
	first := snapshot(1)
	cell.Store(first)
	s := New(&cell, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	out := make(chan model.Delta)
	ended := make(chan error)
	go func() { ended <- s.Run(ctx, out) }()
	want := func(n int) {
		t.Helper()
		if d := <-out; len(d.Upserts) != n || !d.Full {
			t.Errorf("got %d, want %d", len(d.Upserts), n)
		}
	}
	want(0)
	s.Refused("go", "r", []model.PatchRef{{Filter: first.EnvoyFilters[0], Index: 0}}, "no")
	want(1)
	cell.Store(snapshot(2))
	want(0)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
