package model

import (
	"maps"
	"net/netip"
	"slices"
)

// Protocol is what a port speaks, by Istio's port names and appProtocol.
type Protocol string

// Protocols. Unknown means: sniff.
const (
	Unknown Protocol = ""
	HTTP    Protocol = "HTTP"
	HTTP2   Protocol = "HTTP2"
	GRPC    Protocol = "GRPC"
	GRPCWeb Protocol = "GRPC-Web"
	HTTPS   Protocol = "HTTPS"
	TLS     Protocol = "TLS"
	TCP     Protocol = "TCP"
	Mongo   Protocol = "Mongo"
	MySQL   Protocol = "MySQL"
	Redis   Protocol = "Redis"
	UDP     Protocol = "UDP"
)

// MessagesOf is the protocol of messages that the data plane's codec of that name speaks:
// "dubbo". Such names are in lower case, as Istio's never are.
func MessagesOf(codec string) Protocol { return Protocol(codec) }

// Messages is the codec's name; "": the port does not carry such a protocol.
func (p Protocol) Messages() string {
	if p == "" || p[0] < 'a' || p[0] > 'z' {
		return ""
	}
	return string(p)
}

// IsHTTP tells whether the port carries plain HTTP of any version.
func (p Protocol) IsHTTP() bool {
	return p == HTTP || p == HTTP2 || p == GRPC || p == GRPCWeb
}

// IsHTTP2 tells whether the port carries HTTP/2 with prior knowledge.
func (p Protocol) IsHTTP2() bool { return p == HTTP2 || p.IsGRPC() }

// IsGRPC tells whether the port carries gRPC, as browsers speak it or as others do.
func (p Protocol) IsGRPC() bool { return p == GRPC || p == GRPCWeb }

// IsTLS tells whether the port carries TLS that the mesh does not end.
func (p Protocol) IsTLS() bool { return p == HTTPS || p == TLS }

// IsTCP tells whether the port is opaque bytes.
func (p Protocol) IsTCP() bool {
	return p == TCP || p == Mongo || p == MySQL || p == Redis
}

// ServerFirst tells whether the server of this port speaks first, so that
// sniffing would only wait (Istio's well-known ports 25, 53, 3306, 27017).
func ServerFirst(port uint16) bool { return slices.Contains(ServerFirstPorts, port) }

// ServerFirstPorts are those of ServerFirst; read-only.
var ServerFirstPorts = []uint16{25, 53, 3306, 27017}

// ServicePort is one port of a service.
type ServicePort struct {
	Name     string
	Port     uint16
	Protocol Protocol
	// App is the protocol of messages that the port is for, where one of that name is declared.
	App string
	// Asked: the port is for nothing else.
	Asked bool
	// TargetPort is the port of the workload: a number, or else TargetName is
	// the name of a port of the workload. Both zero: the same as Port.
	TargetPort uint16
	TargetName string
	// NodePort is the port asked for on the host; 0: none asked for.
	NodePort uint16
}

// Resolution says how a service's endpoints are found.
type Resolution uint8

// Resolutions.
const (
	// ByWorkloads: endpoints are the workloads that the selector matches, plus
	// the inline ones (Kubernetes Service, ServiceEntry STATIC).
	ByWorkloads Resolution = iota
	// ByDNS resolves the inline endpoints' names, or the host itself (ServiceEntry DNS).
	ByDNS
	// ByDNSRoundRobin resolves like ByDNS and uses the first address of each answer.
	ByDNSRoundRobin
	// Passthrough goes to the address the client asked for (headless Service, ServiceEntry NONE).
	Passthrough
	// ByRequest resolves the name that each request, or TLS, asks for (ServiceEntry
	// DYNAMIC_DNS). The host is a wildcard then.
	ByRequest
)

// Exposure is how a Kubernetes Service shows outside the mesh.
type Exposure uint8

// Exposures.
const (
	InMesh Exposure = iota
	OnNodePort
	OnLoadBalancer
)

