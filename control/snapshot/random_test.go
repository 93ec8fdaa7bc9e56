package snapshot_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/snapshot"
)

// TestFollowingIsStartingAnew sends random deltas of two sources to a publisher, and
// compares each snapshot with that of one that gets everything at once: the same
// objects in the same order, and in Objects. Allocated addresses may differ, since a
// service keeps what it was given.
func TestFollowingIsStartingAnew(t *testing.T) {
	for seed := range uint64(16) {
		// Half of them where every service has an address, and instances have services.
		captured := snapshot.Addresses{Captured: seed%2 == 1}
		rnd := rand.New(rand.NewPCG(seed, 5))
		hash := uint64(0)
		held := map[string]map[model.Key]model.Object{"file": {}, "process": {}}
		random := func() model.Object {
			hash++
			m := model.Meta{Hash: hash, Created: int64(rnd.IntN(2))}
			name := fmt.Sprintf("o%d", rnd.IntN(8))
			switch rnd.IntN(6) {
			case 0:
				m.Key = key(model.KindService, name)
				s := &model.Service{Meta: m, Host: name + ".example", Name: name, Namespace: m.Key.Namespace, Headless: rnd.IntN(4) == 0, Selector: map[string]string{"app": fmt.Sprint(rnd.IntN(3))}}
				if rnd.IntN(3) == 0 {
					s.VIPs = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 96, 1, byte(rnd.IntN(4))}), 32)}
				}
				return s
			case 1:
				m.Key = key(model.KindServiceEntry, name)
				s := &model.Service{Meta: m, Host: name[:1] + fmt.Sprint(rnd.IntN(4)) + ".entry", Name: name, Namespace: m.Key.Namespace, FromEntry: true}
				s.Ports = []model.ServicePort{{Name: "a", Port: uint16(80 + rnd.IntN(2))}}
				s.Inline = []model.Endpoint{{Address: fmt.Sprint(rnd.IntN(9))}}
				return s
			case 2:
				m.Key = key(model.KindWorkload, name)
				return &model.Workload{Meta: m, Name: name, Namespace: m.Key.Namespace, Labels: map[string]string{"app": fmt.Sprint(rnd.IntN(3))}}
			case 3:
				m.Key = key(model.KindEndpointSlice, name)
				e := model.Endpoint{Address: fmt.Sprintf("10.0.0.%d", rnd.IntN(3)), Ports: map[string]uint16{"a": 1}, Slice: &model.Sliced{}}
				return &model.EndpointSlice{Meta: m, Service: fmt.Sprintf("o%d", rnd.IntN(8)), Endpoints: []model.Endpoint{e}}
			case 4:
				m.Key = model.Key{Kind: model.KindNamespace, Name: key(model.KindService, name).Namespace}
				m.Annotations = map[string]string{model.DistributionKey: []string{"", "PreferClose", "Any"}[rnd.IntN(3)]}
				return &model.Namespace{Meta: m}
			}
			m.Key = key(model.KindVirtualService, name)
			return &model.RouteSet{Meta: m, Hosts: []string{name}}
		}
		run(t, snapshot.Options{Sources: []string{"file", "process"}, Addresses: captured}, func(p *snapshot.Publisher) {
			p.In() <- full("file")
			p.In() <- full("process")
			for i := range 60 {
				d := model.Delta{Source: []string{"file", "process"}[rnd.IntN(2)]}
				mine := held[d.Source]
				for range 1 + rnd.IntN(3) {
					o := random()
					k := o.Head().Key
					new := slices.ContainsFunc(d.Upserts, func(o model.Object) bool { return o.Head().Key == k })
					if mine[k] != nil && rnd.IntN(3) == 0 && !new {
						d.Deletes = append(d.Deletes, k)
						delete(mine, k)
					} else if !slices.Contains(d.Deletes, k) {
						mine[k] = o
						d.Upserts = append(d.Upserts, o)
					}
				}
				p.In() <- d
				time.Sleep(time.Second)
				synctest.Wait()
				whole := snapshot.New(snapshot.Options{Sources: []string{"file", "process"}, Addresses: captured})
				ended := make(chan error)
				ctx, stop := context.WithCancel(context.Background())
				go func() { ended <- whole.Run(ctx) }()
				for _, s := range []string{"file", "process"} {
					all := full(s)
					for _, o := range held[s] {
						all.Upserts = append(all.Upserts, o)
					}
					whole.In() <- all
				}
				time.Sleep(time.Second)
				synctest.Wait()
				if d := cmp.Diff(listing(whole.Cell().Load()), listing(p.Cell().Load())); d != "" {
					t.Errorf("seed %d, delta %d, -anew +followed:\n%s", seed, i, d)
				}
				stop()
				<-ended
			}
		})
	}
}

// listing is what a snapshot has, in order, and whether Objects agrees.
func listing(s *model.Snapshot) (out []string) {
	add := func(o model.Object, what string) {
		out = append(out, fmt.Sprintf("%v %d %s", o.Head().Key, o.Head().Created, what))
		if s.Objects.Get(o.Head().Key) != o {
			out = append(out, fmt.Sprintf("%v is another in Objects", o.Head().Key))
		}
	}
	seen := map[netip.Prefix]bool{}
	for _, o := range s.Services {
		written := "allocated"
		if !o.AutoVIP {
			written = fmt.Sprint(o.VIPs)
		}
		for _, v := range o.VIPs {
			if o.AutoVIP && seen[v] {
				out = append(out, fmt.Sprintf("%v has %v, as another has", o.Key, v))
			}
			seen[v] = true
		}
		written += fmt.Sprintf(" %v %v %v", o.Ports, o.Inline, o.Distribution)
		for _, j := range o.Joined {
			written += fmt.Sprintf(" joined %v %d %v", j.Key, j.Hash, j.Inline)
		}
		if what := fmt.Sprintf("%s %d", written, len(o.VIPs)); o.Instance == "" {
			add(o, what)
		} else {
			out = append(out, o.Host+" "+what) // no object
		}
	}
	for _, o := range s.Workloads {
		add(o, o.TrustDomain)
	}
	for _, o := range s.Routes {
		add(o, fmt.Sprint(o.Hash))
	}
	return append(out, fmt.Sprintf("%d objects, %d findings", s.Objects.Len(), len(s.Findings)))
}
