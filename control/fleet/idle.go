package fleet

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/translate"
	"github.com/weftmesh/weft/wire"
)

const (
	// defaultIdle is after how long without use a proxy on demand loses what it asked for.
	defaultIdle = time.Hour
	// maxAsked bounds the names of a type that one proxy may ask for. A virtual host
	// more puts out those that were not used for longest; more of another type are
	// answered as if there were none.
	maxAsked = 4096
)

// Habits remembers what proxies of a service account use, beyond their lives.
type Habits interface {
	Note(account, typeURL, name string, now time.Time)
	Names(account string, now time.Time) map[string][]string
	// Used is when the names of a type were used last.
	Used(account, typeURL string) map[string]time.Time
}

// Remember has the fleet keep and follow habits, and lets proxies on demand lose what
// they did not use for so long (0: an hour). It is called before Run.
func (f *Fleet) Remember(h Habits, idle time.Duration) {
	f.habits = h
	f.idle = cmp.Or(idle, defaultIdle)
}

// usage is when a proxy on demand used what last; guarded by session.building.
type usage struct {
	// asked is when a virtual host was asked for, busy when a cluster was reported to
	// be in use.
	asked, busy map[string]time.Time
	// lent are clusters that the proxy has without asking for them by name: it asks
	// when they are taken away.
	lent map[string]bool
	// fixed are those of them that stay, since a fence lists them.
	fixed map[string]bool
	// round is how often virtual hosts were taken away: a proxy asks again only for
	// another set of routes.
	round int
}

func newUsage() usage {
	return usage{asked: map[string]time.Time{}, busy: map[string]time.Time{}, lent: map[string]bool{}}
}

// account is whose habits a session's proxy has; "": nobody's.
func account(w *model.Workload) string {
	if w == nil {
		return ""
	}
	return w.Namespace + "/" + cmp.Or(w.ServiceAccount, "default")
}

// warm asks for what proxies like the session's used before. It is called with
// building held, before the first build.
func (p *session) warm(who string) {
	if p.fleet.habits == nil || who == "" {
		return
	}
	now := time.Now()
	for url, names := range p.fleet.habits.Names(who, now) {
		if !slices.Contains(demanded, url) {
			continue
		}
		if p.asked[url] == nil {
			p.asked[url] = map[string]bool{}
		}
		for _, name := range names {
			p.asked[url][name] = true
			p.usage.asked[name] = now
			p.usage.lent[name] = url == wire.TypeCluster
		}
	}
}

// note remembers names that the proxy asked for, as far as they lead to services.
func (p *session) note(url string, names []string) {
	who := account(p.workload)
	if p.fleet.habits == nil || who == "" || url == wire.TypeHost {
		return
	}
	for _, name := range names {
		if clusters, ok := p.demand.Clusters(url, name); ok && len(clusters) > 0 {
			now := time.Now()
			p.fleet.habits.Note(who, url, name, now)
			p.learn(url, name, now)
		}
	}
}

// lastUse is when a virtual host, or a cluster that is lent, was used last.
func (p *session) lastUse(url, name string) time.Time {
	at := p.usage.asked[name]
	clusters, _ := p.demand.Clusters(url, name)
	for _, c := range append(clusters, name) {
		if b := p.usage.busy[c]; b.After(at) {
			at = b
		}
	}
	return at
}

// expire takes away what the proxy did not use for the fleet's idle time.
func (p *session) expire(now time.Time) {
	p.building.Lock()
	defer p.building.Unlock()
	if p.demand == nil {
		return
	}
	old := func(url, name string) bool {
		return !p.usage.fixed[name] && now.Sub(p.lastUse(url, name)) > p.fleet.idle
	}
	var gone []string
	for name := range p.asked[wire.TypeVirtualHost] {
		if old(wire.TypeVirtualHost, name) {
			gone = append(gone, name)
		}
	}
	changed := p.putOut(gone)
	for name := range p.usage.lent {
		if old(wire.TypeCluster, name) {
			delete(p.usage.lent, name)
			delete(p.asked[wire.TypeCluster], name)
			changed = true
		}
	}
	maps.DeleteFunc(p.usage.busy, func(_ string, at time.Time) bool { return now.Sub(at) > p.fleet.idle })
	if changed {
		p.fleet.publish(p, p.shared, p.own, p.use(p.own), nil)
		p.renew()
	}
}

// putOut takes virtual hosts away. The proxy asks again for what it needs.
func (p *session) putOut(names []string) bool {
	for _, name := range names {
		delete(p.asked[wire.TypeVirtualHost], name)
		delete(p.usage.asked, name)
	}
	if len(names) > 0 {
		p.usage.round++
	}
	return len(names) > 0
}

// bound keeps the number of names of a type below the bound.
func (p *session) bound(url string, fresh []string) {
	names := p.asked[url]
	if len(names) <= maxAsked {
		return
	}
	if url != wire.TypeVirtualHost {
		for _, name := range fresh {
			delete(names, name)
		}
		return
	}
	order := slices.SortedFunc(maps.Keys(names), func(a, b string) int {
		return cmp.Or(p.lastUse(url, a).Compare(p.lastUse(url, b)), cmp.Compare(a, b))
	})
	p.putOut(order[:len(order)/4])
}

// sweep lets all proxies lose what they do not use.
func (f *Fleet) sweep(now time.Time) {
	f.mu.Lock()
	sessions := slices.Collect(maps.Keys(f.sessions))
	f.mu.Unlock()
	for _, p := range sessions {
		p.expire(now)
	}
}

// busy takes in that a proxy uses clusters.
func (f *Fleet) busy(id model.Key, clusters []string, now time.Time) {
	for _, p := range f.of(id) {
		p.building.Lock()
		if p.demand != nil {
			for _, name := range clusters {
				p.usage.busy[name] = now
				p.learn(wire.TypeCluster, name, now)
			}
			for name := range p.asked[wire.TypeVirtualHost] {
				if p.lastUse(wire.TypeVirtualHost, name).Equal(now) {
					p.note(wire.TypeVirtualHost, []string{name})
				}
			}
		}
		p.building.Unlock()
	}
}

// of are the sessions of one proxy.
func (f *Fleet) of(id model.Key) (out []*session) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for p := range f.sessions {
		if p.identity == id && !p.proxy.Meta.Agent {
			out = append(out, p)
		}
	}
	return out
}

// ask is all that a session's proxy asks for.
func (p *session) ask() translate.Ask {
	return translate.Ask{Names: p.asked, Held: p.held, Round: p.usage.round}
}