// Service is something that can be called by a host name: a Kubernetes
// Service, or one host of a ServiceEntry (one Service each).
type Service struct {
	Meta `json:"meta"`
	// Host is the fully qualified name ("reviews.default.svc.cluster.local") or
	// a ServiceEntry's host, which may begin with "*.".
	Host      string
	Namespace string
	// Name is the short name ("reviews"); for a ServiceEntry the object's name.
	Name  string
	Ports []ServicePort
	// VIPs are the service's own addresses of either family: cluster IPs, a
	// ServiceEntry's addresses (prefixes allowed), or what was allocated.
	VIPs []netip.Prefix
	// AutoVIP: VIPs were allocated by the mesh, not written by the user.
	AutoVIP bool
	// Elsewhere are addresses that were written and are not among VIPs, since traffic to
	// them does not enter sidecars (Snapshot.Captured).
	Elsewhere []netip.Prefix
	// Headless: the name resolves to the endpoints themselves.
	Headless   bool
	Resolution Resolution
	// External: outside the mesh (ServiceEntry MESH_EXTERNAL): no mTLS.
	External bool
	// FromEntry: the service is a ServiceEntry's.
	FromEntry bool
	Exposure  Exposure
	// Selector picks workloads of the same namespace; nil selects nothing.
	Selector map[string]string
	// Inline are endpoints written in the object itself.
	Inline []Endpoint
	// SubjectAltNames, when set, are the identities the servers may have.
	SubjectAltNames []string
	Exports         Visibility
	// PublishNotReady: endpoints that are not ready count too.
	PublishNotReady bool
	// Families are the IP families that were asked for (ipFamilies), 4 or 6, the
	// preferred one first; nil: both. VIPs are allocated accordingly.
	Families []int
	// ExternalName is the target of an ExternalName Service.
	ExternalName string
	// Registry names the registries that the service was taken from. Inline instances at
	// the address of a workload are that workload then.
	Registry string
	// Instance, when set, is the one workload of those that Selector picks: the service
	// stands for an instance of a headless one, under the instance's name.
	Instance string
	// Distribution says which instances clients prefer; control/snapshot puts in what
	// the namespace says where the service says nothing.
	Distribution Distribution
	// NodeLocal: clients use instances of their own node only (internalTrafficPolicy Local).
	NodeLocal bool
	// NoHints: hints of EndpointSlices have no effect (topology-mode Disabled).
	NoHints bool
	// Joined, where several services have the host and namespace, are all of them as they
	// were written, this one included: the instances of each count, by its own ports.
	// Read-only, filled in by control/snapshot.
	Joined []*Service `json:",omitempty"`
}

// Picks tells whether a workload is one of the service's by its selector.
func (s *Service) Picks(w *Workload) bool {
	return len(s.Selector) > 0 && w.Namespace == s.Namespace && (s.Instance == "" || s.Instance == w.Name) && Matches(s.Selector, w.Labels)
}

// Lists tells whether one of the service's EndpointSlices has an address of the workload.
func (s *Service) Lists(w *Workload) bool {
	if w.Namespace != s.Namespace {
		return false
	}
	for i := range s.Inline {
		if s.Inline[i].Slice == nil {
			continue
		}
		if a, err := netip.ParseAddr(s.Inline[i].Address); err == nil && slices.Contains(w.Addresses, a.Unmap()) {
			return true
		}
	}
	return false
}

// Merges tells whether the ports of two services of one host are one service's, as Istio
// has it: beside the host nothing but ports and endpoints are different.
func (s *Service) Merges(o *Service) bool {
	return s.Namespace == o.Namespace && s.Host == o.Host && s.FromEntry == o.FromEntry && s.Resolution == o.Resolution &&
		maps.Equal(s.Labels, o.Labels) && maps.Equal(s.Selector, o.Selector) &&
		s.Exports.Public == o.Exports.Public && s.Exports.Default == o.Exports.Default && sameSet(s.Exports.Namespaces, o.Exports.Namespaces)
}

func sameSet(a, b []string) bool {
	in := func(list []string) func(string) bool {
		return func(s string) bool { return !slices.Contains(list, s) }
	}
	return !slices.ContainsFunc(a, in(b)) && !slices.ContainsFunc(b, in(a))
}

// Named returns the port of that name, or nil.
func (s *Service) Named(name string) *ServicePort {
	for i := range s.Ports {
		if s.Ports[i].Name == name {
			return &s.Ports[i]
		}
	}
	return nil
}

// Port returns the port of that number, or nil.
func (s *Service) Port(number uint16) *ServicePort {
	for i := range s.Ports {
		if s.Ports[i].Port == number {
			return &s.Ports[i]
		}
	}
	return nil
}

