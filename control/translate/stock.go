package translate

import (
	"slices"
	"sync"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/control/translate/cluster"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/wire"
)

// stock is a cluster as proxies on demand get it. It is immutable.
//
// Who asks first gets it whole, with its endpoints inside: a proxy can use that at
// once, where it would ask for endpoints by name, wait for them, and only then have
// the cluster. Endpoints that change come by name, since a proxy makes a cluster that
// changes anew, with its connections; so that is what it costs, once. Where new endpoints
// are to start slowly even once is too often: all of them would be new.
type stock struct {
	cluster *resource.Resource
	// endpoints is nil of a cluster that has none to ask for.
	endpoints *resource.Resource
	// whole is nil where the two are to come apart.
	whole func() *resource.Resource
}

// newStock makes a stock; nil of no cluster.
func (c *Cache) newStock(made, endpoints *resource.Resource) *stock {
	if made == nil {
		return nil
	}
	return &stock{made, endpoints, sync.OnceValue(func() *resource.Resource { return c.whole(made, endpoints) })}
}

// whole is a cluster with its endpoints inside; nil: it must not be.
func (c *Cache) whole(made, endpoints *resource.Resource) *resource.Resource {
	m, e := &clusterv3.Cluster{}, &endpointv3.ClusterLoadAssignment{}
	for _, x := range []struct {
		from *resource.Resource
		into proto.Message
	}{{made, m}, {endpoints, e}} {
		if err := x.from.Body.UnmarshalTo(x.into); err != nil {
			panic("BUG: translate: " + x.from.Name + ": " + err.Error())
		}
	}
	if m.GetRoundRobinLbConfig().GetSlowStartConfig() != nil || m.GetLeastRequestLbConfig().GetSlowStartConfig() != nil {
		return nil
	}
	m.ClusterDiscoveryType, m.EdsClusterConfig = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}, nil
	m.LoadAssignment = e
	return c.pack(wire.TypeCluster, m.Name, m)
}

// stock is the cluster of a name that a service has; nil: it has none. announce: it is
// for requests, and has to say so.
func (p *part) stock(c *Cache, name string, announce bool) *stock {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := name
	if announce {
		key = "http " + name
	}
	s, known := p.stocks[key]
	if !known {
		if s = c.newStock(called(p.clusters, name), called(p.endpoints, name)); s != nil && announce {
			s = c.announced(s)
		}
		if p.stocks == nil {
			p.stocks = map[string]*stock{}
		}
		p.stocks[key] = s
	}
	return s
}

// stock gives a proxy a cluster. It gets it whole if it does not have it yet, and
// keeps it so for as long as nothing of it is different.
func (u *usage) stock(s *stock, held map[string]string, before *Used) {
	name := s.cluster.Name
	has := before.whole[name]
	first := has == nil && before.layers[wire.TypeCluster].Get(name) == nil
	switch {
	case s.endpoints == nil:
		u.made[wire.TypeCluster] = append(u.made[wire.TypeCluster], s.cluster)
		return
	case has != nil && has.cluster == s.cluster && has.endpoints == s.endpoints:
		s = has // its text too
	case !first || s.whole() == nil || held[name] != "" && held[name] != s.whole().Version:
		u.made[wire.TypeCluster] = append(u.made[wire.TypeCluster], s.cluster)
		u.made[wire.TypeEndpoint] = append(u.made[wire.TypeEndpoint], s.endpoints)
		return
	}
	u.whole[name] = s
	u.made[wire.TypeCluster] = append(u.made[wire.TypeCluster], s.whole())
}

func called(list []*resource.Resource, name string) *resource.Resource {
	for _, r := range list {
		if r.Name == name {
			return r
		}
	}
	return nil
}

// announced is a stock whose mTLS tells the server's proxy that HTTP comes. It is for
// ports whose protocol is not declared: eager proxies say so per request, and here
// the cluster is that of requests alone, since connections of bytes have copies by
// other names. It promises no version, so that either works.
func (c *Cache) announced(s *stock) *stock {
	m := &clusterv3.Cluster{}
	if err := s.cluster.Body.UnmarshalTo(m); err != nil {
		panic("BUG: translate: " + s.cluster.Name + ": " + err.Error())
	}
	for _, match := range m.TransportSocketMatches {
		socket := match.GetTransportSocket()
		ctx := &tlsv3.UpstreamTlsContext{}
		if socket.GetTypedConfig().UnmarshalTo(ctx) != nil || !slices.Equal(ctx.GetCommonTlsContext().GetAlpnProtocols(), cluster.MeshBytes) {
			continue
		}
		ctx.CommonTlsContext.AlpnProtocols = cluster.MeshRequests
		socket.ConfigType = &corev3.TransportSocket_TypedConfig{TypedConfig: pb.Any(ctx)}
	}
	return c.newStock(c.pack(wire.TypeCluster, m.Name, m), s.endpoints)
}
