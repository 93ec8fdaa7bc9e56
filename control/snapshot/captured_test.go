package snapshot_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/snapshot"
	"github.com/weftmesh/weft/wire"
)

func prefix(s string) netip.Prefix {
	if strings.Contains(s, "/") {
		return netip.MustParsePrefix(s)
	}
	a := netip.MustParseAddr(s)
	return netip.PrefixFrom(a, a.BitLen())
}

// captive is what a mesh of all kinds of services makes where only the range is captured.
func captive(t *testing.T, r string, addresses map[model.Key][]netip.Prefix) *model.Snapshot {
	t.Helper()
	at, err := wire.ParseVIPRange(r)
	if err != nil {
		t.Fatal(err)
	}
	var objects []model.Object
	add := func(kind model.Kind, name, host string, change func(*model.Service)) {
		s := &model.Service{Meta: model.Meta{Key: key(kind, name), Hash: uint64(len(objects) + 1)}, Name: name, Host: host, FromEntry: kind == model.KindServiceEntry}
		s.Namespace = s.Key.Namespace
		change(s)
		objects = append(objects, s)
	}
	svc, entry := model.KindService, model.KindServiceEntry
	add(svc, "plain", "plain.svc", func(*model.Service) {})
	add(svc, "inside", "inside.svc", func(s *model.Service) { s.VIPs = []netip.Prefix{prefix("10.96.7.7")} })
	add(svc, "outside", "outside.svc", func(s *model.Service) { s.VIPs = []netip.Prefix{prefix("10.1.2.3")} })
	add(svc, "headless", "headless.svc", func(s *model.Service) {
		s.Headless, s.Resolution, s.Selector = true, model.Passthrough, map[string]string{"app": "h"}
	})
	add(svc, "alias", "alias.svc", func(s *model.Service) { s.ExternalName, s.Resolution = "x.example", model.ByDNS })
	add(entry, "static", "*.static.example", func(*model.Service) {})
	add(entry, "range", "range.example", func(s *model.Service) { s.VIPs = []netip.Prefix{prefix("192.168.0.0/16")} })
	add(entry, "none", "none.example", func(s *model.Service) { s.Resolution = model.Passthrough })
	add(entry, "wild", "*.wild.example", func(s *model.Service) { s.Resolution = model.Passthrough })
	add(entry, "hosts", "hosts.example", func(s *model.Service) {
		s.Resolution, s.VIPs = model.Passthrough, []netip.Prefix{prefix("192.168.1.1")}
	})
	for _, name := range []string{"H-0", "h-1"} {
		objects = append(objects, &model.Workload{
			Meta: model.Meta{Key: key(model.KindWorkload, name), Hash: 1}, Name: name, Namespace: key(model.KindWorkload, name).Namespace, Labels: map[string]string{"app": "h"},
		})
	}
	return snapshot.Make(snapshot.Options{Sources: []string{"file"}, Addresses: snapshot.Addresses{Families: []int{4}, Range: at, Captured: true}},
		addresses, model.Delta{Source: "file", Full: true, Upserts: objects})
}

func TestEveryServiceHasAnAddress(t *testing.T) {
	s := captive(t, "", nil)
	if d := cmp.Diff("[10.96.0.0/16 240.240.0.0/16]", fmt.Sprint(s.Captured)); d != "" {
		t.Errorf("captured -want +got:\n%s", d)
	}
	got := map[string]string{}
	for _, svc := range s.Services {
		text := fmt.Sprintf("headless %v, resolution %d, elsewhere %v:", svc.Headless, svc.Resolution, svc.Elsewhere)
		for _, v := range svc.VIPs {
			switch {
			case !svc.AutoVIP:
				text += " " + v.String()
			case prefix("10.96.0.0/16").Contains(v.Addr()):
				text += " of Services"
			case prefix("240.240.0.0/16").Contains(v.Addr()):
				text += " of entries"
			}
		}
		got[svc.Host] = text
	}
	want := map[string]string{
		"plain.svc":        "headless false, resolution 0, elsewhere []: of Services",
		"inside.svc":       "headless false, resolution 0, elsewhere []: 10.96.7.7/32",
		"outside.svc":      "headless false, resolution 0, elsewhere [10.1.2.3/32]: of Services",
		"headless.svc":     "headless false, resolution 0, elsewhere []: of Services",
		"h-0.headless.svc": "headless false, resolution 0, elsewhere []: of Services",
		"h-1.headless.svc": "headless false, resolution 0, elsewhere []: of Services",
		"alias.svc":        "headless false, resolution 1, elsewhere []:",
		"*.static.example": "headless false, resolution 0, elsewhere []: of entries",
		"range.example":    "headless false, resolution 0, elsewhere [192.168.0.0/16]: of entries",
		"none.example":     "headless false, resolution 1, elsewhere []: of entries",
		"*.wild.example":   "headless false, resolution 3, elsewhere []:",
		"hosts.example":    "headless false, resolution 3, elsewhere []: 192.168.1.1/32",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// TestAnotherRange: all services are in the range that was chosen; addresses of another
// one are not kept.
func TestAnotherRange(t *testing.T) {
	before := snapshot.Allocated(captive(t, "", nil))
	after := snapshot.Allocated(captive(t, "100.64.0.0/24", before))
	if len(after) != len(before)+1 || len(before) == 0 { // 10.96.7.7 is outside of it
		t.Errorf("%d addresses, %d before", len(after), len(before))
	}
	for k, vips := range after {
		if !prefix("100.64.0.0/24").Contains(vips[0].Addr()) {
			t.Errorf("%v has %v", k, vips)
		}
	}
}

// TestBookKeepsAddresses: who comes first gets the address that two names lead to, and
// keeps it when the control plane starts again and sees both at once.
func TestBookKeepsAddresses(t *testing.T) {
	dir := t.TempDir()
	const n = 200 // in a range of 253 many names lead to one address
	at, err := wire.ParseVIPRange("100.64.0.0/24")
	if err != nil {
		t.Fatal(err)
	}
	life := func(deltas ...model.Delta) map[model.Key][]netip.Prefix {
		book := snapshot.OpenBook(dir, slog.New(slog.DiscardHandler))
		var out map[model.Key][]netip.Prefix
		run(t, snapshot.Options{Sources: []string{"file"}, Addresses: snapshot.Addresses{Families: []int{4}, Range: at, Book: book}}, func(p *snapshot.Publisher) {
			for _, d := range deltas {
				p.In() <- d
				time.Sleep(time.Second)
				synctest.Wait()
			}
			out = snapshot.Allocated(p.Cell().Load())
		})
		ended, end := context.WithCancel(t.Context())
		end()
		if err := book.Run(ended); err != nil {
			t.Fatal(err)
		}
		return out
	}
	late, all := full("file"), full("file")
	for i := range n {
		all.Upserts = append(all.Upserts, service(fmt.Sprint("s", i), nil))
		if i >= n/2 {
			late.Upserts = append(late.Upserts, service(fmt.Sprint("s", i), nil))
		}
	}
	first := life(late, all)
	second := life(all)
	same := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	if d := cmp.Diff(first, second, same); d != "" {
		t.Errorf("-before +after:\n%s", d)
	}
	if d := cmp.Diff(first, snapshot.Allocated(snapshot.Make(snapshot.Options{Addresses: snapshot.Addresses{Families: []int{4}, Range: at}}, nil, all)), same); d == "" {
		t.Error("without what is remembered the same comes out: the test shows nothing")
	}
}
