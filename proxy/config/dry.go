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
	routes   map[string]*route.Table
	filters  map[*listener.FilterChain][]string
}

// Filters are the names of a chain's network filters.
func (y *Dry) Filters(c *listener.FilterChain) []string { return y.filters[c] }

// Dry decodes resources, with d's Routes set to find those among them. What is not
// taken is told; the rest is in the Dry.
func (d *Decoder) Dry(all []xds.Update) (*Dry, []xds.Rejection) {
	out := &Dry{Clusters: map[string]*clusterv3.Cluster{}, routes: map[string]*route.Table{}, filters: map[*listener.FilterChain][]string{}}
	d.Routes = func(name string) func() *route.Table {
		return func() *route.Table { return out.routes[name] }
	}
	// What a filter by name would do is not found out: it may be a program.
	d.Extensions = func(_ extension, x place) place {
		x.leaveOut()
		return x
	}
	var rejected []xds.Rejection
	for _, u := range all {
		for _, r := range u.Set {
			if err := out.add(d, u.Type, r); err != nil {
				rejected = append(rejected, xds.Rejection{Name: r.Name, Err: err})
			}
		}
	}
	slices.SortFunc(out.Listeners, func(a, b *listener.Listener) int { return cmp.Compare(a.Name, b.Name) })
	return out, rejected
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
			for _, f := range m.FilterChains[i].Filters {
				y.filters[chain] = append(y.filters[chain], f.Name)
			}
		}
	case wire.TypeRoute:
		m := &routev3.RouteConfiguration{}
		if err := open(r.Body, m); err != nil {
			return err
		}
		_, table, err := d.compileRoutes(m)
		if err != nil {
			return err
		}
		y.routes[r.Name] = table
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
