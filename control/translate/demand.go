package translate

import (
	"slices"
	"strings"
	"sync"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/proxyless"
	"github.com/weftmesh/weft/control/translate/route"
	"github.com/weftmesh/weft/wire"
)

// Demand answers what the proxies of one scope.Group ask for by name, in the
// on-demand layout. An answer is made for the first who asks, and kept for as long
// as nothing of what it is made of is different. It may be used by any goroutine, and
// is always of the newest snapshot that it was brought to.
type Demand struct {
	cache *Cache

	mu      sync.Mutex
	version uint64              // of the snapshot
	view    *scope.View         // one goroutine's at a time
	routes  *route.Builder      // nil for gRPC without a proxy
	client  *proxyless.Client   // nil for a proxy
	report  func(model.Finding) // of the answer that is being made
	answers map[question]*answer
	// users are the questions whose answers have clusters of a service, by host.
	users map[string]map[question]bool
	// plain: the last change gave answers other clusters and endpoints of the same names,
	// and nothing else.
	plain bool
}

// maxAnswers bounds what is kept: proxies may ask for anything.
const maxAnswers = 1 << 17

// question is a name of a type.
type question struct{ url, name string }

// answer is what a name means to a group. It is immutable.
type answer struct {
	// self is what was asked for: a virtual host, a name for DNS, or anything that gRPC
	// without a proxy calls by its name, which gets nothing along.
	self *resource.Resource
	// clusters are the names of those that it takes, services the hosts of the
	// services that these belong to.
	clusters, services []string
	// as is the name that the one cluster has for those who ask by where a connection goes.
	as string
	// stocks are the clusters: all of it goes along in one round trip.
	stocks   []*stock
	secrets  []string
	findings []model.Finding
	// said are the findings of these that are about the route.
	said []model.Finding
}

// Demand makes what answers for a view. before is what did for the group last; it is
// brought to the view where that differs in instances only.
func (c *Cache) Demand(v *scope.View, before *Demand) *Demand {
	if before != nil && before.follow(v) {
		return before
	}
	d := &Demand{
		cache: c, version: v.Index.Snapshot.Version, view: v, report: func(model.Finding) {},
		answers: map[question]*answer{}, users: map[string]map[question]bool{},
	}
	report := func(x model.Finding) { d.report(x) }
	if v.Proxy.Proxyless() {
		d.client = proxyless.NewClient(v, report)
	} else {
		d.routes = route.NewBuilder(v, report)
	}
	return d
}

// follow brings it to a view that differs in instances only; false: it does in more.
// Routes do not depend on those, and most clusters belong to other services.
func (d *Demand) follow(v *scope.View) bool {
	ch := v.Index.Change
	d.mu.Lock()
	defer d.mu.Unlock()
	if ch == nil || ch.From != d.version {
		return false
	}
	d.version, d.view, d.plain = v.Index.Snapshot.Version, v, d.client == nil
	if d.client != nil {
		d.client.Follow(v)
	} else {
		d.routes.Follow(v)
	}
	for _, s := range ch.Services {
		if d.client != nil { // asked again, its answers are made again
			for q := range d.users[s.New.Host] {
				delete(d.answers, q)
			}
			continue
		}
		for q := range d.users[s.New.Host] {
			a := d.answers[q]
			again := &answer{self: a.self, clusters: a.clusters, as: a.as, said: a.said}
			d.fill(q, again)
			d.plain = d.plain && again.alike(a)
			d.answers[q] = again
		}
	}
	return true
}

// find answers a question; nil: there is nothing of that name on demand. It is
// called with mu held.
func (d *Demand) find(q question) *answer {
	if len(d.answers) >= maxAnswers {
		clear(d.answers)
		clear(d.users)
	}
	a, known := d.answers[q]
	if !known && d.client != nil {
		a = d.byName(q)
		d.answers[q] = a
	} else if !known {
		if a = d.make(q); a != nil {
			d.fill(q, a)
		}
		d.answers[q] = a
	}
	return a
}

