// Package wire is what the control plane and the data plane agree on: type
// URLs, resource names, ports, node metadata, the bootstrap, and Weft's own
// messages. It holds no logic of either side.
package wire

import (
	"strconv"
	"strings"
)

// Type URLs of the resources that go over ADS.
const (
	TypeListener = "type.googleapis.com/envoy.config.listener.v3.Listener"
	TypeRoute    = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	// TypeVirtualHost and TypeScope are for routes on demand (VHDS, SRDS).
	TypeVirtualHost = "type.googleapis.com/envoy.config.route.v3.VirtualHost"
	TypeScope       = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"
	TypeCluster     = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	TypeEndpoint    = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	TypeSecret      = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
	TypeExtension   = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
	// TypeHost is Weft's own: one name that the mesh DNS answers (weft.wire.v1.Host).
	TypeHost = "type.googleapis.com/weft.wire.v1.Host"
	// TypeWorkload is Weft's own: who has an address (weft.wire.v1.Workload);
	// subscribed by address, for metrics.
	TypeWorkload = "type.googleapis.com/weft.wire.v1.Workload"
	// TypeIstioWorkload is istiod's: who has an address (istio.workload.Workload).
	TypeIstioWorkload = "type.googleapis.com/istio.workload.Workload"
)

// Ports of a proxy, Istio's (reference: istio.io/docs/ops/deployment/application-requirements).
const (
	PortAdmin      = 15000 // Envoy's admin, on loopback
	PortOutbound   = 15001 // captured outbound traffic
	PortInbound    = 15006 // captured inbound traffic
	PortMerged     = 15020 // merged Prometheus metrics, agent health
	PortHealth     = 15021 // /healthz/ready
	PortRelay      = 15003 // Weft: traffic of a stock Envoy that leaves the mesh's network
	PortDNS        = 15053 // captured DNS
	PortPrometheus = 15090 // the proxy's own metrics
)

// ProxyMark is the SO_MARK of everything that a proxy itself sends: it is
// excluded from capture. RelayMark is that of Weft's agent beside a stock Envoy.
const (
	ProxyMark = 1337
	RelayMark = 1338
)

// Directions in cluster and listener names.
const (
	Outbound = "outbound"
	Inbound  = "inbound"
)

// Names of fixed resources, Istio's.
const (
	VirtualOutbound        = "virtualOutbound"
	VirtualInbound         = "virtualInbound"
	PassthroughCluster     = "PassthroughCluster"
	BlackHoleCluster       = "BlackHoleCluster"
	InboundPassthrough4    = "InboundPassthroughCluster"
	HTTPProxyRoute         = "http_proxy"
	SecretWorkload         = "default" // SDS: the workload's certificate
	SecretRoot             = "ROOTCA"  // SDS: the trust bundle
	SDSCluster             = "sds-grpc"
	XDSCluster             = "xds-grpc"
	ALSCluster             = "weft-als"
	KubernetesSecretPrefix = "kubernetes://" // SDS over ADS: kubernetes://namespace/name, name-cacert for the CA
)

// ClusterName returns Istio's name of a cluster: "outbound|9080|v1|reviews.default.svc.cluster.local".
// An inbound cluster has neither subset nor host.
func ClusterName(direction string, port uint16, subset, host string) string {
	return direction + "|" + strconv.Itoa(int(port)) + "|" + subset + "|" + host
}

// SplitClusterName is the inverse of ClusterName; ok is false for other names.
func SplitClusterName(name string) (direction string, port uint16, subset, host string, ok bool) {
	parts := strings.Split(name, "|")
	if len(parts) != 4 {
		return "", 0, "", "", false
	}
	n, err := strconv.ParseUint(parts[1], 10, 16)
	if err != nil {
		return "", 0, "", "", false
	}
	return parts[0], uint16(n), parts[2], parts[3], true
}

// SNI returns the server name by which mTLS traffic for a cluster is told
// apart, Istio's "outbound_.9080_.v1_.reviews.default.svc.cluster.local".
func SNI(port uint16, subset, host string) string {
	return "outbound_." + strconv.Itoa(int(port)) + "_." + subset + "_." + host
}
