package cluster

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	redisclusterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/redis/v3"
	redisv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/redis_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/translate/pb"
)

// CodeRedisDestination is of Findings about RedisDestination.
const CodeRedisDestination = "WEFT0361"

// redisOptions is the key of a cluster's RedisProtocolOptions.
const redisOptions = "envoy.filters.network.redis_proxy"

// applyRedis makes the cluster one whose commands a proxy shares out: a key is always with the same server.
func (b *Builder) applyRedis(c *clusterv3.Cluster, t *target) {
	if !b.v.Index.ProxiesRedis(b.v.Proxy.Engine(), t.svc, t.port) {
		return
	}
	if lb := t.policy.LB; c.LbPolicy == clusterv3.Cluster_LEAST_REQUEST && lb == nil {
		c.LbPolicy = clusterv3.Cluster_MAGLEV
	}
	d := b.v.Index.RedisDestination(t.svc.Host)
	if d == nil {
		return
	}
	if d.Pool != nil {
		if n := d.Pool.MaxConnections; n > 0 && c.CircuitBreakers != nil {
			c.CircuitBreakers.Thresholds[0].MaxConnections = pb.U32Set(n)
		}
		if d.Pool.ConnectTimeout > 0 {
			c.ConnectTimeout = pb.Duration(d.Pool.ConnectTimeout)
		}
		if k := d.Pool.Keepalive; k != nil {
			applyPool(c, &model.ConnectionPool{Keepalive: k}, nil)
		}
	}
	if d.Auth != nil {
		b.redisLogin(c, d)
	}
	if d.Cluster && t.subset == nil {
		b.redisCluster(c, t, d)
	}
}

func (b *Builder) redisLogin(c *clusterv3.Cluster, d *model.RedisDestination) {
	user, password, ok := b.v.Index.RedisLogin(d.Key.Namespace, d.Auth)
	if !ok {
		b.redisFinding(d, "spec.trafficPolicy.connectionPool.redis.auth.secret", "the Secret is not there, or has no value of that name: servers are not logged in to",
			"put a Secret with the field "+d.Auth.PasswordField+" into namespace "+d.Key.Namespace)
		return
	}
	text := func(s string) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: s}}
	}
	o := &redisv3.RedisProtocolOptions{AuthPassword: text(password)}
	if user != "" {
		o.AuthUsername = text(user)
	}
	if c.TypedExtensionProtocolOptions == nil {
		c.TypedExtensionProtocolOptions = map[string]*anypb.Any{}
	}
	c.TypedExtensionProtocolOptions[redisOptions] = pb.Any(o)
}

// redisCluster lets the servers say themselves who has which key. What they name has no metadata: all of them are spoken to
// as the service's instances are, with the mesh's TLS when all of those take it.
func (b *Builder) redisCluster(c *clusterv3.Cluster, t *target, d *model.RedisDestination) {
	if c.GetType() == clusterv3.Cluster_EDS {
		b.clas = b.clas[:len(b.clas)-1] // that of this cluster, which asks for none
	}
	seeds := &endpointv3.LocalityLbEndpoints{}
	seed := func(a *corev3.Address) {
		seeds.LbEndpoints = append(seeds.LbEndpoints, &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
			Endpoint: &endpointv3.Endpoint{Address: a},
		}})
	}
	members := b.members(t)
	secure := len(members) > 0
	for _, m := range members {
		if secure = secure && m.mtls; len(d.Seeds) == 0 {
			seed(m.address)
		}
	}
	for _, s := range d.Seeds {
		seed(pb.Address(s.Host, s.Port))
	}
	if len(seeds.LbEndpoints) == 0 {
		b.redisFinding(d, "spec.trafficPolicy.connectionPool.redis.discoveryEndpoints", "there is nobody to ask for the cluster's servers",
			"name some, or wait for the service's instances")
	}
	c.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
		Name: "envoy.clusters.redis", TypedConfig: pb.Any(&redisclusterv3.RedisClusterConfig{}),
	}}
	c.EdsClusterConfig, c.DnsRefreshRate, c.RespectDnsTtl = nil, nil, false
	c.LbPolicy, c.LbConfig, c.CommonLbConfig = clusterv3.Cluster_CLUSTER_PROVIDED, nil, nil
	c.DnsLookupFamily = b.dnsFamily()
	c.LoadAssignment = &endpointv3.ClusterLoadAssignment{ClusterName: c.Name, Endpoints: []*endpointv3.LocalityLbEndpoints{seeds}}
	matches := c.TransportSocketMatches
	c.TransportSocketMatches = nil
	for _, m := range matches {
		if isTLS := m.TransportSocket.GetTypedConfig().MessageIs(&tlsv3.UpstreamTlsContext{}); isTLS == secure {
			c.TransportSocket = m.TransportSocket
			break
		}
	}
}

func (b *Builder) redisFinding(d *model.RedisDestination, field, message, remedy string) {
	f := model.Finding{Code: CodeRedisDestination, Severity: model.Error, Object: d.Key, Field: field, Message: message, Remedy: remedy}
	f.Origin = d.At(field)
	b.report(f)
}