func (d *Demand) make(q question) *answer {
	switch q.url {
	case wire.TypeVirtualHost:
		authority, ok := strings.CutPrefix(q.name, wire.OnDemandRoute+"/")
		if !ok || authority == "" || authority == nobody {
			return nil
		}
		a := &answer{}
		d.report = func(x model.Finding) { a.said = append(a.said, x) }
		patches := d.cache.patcher(d.view, d.report)
		vh := d.routes.OnDemandHost(authority, func(config string, vh *routev3.VirtualHost) *routev3.VirtualHost {
			return patches.host(q.name, config, vh)
		})
		a.self, a.clusters = patches.pack(d.cache, q.url, q.name, vh), route.Destinations(vh)
		return a
	case wire.TypeHost:
		if r := d.cache.named(d.view, q.name); r != nil {
			return &answer{self: r}
		}
	case wire.TypeCluster:
		if _, _, _, _, ok := wire.SplitClusterName(q.name); ok {
			return &answer{clusters: []string{q.name}}
		}
		if to, ok := d.stream(q.name); ok {
			return &answer{clusters: []string{to}, as: q.name}
		}
	}
	return nil
}

// fill adds the clusters that an answer takes, and their endpoints.
func (d *Demand) fill(q question, a *answer) {
	a.findings = slices.Clone(a.said)
	for _, name := range a.clusters {
		direction, port, _, host, ok := wire.SplitClusterName(name)
		if !ok {
			a.fixed(d, name)
			continue
		}
		s := d.view.Service(host)
		if direction != wire.Outbound || s == nil {
			continue
		}
		p := d.cache.outbound(d.view, s)
		at := s.Port(port)
		a.add(d.cache, p.stock(d.cache, name, a.as == "" && at != nil && at.Protocol == model.Unknown))
		if !slices.Contains(a.services, host) {
			a.services = append(a.services, host)
			d.uses(host, q)
			a.secrets = append(a.secrets, p.secrets...)
			a.findings = append(a.findings, p.findings...)
		}
	}
}

// alike tells whether an answer differs from another only in what its clusters and
// endpoints are.
func (a *answer) alike(o *answer) bool {
	return slices.EqualFunc(a.stocks, o.stocks, func(x, y *stock) bool {
		return x.cluster.Name == y.cluster.Name && (x.endpoints == nil) == (y.endpoints == nil)
	}) &&
		slices.Equal(a.services, o.services) && slices.Equal(a.secrets, o.secrets) && slices.Equal(a.findings, o.findings)
}

func (d *Demand) uses(host string, q question) {
	if d.users[host] == nil {
		d.users[host] = map[question]bool{}
	}
	d.users[host][q] = true
}

// add adds a cluster; nil: there is none.
func (a *answer) add(c *Cache, s *stock) {
	if s == nil {
		return
	}
	if a.as != "" {
		s = c.newStock(c.renamed(s.cluster, a.as), c.renamed(s.endpoints, a.as))
	}
	a.stocks = append(a.stocks, s)
}

// nobody is no authority. A proxy's first answer about virtual hosts must not be
// empty, or it waits.
const nobody = "-"

// Clusters are those that a name leads to, of services and others; not ok: there is
// nothing of that name on demand.
func (d *Demand) Clusters(url, name string) (names []string, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.find(question{url, name})
	if a == nil {
		return nil, false
	}
	for _, s := range a.stocks {
		names = append(names, s.cluster.Name)
	}
	return names, true
}

// Leads are the clusters that a name leads to, by the names that they have in the mesh;
// none: there is nothing of that name on demand.
func (d *Demand) Leads(url, name string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a := d.find(question{url, name}); a != nil {
		return a.clusters
	}
	return nil
}

// Hosts are those of the services that a name leads to.
func (d *Demand) Hosts(url, name string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a := d.find(question{url, name}); a != nil {
		return a.services
	}
	return nil
}
