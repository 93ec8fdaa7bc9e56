package translate

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/control/translate/cluster"
	"github.com/weftmesh/weft/control/translate/proxyless"
	"github.com/weftmesh/weft/wire"
)

// byName answers gRPC without a proxy, which asks for everything by name; nil: there
// is nothing of that name. It is called with mu held.
func (d *Demand) byName(q question) *answer {
	a := &answer{}
	d.report = func(x model.Finding) { a.findings = append(a.findings, x) }
	switch q.url {
	case wire.TypeListener:
		if m := d.client.Listener(q.name); m != nil {
			a.self = d.cache.pack(q.url, q.name, m)
			return a
		}
	case wire.TypeRoute:
		if m := d.client.Routes(q.name); m != nil {
			a.self = d.cache.pack(q.url, q.name, m)
			return a
		}
	case wire.TypeCluster, wire.TypeEndpoint:
		return d.clusterByName(q, a)
	}
	return nil
}

// clusterByName answers with a cluster or its endpoints, both of which depend on who
// serves: an identity may be new.
func (d *Demand) clusterByName(q question, a *answer) *answer {
	direction, port, subset, host, ok := wire.SplitClusterName(q.name)
	if !ok || direction != wire.Outbound {
		return nil
	}
	s := d.view.Service(host)
	if s == nil {
		return nil
	}
	c, endpoints := cluster.NewBuilder(d.view, cluster.Report(d.report)).GRPC(s, port, subset)
	if c == nil {
		return nil
	}
	a.services = []string{host}
	d.uses(host, q)
	switch {
	case q.url == wire.TypeCluster:
		a.self = d.cache.pack(q.url, q.name, c)
	case endpoints != nil:
		a.findings = nil // the cluster's are the same
		a.self = d.cache.pack(q.url, q.name, endpoints)
	}
	return a
}

// listener makes a listener that only this workload's gRPC server has; nil: the name
// is no such one.
func (o *Own) listener(c *Cache, url, name string) *resource.Resource {
	if o.server == nil || url != wire.TypeListener {
		return nil
	}
	m := o.server.Listener(name)
	if m == nil {
		return nil
	}
	return c.pack(url, name, m)
}

// Between is what gRPC without a proxy is handed for a while between the routes that it
// holds and those that come next; nil: nothing.
func (c *Cache) Between(url string, held, next *resource.Resource) *resource.Resource {
	if url != wire.TypeRoute {
		return nil
	}
	var a, b routev3.RouteConfiguration
	if held.Body.UnmarshalTo(&a) != nil || next.Body.UnmarshalTo(&b) != nil {
		return nil
	}
	m := proxyless.Between(&a, &b)
	if m == nil {
		return nil
	}
	return c.pack(url, next.Name, m)
}
