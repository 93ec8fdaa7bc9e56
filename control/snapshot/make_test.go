package snapshot_test

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/snapshot"
)

// TestMakeIsWhatIsPublished: what a Publisher has been told, given to Make, is the
// snapshot that it publishes, addresses included.
func TestMakeIsWhatIsPublished(t *testing.T) {
	service := func(name string) model.Object {
		return &model.Service{
			Meta: model.Meta{Key: model.Key{Kind: model.KindService, Namespace: "n", Name: name}, Hash: uint64(len(name))}, Namespace: "n", Host: name + ".n",
		}
	}
	o := snapshot.Options{Sources: []string{"a", "b"}, Addresses: snapshot.Addresses{Families: []int{4}}}
	p := snapshot.New(o)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	p.In() <- model.Delta{Source: "a", Full: true, Upserts: []model.Object{service("x"), service("y")}, Findings: []model.Finding{{Message: "m"}}}
	p.In() <- model.Delta{Source: "b", Full: true, Upserts: []model.Object{service("x"), service("zz")}}
	for p.Cell().Load() == nil {
		changed := p.Cell().Changed()
		if p.Cell().Load() == nil {
			<-changed
		}
	}
	said, err := p.Said(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := p.Cell().Load()
	got := snapshot.Make(o, snapshot.Allocated(want), said...)
	same := slices.EqualFunc(want.Services, got.Services, func(a, b *model.Service) bool {
		return a.Key == b.Key && a.Hash == b.Hash && slices.Equal(a.VIPs, b.VIPs)
	})
	if !same || len(want.Services) != 3 || !slices.Equal(want.Findings, got.Findings) {
		t.Errorf("published %v, made %v", want.Services, got.Services)
	}
	// An address that was given stays, also where another would be found now.
	key := model.Key{Kind: model.KindService, Namespace: "n", Name: "y"}
	kept := netip.MustParsePrefix("10.96.200.200/32")
	again := snapshot.Make(o, map[model.Key][]netip.Prefix{key: {kept}}, said...)
	for _, s := range again.Services {
		if s.Key == key && !slices.Equal(s.VIPs, []netip.Prefix{kept}) {
			t.Errorf("%s has %v, want %v", s.Key, s.VIPs, kept)
		}
	}
	gone, stop := context.WithCancel(t.Context())
	stop()
	if _, err := snapshot.New(o).Said(gone); err == nil {
		t.Error("a publisher that does not run has answered")
	}
}
