package config

import (
	"cmp"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/proxy/listener"
	"github.com/weftmesh/weft/proxy/route"
	"github.com/weftmesh/weft/proxy/xds"
	"github.com/weftmesh/weft/wire"
)

// Dry is the configuration of a proxy that carries no traffic: decoded as that of one
// that does, for whoever asks what it would do.
type Dry struct {
	// Listeners by name.
	Listeners []*listener.Listener
	// Clusters by name, as they came.
	Clusters map[string]*clusterv3.Cluster
	decoder  *Decoder
	routes   map[string]*route.Table
	specs    map[string]*route.Spec
	filters  map[*listener.FilterChain][]string
}

// Filters are the names of a chain's network filters.
func (y *Dry) Filters(c *listener.FilterChain) []string { return y.filters[c] }

// Dry decodes resources, with d's Routes set to find those among them. What is not
// taken is told; the rest is in the Dry.
func (d *Decoder) Dry(all []xds.Update) (*Dry, []xds.Rejection) {
	out := &Dry{
		Clusters: map[string]*clusterv3.Cluster{}, decoder: d,
		routes: map[string]*route.Table{}, specs: map[string]*route.Spec{}, filters: map[*listener.FilterChain][]string{},
	}
	d.Routes = func(name string) func() *route.Table {
		return func() *route.Table { return out.routes[name] }
	}
	// What a filter by name would do is not found out: it may be a program.
	d.Extensions = func(_ extension, x place) place {
		x.leaveOut()
		return x
	}
	return out, out.Add(all)
}

// Add takes what comes later: what a proxy on demand has asked for. Virtual hosts
// join routes that are there already.
func (y *Dry) Add(all []xds.Update) (rejected []xds.Rejection) {
	for _, u := range all {
		for _, r := range u.Set {
			if err := y.add(y.decoder, u.Type, r); err != nil {
				rejected = append(rejected, xds.Rejection{Name: r.Name, Err: err})
			}
		}
	}
	slices.SortFunc(y.Listeners, func(a, b *listener.Listener) int { return cmp.Compare(a.Name, b.Name) })
	return rejected
}

func (y *Dry) add(d *Decoder, typeURL string, r xds.Resource) error {
	switch typeURL {
	case wire.TypeListener:
		c, err := d.openListener(r)
		if err != nil {
			return err
		}
		y.Listeners = append(y.Listeners, c.listener)
		m := &listenerv3.Listener{}
		if err := r.Body.UnmarshalTo(m); err != nil {
			return err
		}
		for i, chain := range c.listener.Chains {
			y.filters[chain] = filterNames(m.FilterChains[i])
		}
		if c.listener.Default != nil {
			y.filters[c.listener.Default] = filterNames(m.DefaultFilterChain)
		}
	case wire.TypeRoute:
		m := &routev3.RouteConfiguration{}
		if err := open(r.Body, m); err != nil {
			return err
		}
		spec, table, err := d.compileRoutes(m)
		if err != nil {
			return err
		}
		y.specs[r.Name], y.routes[r.Name] = spec, table
	case wire.TypeVirtualHost:
		return y.host(d, r)
	case wire.TypeCluster:
		c, err := d.openCluster(r)
		if err != nil {
			return err
		}
		m := &clusterv3.Cluster{}
		if err := r.Body.UnmarshalTo(m); err != nil {
			return err
		}
		y.Clusters[c.spec.Name] = m
	}
	return nil
}

func filterNames(m *listenerv3.FilterChain) (out []string) {
	for _, f := range m.GetFilters() {
		out = append(out, f.Name)
	}
	return out
}

// host takes a virtual host on demand into the routes that it is for.
func (y *Dry) host(d *Decoder, r xds.Resource) error {
	name, _ := hostName(r.Name)
	table := y.routes[name]
	if r.Body == nil || table == nil {
		return nil // the name is known, there is no such host; or its routes are not held
	}
	v, err := d.openHost(r)
	if err != nil {
		return err
	}
	compiled, err := route.CompileHost(y.specs[name], v, d.RouteOptions)
	if err != nil {
		return err
	}
	table, err = table.With([]*route.Host{compiled}, nil)
	if err == nil {
		y.routes[name] = table
	}
	return err
}
