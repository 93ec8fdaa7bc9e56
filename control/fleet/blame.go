package fleet

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate"
)

// blame is of which objects something that proxies have refused was made: those without
// which it would be different. It is found out when it is first asked for, by
// translating without them.
type blame struct {
	once sync.Once
	// keys are the objects; nil: it is not known, any that came with it may be.
	keys map[model.Key]bool
}

// blames are those of resources in the form in which proxies were last sent them, so that
// a thousand proxies that refuse the same cost one search.
type blames struct {
	mu    sync.Mutex
	known map[string]*blame
}

// mostBlames is how many are remembered.
const mostBlames = 1024

func (b *blames) of(key string) *blame {
	b.mu.Lock()
	defer b.mu.Unlock()
	x := b.known[key]
	if x == nil {
		if b.known == nil || len(b.known) >= mostBlames {
			b.known = map[string]*blame{}
		}
		x = &blame{}
		b.known[key] = x
	}
	return x
}

// refused names a fault and the present form of what was refused.
func (p *session) refused(url string, x *fault) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d %d", url, x.from, x.to)
	if cur := p.state.Load(); cur != nil {
		for _, name := range x.names {
			if r := cur.state.Sets[url].Get(name); r != nil {
				fmt.Fprintf(&b, " %s %s", name, r.Version)
			}
		}
	}
	return b.String()
}

// blameBound is how long the search for a culprit may take. What it has not got to by
// then counts as guilty.
const blameBound = 2 * time.Second

// causes are the objects of a fault's versions that the refused resources were made of;
// nil: not known.
func (p *session) causes(idx *index, url string, x *fault) map[model.Key]bool {
	b := p.fleet.blames.of(p.refused(url, x))
	b.once.Do(func() {
		var suspects []model.Key
		for k, age := range idx.Snapshot.Ages.All {
			if x.of(age.Formed) && configures(idx.Snapshot.Objects.Get(k)) {
				suspects = append(suspects, k)
			}
		}
		slices.SortFunc(suspects, compareKeys)
		t := trial{session: p, index: idx, url: url, names: x.names, cache: translate.NewCache(), until: time.Now().Add(blameBound)}
		if t.found = t.make(idx.Index); len(t.found) == 0 {
			return // the proxy is to have something else by now
		}
		for _, k := range t.guilty(suspects) {
			if b.keys == nil {
				b.keys = map[model.Key]bool{}
			}
			b.keys[k] = true
		}
	})
	return b.keys
}

func compareKeys(a, b model.Key) int { return strings.Compare(a.String(), b.String()) }

// trial finds out what resources depend on.
type trial struct {
	session *session
	index   *index
	url     string
	names   []string
	cache   *translate.Cache
	until   time.Time
	// found are the versions of the resources with all objects.
	found map[string]string
}

// guilty are those of some objects that the resources depend on. Objects of which any
// one would do are guilty together.
func (t *trial) guilty(list []model.Key) []model.Key {
	if len(list) == 0 || time.Now().After(t.until) {
		return list
	}
	gone := make(map[model.Key]bool, len(list))
	for _, k := range list {
		gone[k] = true
	}
	if !t.differs(t.make(scope.NewIndex(t.index.Snapshot.Without(gone)))) {
		return nil
	}
	if len(list) == 1 {
		return list
	}
	half := len(list) / 2
	if out := slices.Concat(t.guilty(list[:half]), t.guilty(list[half:])); len(out) > 0 {
		return out
	}
	return list
}

func (t *trial) differs(now map[string]string) bool {
	for name, version := range t.found {
		if now[name] != version {
			return true
		}
	}
	return false
}

// make translates for the proxy and returns the versions of the resources that there are.
func (t *trial) make(x *scope.Index) map[string]string {
	p := t.session
	proxy := p.proxy
	proxy.Workload = p.findWorkload(t.index)
	switch {
	case proxy.Proxyless():
		proxy.OnDemand = true
	case p.delta:
		proxy = x.Layout(proxy, p.fleet.onDemand)
	}
	view := scope.Build(x, proxy)
	shared := t.cache.Shared(view, nil)
	own := t.cache.Own(view, nil)
	var sets map[string]*resource.Set
	if proxy.OnDemand {
		demand := t.cache.Demand(view, nil)
		p.building.Lock()
		used := demand.Used(own, p.ask(), nil)
		p.building.Unlock()
		sets = used.Sets(shared)
	} else {
		sets = own.Sets(shared)
	}
	out := map[string]string{}
	if set := sets[t.url]; set != nil {
		for r := range set.All() {
			if slices.Contains(t.names, r.Name) {
				out[r.Name] = r.Version
			}
		}
	}
	return out
}
