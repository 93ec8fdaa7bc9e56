package snapshot_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/snapshot"
)

func key(kind model.Kind, name string) model.Key {
	return model.Key{Kind: kind, Namespace: "default", Name: name}
}

func service(name string, change func(*model.Service)) *model.Service {
	s := &model.Service{Namespace: "default", Name: name, Host: name + ".default.svc.cluster.local"}
	s.Key, s.Hash = key(model.KindService, name), 1
	s.Exports = model.Visibility{Public: true, Default: true}
	if change != nil {
		change(s)
	}
	return s
}

func account(name string, hash uint64) *model.ServiceAccount {
	a := &model.ServiceAccount{}
	a.Key, a.Hash = key(model.KindServiceAccount, name), hash
	return a
}

func full(source string, objects ...model.Object) model.Delta {
	return model.Delta{Source: source, Full: true, Upserts: objects}
}

// run starts a publisher within a bubble; next waits for a new version.
func run(t *testing.T, o snapshot.Options, test func(p *snapshot.Publisher)) {
	synctest.Test(t, func(t *testing.T) {
		p := snapshot.New(o)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		test(p)
		cancel()
		<-done
	})
}

func TestWaitsForAllSources(t *testing.T) {
	run(t, snapshot.Options{Sources: []string{"file", "process"}}, func(p *snapshot.Publisher) {
		p.In() <- full("file", account("a", 1))
		synctest.Wait()
		if p.Cell().Load() != nil {
			t.Error("published before every source had its say")
		}
		p.In() <- full("process")
		synctest.Wait()
		if s := p.Cell().Load(); s == nil || len(s.Accounts) != 1 || s.Version != 1 || s.Mesh.TrustDomain != "cluster.local" {
			t.Errorf("got %+v", s)
		}
	})
}

func TestGoesOnWithoutSilentSource(t *testing.T) {
	run(t, snapshot.Options{Sources: []string{"file", "never"}}, func(p *snapshot.Publisher) {
		p.In() <- full("file", account("a", 1))
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if s := p.Cell().Load(); s == nil || len(s.Accounts) != 1 {
			t.Errorf("got %+v", s)
		}
	})
}

// TestWhyIsWhatHasChanged: a source that says again what it has said is not named.
func TestWhyIsWhatHasChanged(t *testing.T) {
	said := func(d model.Delta, why string) model.Delta {
		d.Why = why
		return d
	}
	run(t, snapshot.Options{Sources: []string{"file", "process"}}, func(p *snapshot.Publisher) {
		p.In() <- said(full("process"), "no processes")
		p.In() <- said(full("file", account("a", 1)), "a is new")
		synctest.Wait()
		if s := p.Cell().Load(); s == nil || !slices.Equal(s.Why, []string{"a is new"}) {
			t.Errorf("got %+v", s)
		}
	})
}