// PortFor returns the port of that number that carries datagrams, or the one that does
// not, or nil: one number may be of both.
func (s *Service) PortFor(number uint16, datagrams bool) *ServicePort {
	for i := range s.Ports {
		if p := &s.Ports[i]; p.Port == number && (p.Protocol == UDP) == datagrams {
			return p
		}
	}
	return nil
}

// Endpoint is one address where a service is served.
type Endpoint struct {
	// Address is an IP address, a host name (ByDNS), or "unix:///path".
	Address string
	// Ports overrides the workload port by the service port's name.
	Ports map[string]uint16
	// Port is the workload port when Ports has no entry; 0: the target port.
	Port           uint16
	Labels         map[string]string
	Locality       Locality
	Network        string
	Weight         uint32
	ServiceAccount string
	Healthy        bool
	// Slice says what an EndpointSlice adds; nil: the endpoint is of none. Ports has all
	// that is served then, 0 for a port whose number the service says.
	Slice *Sliced `json:",omitempty"`
}

// Sliced is what EndpointSlices say of an endpoint that others do not.
type Sliced struct {
	// Node is where it runs; Hostname its name in a headless service.
	Node, Hostname string
	// Zones are those whose clients should use it (hints); nil: no hint.
	Zones []string
	// Serving and Terminating: it is about to end, and (still) answers.
	Serving, Terminating bool
	// Controlled: Kubernetes' own controller has written it, for what a selector picks.
	Controlled bool
}

// EndpointSlice is a part of a Service's endpoints: Kubernetes' EndpointSlice, or its
// older Endpoints.
type EndpointSlice struct {
	Meta `json:"meta"`
	// Service is the name of the Service, in the slice's namespace.
	Service   string
	Endpoints []Endpoint
	// Ports are the names of the ports that the endpoints serve.
	Ports []string
	// Mirrored: the object is Endpoints, which count for Services without a selector only.
	Mirrored bool
}

// Locality is where a workload runs.
type Locality struct{ Region, Zone, SubZone string }

// Workload is one running instance: a replica of a Process, a pod, a WorkloadEntry.
type Workload struct {
	Meta `json:"meta"`
	// Name is unique in the namespace ("reviews-v2-0"); App the Process or
	// Deployment it belongs to ("reviews-v2"), which metrics show.
	Name      string
	App       string
	Namespace string
	Cluster   string
	Network   string
	// Addresses of either family, the preferred one first.
	Addresses []netip.Addr
	// Host is the address of a WorkloadEntry that is a name, not an IP.
	Host           string
	Labels         map[string]string
	ServiceAccount string
	TrustDomain    string
	Locality       Locality
	// Node is the name of the machine; "": all workloads that name none share one.
	Node   string
	Weight uint32
	// Ports by name, for services that target a named port.
	Ports map[string]uint16
	// Inbound, for a workload whose traffic is not intercepted (capture mode
	// "proxy"), says for each port of the program where its sidecar listens and
	// where the program really does. nil: intercepted, all ports are the program's.
	Inbound map[uint16]InboundPort
	// Ready: the workload takes traffic.
	Ready bool
	// Checked: it is so only while its agent says that the program is well (Health).
	Checked bool `json:",omitempty"`
	// Mesh: it has a sidecar (or is a gateway) that speaks mTLS, or says by its labels
	// that it does so itself.
	Mesh bool
	// Gateway: the workload is a gateway, not an application.
	Gateway bool
	// Engine is "go", "envoy" or "none".
	Engine string
	// Proxy is what is written at the workload about its proxy; nil: nothing.
	Proxy *ProxySettings `json:",omitempty"`
	// TokenHash is the hex SHA-256 of the bearer token that proves who a proxy
	// of this workload is; empty: other means of proof.
	TokenHash string
}

// InboundPort is one entry of Workload.Inbound.
type InboundPort struct{ Listen, Program uint16 }

// SPIFFE returns the workload's identity URI.
func (w *Workload) SPIFFE() string {
	return "spiffe://" + w.TrustDomain + "/ns/" + w.Namespace + "/sa/" + w.ServiceAccount
}

// Matches tells whether labels has everything that selector asks for; an empty value
// is not the absence of one. An empty selector matches everything.
func Matches(selector, labels map[string]string) bool {
	for k, v := range selector {
		if w, there := labels[k]; !there || w != v {
			return false
		}
	}
	return true
}
