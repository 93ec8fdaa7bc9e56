package explain

import (
	"fmt"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/translate"
	maker "github.com/weftmesh/weft/control/translate/route"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http"
	"github.com/weftmesh/weft/proxy/tcp"
	"github.com/weftmesh/weft/wire"
)

// ask lets the client's proxy ask for a name, and says what it gets: the proxy goes on
// with that, and with nothing that other requests would have asked for.
func (r *request) ask(url, what, name string) error {
	c := r.client
	when := "when the first request comes"
	if r.q.From.Asked[url][name] {
		when = "and has done so"
	}
	r.say("on demand", nil, "the proxy asks for the %s %s, %s", what, name, when)
	if c.proxy.Asked == nil {
		c.proxy.Asked = translate.Asked{}
	}
	if c.proxy.Asked[url] == nil {
		c.proxy.Asked[url] = map[string]bool{}
	}
	c.proxy.Asked[url][name] = true
	before := c.made
	c.made, _ = r.Translate(c.proxy)
	var got []string
	fresh := updates(c.made)
	for i, u := range fresh {
		fresh[i].Set = u.Set[:0]
		for _, x := range u.Set {
			if _, had := before.Get(u.Type, x.Name); !had {
				fresh[i].Set = append(fresh[i].Set, x)
				got = append(got, x.Name)
			}
		}
	}
	if rejected := c.dry.Add(fresh); len(rejected) > 0 {
		return fmt.Errorf("%s would refuse %s: %w", c.proxy.Name(), rejected[0].Name, rejected[0].Err)
	}
	if len(got) == 0 {
		r.say("on demand", nil, "there is nothing of that name")
		return nil
	}
	r.say("on demand", nil, "it gets %s", few(got, 6))
	return nil
}

// judged asks the client's proxy about the request; one that lacks the virtual host
// asks for it first.
func (r *request) judged(m *http.Manager) (http.Judgement, error) {
	head := *r.head
	j := m.Judge(&head, &filter.Info{Conn: r.info.Conn, Remote: r.info.Remote})
	if j.Routes != nil && j.Routes.Demand() && j.Trace.Host == nil {
		if err := r.ask(wire.TypeVirtualHost, "virtual host", j.Routes.Name()+"/"+strings.ToLower(r.head.Authority)); err != nil {
			return j, err
		}
	}
	return m.Judge(r.head, r.info), nil
}

// lacking asks for the clusters of a connection that are not there.
func (r *request) lacking(p *tcp.Proxy) error {
	if !p.Asks() {
		return nil
	}
	for _, w := range p.Clusters(r.info.Conn) {
		if r.client.dry.Clusters[w.Name] == nil {
			if err := r.ask(wire.TypeCluster, "cluster", w.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// meshName is what the mesh calls a cluster that a proxy on demand has by the name that
// it asked for.
func (r *request) meshName(cluster string) string {
	if !strings.HasPrefix(cluster, wire.DemandTCP) && !strings.HasPrefix(cluster, wire.DemandTLS) {
		return cluster
	}
	if names := r.Leads(r.client.proxy, wire.TypeCluster, cluster); len(names) == 1 {
		return names[0]
	}
	return cluster
}

// demanded is a virtual host on demand as translation makes it, with the places of its
// routes. What EnvoyFilters change is not in it.
func (r *request) demanded(name string) (*routev3.VirtualHost, map[*routev3.Route]maker.Place) {
	_, authority, ok := strings.Cut(name, "/")
	if !ok {
		return nil, nil
	}
	b := maker.NewBuilder(r.client.view, func(model.Finding) {})
	places := b.Trace()
	return b.OnDemandHost(authority, func(_ string, vh *routev3.VirtualHost) *routev3.VirtualHost { return vh }), places
}

// connected lets the connection's filters leave what routes and clusters are chosen by.
func connected(names []string, filters []filter.NetworkFactory, conn *filter.ConnInfo) {
	for i, f := range filters {
		if i < len(names) && slices.Contains(stateful, names[i]) {
			if x := f.New(); x != nil {
				x.Open(nil, conn)
			}
		}
	}
}

// stateful are the filters of connections that only leave notes.
var stateful = []string{"envoy.filters.network.set_filter_state"}