func TestLoneChangeAtOnceStormCoalesced(t *testing.T) {
	run(t, snapshot.Options{Sources: []string{"file"}}, func(p *snapshot.Publisher) {
		p.In() <- full("file", account("a", 1))
		synctest.Wait()
		time.Sleep(time.Second)
		start := time.Now()
		p.In() <- model.Delta{Source: "file", Upserts: []model.Object{account("a", 2)}}
		synctest.Wait()
		if v := p.Cell().Load().Version; v != 2 || !time.Now().Equal(start) {
			t.Errorf("a lone change: version %d after %v", v, time.Since(start))
		}
		// One change every 5 ms for a second: at most one version each 100 ms.
		for i := range 200 {
			p.In() <- model.Delta{Source: "file", Upserts: []model.Object{account("a", uint64(i+10))}, Why: "storm"}
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		s := p.Cell().Load()
		if n := s.Version - 2; n < 5 || n > 25 {
			t.Errorf("a storm of 200 changes made %d versions", n)
		}
		if s.Accounts[0].Hash != 209 {
			t.Errorf("the last change is lost: %d", s.Accounts[0].Hash)
		}
	})
}

func TestEqualHashPublishesNothing(t *testing.T) {
	run(t, snapshot.Options{Sources: []string{"file"}}, func(p *snapshot.Publisher) {
		p.In() <- full("file", account("a", 1), service("s", nil))
		synctest.Wait()
		first := p.Cell().Load()
		p.In() <- model.Delta{Source: "file", Upserts: []model.Object{account("a", 1)}}
		time.Sleep(time.Second)
		synctest.Wait()
		if p.Cell().Load() != first {
			t.Error("the same content was published again")
		}
		p.In() <- model.Delta{Source: "file", Upserts: []model.Object{account("b", 1)}}
		synctest.Wait()
		next := p.Cell().Load()
		if len(next.Accounts) != 2 || &next.Services[0] != &first.Services[0] {
			t.Error("services that did not change are not shared")
		}
		p.In() <- model.Delta{Source: "file", Deletes: []model.Key{key(model.KindServiceAccount, "a")}}
		time.Sleep(time.Second)
		synctest.Wait()
		if s := p.Cell().Load(); len(s.Accounts) != 1 || s.Objects.Get(key(model.KindServiceAccount, "a")) != nil || len(first.Accounts) != 1 {
			t.Errorf("after a delete: %+v", s.Accounts)
		}
	})
}

func TestFirstSourceWins(t *testing.T) {
	run(t, snapshot.Options{Sources: []string{"one", "two"}}, func(p *snapshot.Publisher) {
		p.In() <- full("two", account("a", 2))
		p.In() <- full("one", account("a", 1))
		synctest.Wait()
		s := p.Cell().Load()
		if s.Accounts[0].Hash != 1 || len(s.Findings) != 1 {
			t.Errorf("got %d, findings %v", s.Accounts[0].Hash, s.Findings)
		}
		p.In() <- full("one")
		time.Sleep(time.Second)
		synctest.Wait()
		if s = p.Cell().Load(); s.Accounts[0].Hash != 2 || len(s.Findings) != 0 {
			t.Errorf("got %d, findings %v", s.Accounts[0].Hash, s.Findings)
		}
	})
}

func TestAddresses(t *testing.T) {
	entry := func(host string, r model.Resolution) *model.Service {
		return service(host, func(s *model.Service) {
			s.Key.Kind, s.Host, s.FromEntry, s.Resolution = model.KindServiceEntry, host, true, r
		})
	}
	written := netip.MustParsePrefix("10.96.7.7/32")
	run(t, snapshot.Options{Sources: []string{"file"}}, func(p *snapshot.Publisher) {
		p.In() <- full("file",
			service("auto", nil),
			service("written", func(s *model.Service) { s.VIPs = []netip.Prefix{written} }),
			service("headless", func(s *model.Service) { s.Headless = true }),
			service("six", func(s *model.Service) { s.Families = []int{6} }),
			entry("dns.example.com", model.ByDNS), entry("none.example.com", model.Passthrough), entry("*.example.com", model.ByWorkloads),
		)
		synctest.Wait()
		first := map[string][]netip.Prefix{}
		for _, s := range p.Cell().Load().Services {
			first[s.Name] = s.VIPs
			if s.AutoVIP != (len(s.VIPs) > 0 && s.Name != "written") {
				t.Errorf("%s: AutoVIP %v", s.Name, s.AutoVIP)
			}
		}
		within := func(name string, n int, ranges ...string) {
			t.Helper()
			if len(first[name]) != n {
				t.Errorf("%s: got %v", name, first[name])
				return
			}
			for i, r := range ranges {
				if !netip.MustParsePrefix(r).Contains(first[name][i].Addr()) {
					t.Errorf("%s: %v is not in %s", name, first[name][i], r)
				}
			}
		}
		within("auto", 2, "10.96.0.0/16", "fd00:10:96::/112")
		within("written", 1, "10.96.7.7/32")
		within("headless", 0)
		within("six", 1, "fd00:10:96::/112")
		within("dns.example.com", 2, "240.240.0.0/16", "2001:2::/48")
		within("none.example.com", 0)
		within("*.example.com", 0)

		// Others come and go: the address stays, unless somebody writes it down.
		for i := range 300 {
			p.In() <- model.Delta{Source: "file", Upserts: []model.Object{service(fmt.Sprint("more-", i), nil)}}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		seen := map[netip.Prefix]string{}
		for _, s := range p.Cell().Load().Services {
			if s.Name == "auto" && cmp.Diff(first["auto"], s.VIPs, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })) != "" {
				t.Errorf("auto moved from %v to %v", first["auto"], s.VIPs)
			}
			for _, v := range s.VIPs {
				if seen[v] != "" {
					t.Errorf("%v is both %s's and %s's", v, seen[v], s.Name)
				}
				seen[v] = s.Name
			}
		}
		p.In() <- model.Delta{Source: "file", Upserts: []model.Object{service("thief", func(s *model.Service) { s.VIPs = first["auto"][:1] })}}
		time.Sleep(time.Second)
		synctest.Wait()
		for _, s := range p.Cell().Load().Services {
			if s.Name == "auto" && s.VIPs[0] == first["auto"][0] {
				t.Error("an allocated address stays though a service has it written down")
			}
		}
	})
}

