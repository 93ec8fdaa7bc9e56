package wire

import (
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
)

// NodeType is the first part of an Istio node id.
type NodeType string

// Node types.
const (
	Sidecar NodeType = "sidecar"
	Router  NodeType = "router" // a gateway
)

// IstioVersion is the version of Istio's whose API and behaviour Weft's proxies follow:
// what of an EnvoyFilter is for a proxyVersion is compared with it.
const IstioVersion = "1.31.1"

// NodeID is Istio's node id: "sidecar~10.244.0.5~reviews-v1-0.default~default.svc.cluster.local".
type NodeID struct {
	Type      NodeType
	IP        string
	Name      string // workload instance
	Namespace string
	Domain    string // DNS domain: "default.svc.cluster.local"
}

// String returns the id as it goes into the bootstrap.
func (n NodeID) String() string {
	return strings.Join([]string{string(n.Type), n.IP, n.Name + "." + n.Namespace, n.Domain}, "~")
}

// ParseNodeID reads a node id.
func ParseNodeID(s string) (NodeID, error) {
	p := strings.Split(s, "~")
	if len(p) != 4 {
		return NodeID{}, fmt.Errorf("node id %q: want type~ip~name.namespace~domain", s)
	}
	dot := strings.LastIndexByte(p[2], '.')
	if dot <= 0 || dot == len(p[2])-1 {
		return NodeID{}, fmt.Errorf("node id %q: %q is not name.namespace", s, p[2])
	}
	t := NodeType(p[0])
	if t != Sidecar && t != Router {
		return NodeID{}, fmt.Errorf("node id %q: type is %q, want %s or %s", s, p[0], Sidecar, Router)
	}
	return NodeID{Type: t, IP: p[1], Name: p[2][:dot], Namespace: p[2][dot+1:], Domain: p[3]}, nil
}

// GeneratorGRPC is Istio's word for gRPC that speaks xDS itself, in
// NodeMetadata.Generator.
const GeneratorGRPC = "grpc"

// NodeMetadata is the node's metadata in the bootstrap: Istio's keys, and
// Weft's own with the prefix WEFT_.
type NodeMetadata struct {
	Name           string            `json:"NAME,omitempty"`
	Namespace      string            `json:"NAMESPACE,omitempty"`
	WorkloadName   string            `json:"WORKLOAD_NAME,omitempty"`
	ServiceAccount string            `json:"SERVICE_ACCOUNT,omitempty"`
	ClusterID      string            `json:"CLUSTER_ID,omitempty"`
	MeshID         string            `json:"MESH_ID,omitempty"`
	Network        string            `json:"NETWORK,omitempty"`
	NodeName       string            `json:"NODE_NAME,omitempty"`
	Labels         map[string]string `json:"LABELS,omitempty"`
	InstanceIPs    string            `json:"INSTANCE_IPS,omitempty"` // comma separated
	Interception   string            `json:"INTERCEPTION_MODE,omitempty"`
	IstioVersion   string            `json:"ISTIO_VERSION,omitempty"`
	// Generator is GeneratorGRPC for a gRPC client or server without a proxy.
	Generator string `json:"GENERATOR,omitempty"`
	// HTTPProxyPort: the proxy serves an explicit HTTP proxy there (capture mode
	// "proxy"); Interception is NONE then.
	HTTPProxyPort string `json:"HTTP_PROXY_PORT,omitempty"`
	// Engine is "go" or "envoy".
	Engine string `json:"WEFT_ENGINE,omitempty"`
	// Agent: the stream is that of an agent beside an engine: it wants names and
	// workloads, and is no proxy to count.
	Agent bool `json:"WEFT_AGENT,omitempty"`
	// ALSSocket is where the agent beside a stock Envoy takes gRPC access logs.
	ALSSocket string `json:"WEFT_ALS,omitempty"`
}

// Struct returns the metadata as the protobuf that Node carries.
func (m NodeMetadata) Struct() *structpb.Struct {
	raw, err := json.Marshal(m)
	if err != nil {
		panic("BUG: node metadata: " + err.Error())
	}
	s := &structpb.Struct{}
	if err := protojson.Unmarshal(raw, s); err != nil {
		panic("BUG: node metadata: " + err.Error())
	}
	return s
}

// ParseNodeMetadata reads what it knows and ignores other keys.
func ParseNodeMetadata(s *structpb.Struct) (NodeMetadata, error) {
	var m NodeMetadata
	if s == nil {
		return m, nil
	}
	raw, err := protojson.Marshal(s)
	if err != nil {
		return m, fmt.Errorf("node metadata: %w", err)
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("node metadata: %w", err)
	}
	return m, nil
}
