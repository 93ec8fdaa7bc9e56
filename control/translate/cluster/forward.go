package cluster

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	forwardv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dynamic_forward_proxy/v3"
	cachev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/dynamic_forward_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/control/translate/tlsctx"
	"github.com/weftmesh/weft/wire"
)

// forwardCache is the name of the one DNS cache of a proxy. Filters and clusters of all
// services that are found by the name in a request share it.
const forwardCache = "dynamic_dns"

// DNSCache is where names are looked up that requests bring.
func (b *Builder) DNSCache() *cachev3.DnsCacheConfig {
	return &cachev3.DnsCacheConfig{Name: forwardCache, DnsLookupFamily: b.dnsFamily()}
}

// forward makes a cluster find its endpoints by the names in requests. insecure: what
// the server's certificate must say is fixed, or not looked at.
func (b *Builder) forward(c *clusterv3.Cluster, insecure bool) {
	c.LbPolicy = clusterv3.Cluster_CLUSTER_PROVIDED
	c.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
		Name: "envoy.clusters.dynamic_forward_proxy",
		TypedConfig: pb.Any(&forwardv3.ClusterConfig{
			ClusterImplementationSpecifier: &forwardv3.ClusterConfig_DnsCacheConfig{DnsCacheConfig: b.DNSCache()},
			AllowInsecureClusterOptions:    insecure,
		}),
	}}
}

// fixedName tells whether TLS settings say themselves who the server is, whatever name
// a request has.
func fixedName(tls *model.ClientTLS) bool { return tls != nil && (tls.SNI != "" || tls.Insecure) }

// byName makes TLS ask for the host that the request names, and look for it in the
// server's certificate.
func byName(tls *model.ClientTLS) *corev3.UpstreamHttpProtocolOptions {
	return &corev3.UpstreamHttpProtocolOptions{
		AutoSni: tls == nil || tls.SNI == "", AutoSanValidation: tls == nil || !tls.Insecure,
	}
}

// allowAnyDynamic takes requests for hosts that the mesh does not know, by their names.
func (b *Builder) allowAnyDynamic() *clusterv3.Cluster {
	tls := b.v.Mesh.OutboundTLS
	if tls != nil && tls.Mode == model.ClientTLSDisable {
		tls = nil
	}
	c := &clusterv3.Cluster{
		Name: wire.AllowAnyDynamicCluster, ConnectTimeout: pb.Duration(b.connectTimeout()), CircuitBreakers: breakers(nil),
	}
	b.forward(c, tls == nil || fixedName(tls))
	applyPool(c, nil, b.v.Mesh.Keepalive)
	o := httpOptions(&model.ConnectionPool{IdleTimeout: passthroughIdle})
	o.UpstreamProtocolOptions = useDownstream(&corev3.Http2ProtocolOptions{})
	if b.keepCase() {
		keepCase(o)
	}
	if tls != nil {
		o.UpstreamHttpProtocolOptions = byName(tls)
		t := &target{
			svc: &model.Service{Host: "*"}, port: &model.ServicePort{}, policy: model.TrafficPolicy{TLS: tls},
			keys: []model.Key{b.v.Mesh.Key}, tlsField: "outboundTrafficPolicy.tls",
		}
		if !b.credential(t) {
			c.ClusterDiscoveryType, c.LbPolicy = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}, 0
			return c
		}
		if tls.Mode == model.ClientTLSIstioMutual {
			ctx := tlsctx.Mesh(tlsctx.URIs(tls.SubjectAltNames))
			ctx.AlpnProtocols = MeshRequests
			c.TransportSocket = tlsctx.Upstream(&tlsv3.UpstreamTlsContext{CommonTlsContext: ctx, Sni: tls.SNI})
		} else {
			c.TransportSocket = tlsctx.Upstream(b.clientTLS(t, tls))
		}
	}
	c.TypedExtensionProtocolOptions = map[string]*anypb.Any{HTTPOptions: pb.Any(o)}
	return c
}

// forwardOptions makes options say so where the cluster is found by names.
func forwardOptions(o *httpv3.HttpProtocolOptions, t *target) bool {
	if t.svc == nil || t.svc.Resolution != model.ByRequest {
		return false
	}
	o.UpstreamHttpProtocolOptions = byName(t.policy.TLS)
	return true
}