func TestMeshDefaults(t *testing.T) {
	mesh := func(name string, hash uint64, change func(*model.Mesh)) *model.Mesh {
		m := model.DefaultMesh()
		m.Key, m.Hash = key(model.KindMeshConfig, name), hash
		change(m)
		return m
	}
	w := &model.Workload{Name: "w", Namespace: "default"}
	w.Key, w.Hash = key(model.KindWorkload, "w"), 1
	r := &model.RouteSet{Exports: model.Visibility{Public: true, Default: true}}
	r.Key, r.Hash = key(model.KindVirtualService, "r"), 1
	run(t, snapshot.Options{Sources: []string{"file"}}, func(p *snapshot.Publisher) {
		p.In() <- full("file", w, r, service("s", nil))
		synctest.Wait()
		before := p.Cell().Load()
		if before.Workloads[0].TrustDomain != "cluster.local" || w.TrustDomain != "" {
			t.Errorf("trust domain: %q, and the source's object has %q", before.Workloads[0].TrustDomain, w.TrustDomain)
		}
		p.In() <- model.Delta{Source: "file", Upserts: []model.Object{
			mesh("istio", 1, func(m *model.Mesh) { m.TrustDomain = "istio.org" }),
			mesh("weft", 2, func(m *model.Mesh) {
				m.TrustDomain = "weft.org"
				m.ServiceExports = &model.Visibility{Namespaces: []string{".", "x"}}
				m.RouteExports = &model.Visibility{}
			}),
		}}
		time.Sleep(time.Second)
		synctest.Wait()
		s := p.Cell().Load()
		if got := s.Workloads[0].TrustDomain; got != "weft.org" {
			t.Errorf("trust domain: %q", got)
		}
		if d := cmp.Diff(model.Visibility{Namespaces: []string{"default", "x"}, Default: true}, s.Services[0].Exports); d != "" {
			t.Errorf("service (-want, +got):\n%s", d)
		}
		if d := cmp.Diff(model.Visibility{Default: true}, s.Routes[0].Exports); d != "" {
			t.Errorf("route (-want, +got):\n%s", d)
		}
		if s.Services[0].Hash == before.Services[0].Hash || s.Objects.Get(s.Services[0].Key) != model.Object(s.Services[0]) {
			t.Error("a derived object has the old hash, or is not the one in Objects")
		}
	})
}

func TestFindings(t *testing.T) {
	check := func(s *model.Snapshot) []model.Finding {
		return []model.Finding{{Message: fmt.Sprintf("%d accounts", len(s.Accounts)), Origin: model.Origin{File: "b"}}}
	}
	run(t, snapshot.Options{Sources: []string{"file"}, Check: check}, func(p *snapshot.Publisher) {
		d := full("file", account("a", 1))
		d.Findings = []model.Finding{{Message: "two", Origin: model.Origin{File: "c", Line: 2}}, {Message: "one", Origin: model.Origin{File: "a", Line: 9}}}
		p.In() <- d
		synctest.Wait()
		var got []string
		for _, f := range p.Cell().Load().Findings {
			got = append(got, f.Message)
		}
		if d := cmp.Diff([]string{"one", "1 accounts", "two"}, got); d != "" {
			t.Errorf("(-want, +got):\n%s", d)
		}
		p.In() <- model.Delta{Source: "file", Why: "repaired"}
		time.Sleep(time.Second)
		synctest.Wait()
		if s := p.Cell().Load(); len(s.Findings) != 1 || s.Version != 2 || len(s.Why) != 1 {
			t.Errorf("after the repair: %v, version %d, why %v", s.Findings, s.Version, s.Why)
		}
	})
}
