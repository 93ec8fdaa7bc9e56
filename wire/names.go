// Package wire is what the control plane and the data plane agree on: type
// URLs, resource names, ports, node metadata, the bootstrap, and Weft's own
// messages. It holds no logic of either side.
package wire

import (
	"encoding/json"
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
	// TypeRuntime is for layers of the runtime (RTDS).
	TypeRuntime   = "type.googleapis.com/envoy.service.runtime.v3.Runtime"
	TypeExtension = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
	// TypeHealth is what Istio's agents say of their programs: a request of this type whose
	// error is what is wrong.
	TypeHealth = "type.googleapis.com/istio.v1.HealthInformation"
	// TypeHost is Weft's own: one name that the mesh DNS answers (weft.wire.v1.Host).
	TypeHost = "type.googleapis.com/weft.wire.v1.Host"
	// HostsOnDemand is the name of the one Host that a proxy gets which has to ask for
	// the others by name, of whatever it wants to know.
	HostsOnDemand = "."
	// TypeWorkload is Weft's own: who has an address (weft.wire.v1.Workload);
	// subscribed by address, for metrics.
	TypeWorkload = "type.googleapis.com/weft.wire.v1.Workload"
	// TypeIstioWorkload is istiod's: who has an address (istio.workload.Workload).
	TypeIstioWorkload = "type.googleapis.com/istio.workload.Workload"
)

// MessageProxy is the name of the network filter whose configuration is weft.wire.v1.MessageProxy.
const MessageProxy = "weft.filters.network.message_proxy"

// MessageConversion is the name of the HTTP filter whose configuration is weft.wire.v1.MessageConversion.
const MessageConversion = "weft.filters.http.convert"

// QuotaFilter is the name of the HTTP filter whose configuration is weft.wire.v1.Quota.
const QuotaFilter = "weft.filters.http.quota"

// QuotaTest is the value of the entries of descriptors that stand for tests: quotas do not count apart by them.
const QuotaTest = "#"

// MessageProtocols are the protocols of messages that every data plane of this version speaks, sorted: the names
// of MessageProxy.protocol.
var MessageProtocols = []string{DubboProtocol, "thrift"}

// DubboProtocol is the name of Dubbo's codec.
const DubboProtocol = "dubbo"

// ConvertedProtocols are those of MessageProtocols that requests of HTTP with JSON can be made of.
var ConvertedProtocols = []string{"dubbo"}

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
	VirtualOutbound    = "virtualOutbound"
	VirtualInbound     = "virtualInbound"
	PassthroughCluster = "PassthroughCluster"
	// AllowAnyDynamicCluster looks up the host that a request names.
	AllowAnyDynamicCluster = "AllowAnyDynamicDNSCluster"
	BlackHoleCluster       = "BlackHoleCluster"
	// LocalCluster has the instances of a proxy's own kind, where its metadata asks for it.
	LocalCluster     = "local_cluster"
	SelfDiscoveryKey = "ENABLE_SELF_DISCOVERY"
	// InvalidCluster is never there: routes name it for references that lead nowhere.
	InvalidCluster         = "invalid-backend"
	InboundPassthrough4    = "InboundPassthroughCluster"
	HTTPProxyRoute         = "http_proxy"
	OnDemandRoute          = "on-demand" // the routes of a proxy that asks for virtual hosts: "on-demand/reviews:9080"
	SecretWorkload         = "default"   // SDS: the workload's certificate
	SecretRoot             = "ROOTCA"    // SDS: the trust bundle
	SDSCluster             = "sds-grpc"
	XDSCluster             = "xds-grpc"
	ALSCluster             = "weft-als"
	KubernetesSecretPrefix = "kubernetes://" // SDS over ADS: kubernetes://namespace/name, name-cacert for the CA
)

// GRPCServer begins the names of the listeners that gRPC servers without a proxy ask
// for, Istio's; the address that the server listens on follows.
const GRPCServer = "xds.istio.io/grpc/lds/inbound/"

// GRPCBootstrapFile is the name of the bootstrap of gRPC in the folder of a workload
// without a proxy.
const GRPCBootstrapFile = "grpc-bootstrap.json"

// GRPCCertificates is the certificate provider in the bootstrap of gRPC, Istio's name.
const GRPCCertificates = "default"

// TLSModeLabel says, with TLSModeIstio, that a workload without a proxy of the mesh's
// takes mTLS all the same: a gRPC server with credentials from xDS.
const (
	TLSModeLabel = "security.istio.io/tlsMode"
	TLSModeIstio = "istio"
)

// Config modes: a proxy gets everything that it may see, or asks for what it uses.
// The annotation of a workload beats the mode of its control plane.
const (
	ModeEager    = "eager"
	ModeOnDemand = "on-demand"
	ModeKey      = "weft.dev/config-mode"
	// FenceKey is the annotation of a ServiceFence that says whether what it does not list may be asked for.
	FenceKey    = "weft.dev/fence"
	FenceOpen   = "open"
	FenceClosed = "closed"
)

// Prefixes of clusters that a proxy on demand asks for by where a connection goes:
// "tcp|10.96.0.80:3306", "tls|NAME|10.96.0.80:443".
const (
	DemandTCP = "tcp|"
	DemandTLS = "tls|"
)

// ClusterName returns Istio's name of a cluster: "outbound|9080|v1|reviews.default.svc.cluster.local".
// An inbound cluster has neither subset nor host.
func ClusterName(direction string, port uint16, subset, host string) string {
	return direction + "|" + strconv.Itoa(int(port)) + "|" + subset + "|" + host
}

// OutboundUDP is the direction of clusters that datagrams go to: the port of that number
// may be another one for streams.
const OutboundUDP = "outbound_udp"

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
	return sniLead + strconv.Itoa(int(port)) + "_." + subset + "_." + host
}

// sniLead begins the names of SNI.
const sniLead = "outbound_."

// SplitSNI is the inverse of SNI; ok is false for other names.
func SplitSNI(name string) (port uint16, subset, host string, ok bool) {
	rest, ours := strings.CutPrefix(name, sniLead)
	parts := strings.SplitN(rest, "_.", 3)
	if !ours || len(parts) != 3 {
		return 0, "", "", false
	}
	n, err := strconv.ParseUint(parts[0], 10, 16)
	return uint16(n), parts[1], parts[2], err == nil
}

// LogName is the name of the access log that a stock Envoy's agent makes
// metrics from: the direction, and Istio's stats.PluginConfig in JSON where the
// metrics are not the standard ones. The log's name is all that an Envoy tells
// the agent about a log.
func LogName(direction string, settings map[string]any) string {
	raw, err := json.Marshal(settings)
	if err != nil {
		panic("BUG: settings of metrics: " + err.Error())
	}
	return direction + " " + string(raw)
}

// SplitLogName is the inverse of LogName; settings is empty for the standard ones.
func SplitLogName(name string) (direction, settings string) {
	direction, settings, _ = strings.Cut(name, " ")
	return direction, settings
}
