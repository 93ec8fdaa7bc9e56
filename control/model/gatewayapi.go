package model

import "strings"

// Kinds of Gateway API and of Ingress. Gateway and GatewayClass bear their group
// in the name: Istio has a Gateway too, and both may be there under one name.
const (
	KindAPIGateway       Kind = "Gateway.gateway.networking.k8s.io"
	KindGatewayClass     Kind = "GatewayClass"
	KindListenerSet      Kind = "ListenerSet"
	KindHTTPRoute        Kind = "HTTPRoute"
	KindGRPCRoute        Kind = "GRPCRoute"
	KindTLSRoute         Kind = "TLSRoute"
	KindTCPRoute         Kind = "TCPRoute"
	KindUDPRoute         Kind = "UDPRoute"
	KindReferenceGrant   Kind = "ReferenceGrant"
	KindBackendTLSPolicy Kind = "BackendTLSPolicy"
	KindIngress          Kind = "Ingress"
	KindIngressClass     Kind = "IngressClass"
)

// Group of Gateway API.
const GatewayAPIGroup = "gateway.networking.k8s.io"

// GatewayAPI are the objects that mean nothing alone: what of them is in force
// shows only when all are seen together (control/attach), as Gateways, RouteSets
// and TrafficPolicySets.
type GatewayAPI struct {
	Classes        []*GatewayClass
	Gateways       []*APIGateway
	ListenerSets   []*ListenerSet
	Routes         []*APIRoute
	Grants         []*ReferenceGrant
	BackendTLS     []*BackendTLSPolicy
	Ingresses      []*Ingress
	IngressClasses []*IngressClass
}

// Empty tells whether there is nothing to attach.
func (g *GatewayAPI) Empty() bool {
	return len(g.Gateways)+len(g.ListenerSets)+len(g.Routes)+len(g.BackendTLS)+len(g.Ingresses)+len(g.Classes) == 0
}

// GatewayClass says which controller serves the Gateways of a class.
type GatewayClass struct {
	Meta       `json:"meta"`
	Controller string
}

// IngressClass says which controller serves the Ingresses of a class.
type IngressClass struct {
	Meta       `json:"meta"`
	Controller string
	// Default: Ingresses that name no class are of this one.
	Default bool
}

// APIGateway is a Gateway of Gateway API.
type APIGateway struct {
	Meta      `json:"meta"`
	Class     string
	Listeners []APIListener
	// Hostnames are the spec.addresses of type Hostname: Services whose workloads serve the Gateway.
	Hostnames []string
	// ListenerSets says from which namespaces ListenerSets may add listeners.
	ListenerSets NamespaceFilter
	// Clients is how client certificates are checked, by port; 0: every other port.
	Clients map[uint16]ClientValidation
	// Proxy is what is written at the Gateway about its proxies; nil: nothing.
	Proxy *ProxySettings `json:",omitempty"`
}

// ClientValidation is how a Gateway checks client certificates.
type ClientValidation struct {
	CAs []Ref
	// Optional: clients without a valid certificate are let in.
	Optional bool
	// Field of the Gateway that says so.
	Field string
}

// APIListener is one port of an APIGateway or ListenerSet for one host name.
type APIListener struct {
	Name string
	// Hostname may begin with "*."; empty: all.
	Hostname string
	Port     uint16
	// Protocol is HTTP, HTTPS, TLS, TCP or UDP; of another the listener is not carried out.
	Protocol string
	// Passthrough: TLS is not ended here.
	Passthrough  bool
	Certificates []Ref
	// MinTLS, MaxTLS and CipherSuites as in ServerTLS.
	MinTLS, MaxTLS string
	CipherSuites   []string
	Allowed        NamespaceFilter
	// Kinds of routes that may attach, none: all that the protocol allows. Those of
	// other groups than Gateway API's have the group before them, as "group/Kind".
	Kinds []Kind
	// Field of the listener, for Findings.
	Field string
}

// ListenerSet adds listeners to a Gateway.
type ListenerSet struct {
	Meta      `json:"meta"`
	Parent    Key
	Listeners []APIListener
}

// NamespaceFilter admits objects by their namespace. The zero value admits none.
type NamespaceFilter struct {
	All, Same bool
	// Selector admits by the labels of the namespace; nil: no selector.
	Selector *LabelSelector
}

// LabelSelector is Kubernetes' selector of labels.
type LabelSelector struct {
	Labels      map[string]string
	Expressions []LabelExpression
}

// LabelExpression is one expression of a selector.
type LabelExpression struct {
	Key string
	// Op is In, NotIn, Exists or DoesNotExist.
	Op     string
	Values []string
}

// Matches tells whether the labels satisfy the selector.
func (s *LabelSelector) Matches(labels map[string]string) bool {
	if !Matches(s.Labels, labels) {
		return false
	}
	for _, e := range s.Expressions {
		v, there := labels[e.Key]
		among := false
		for _, w := range e.Values {
			among = among || there && w == v
		}
		switch {
		case e.Op == "In" && !among, e.Op == "NotIn" && among, e.Op == "Exists" && !there, e.Op == "DoesNotExist" && there:
			return false
		}
	}
	return true
}

// Ref refers to an object of another kind.
type Ref struct {
	// Group and Kind as written; the group of core is "".
	Group, Kind string
	// Namespace is filled in: the referring object's when none is written.
	Namespace, Name string
	// Port of a Service; 0: none.
	Port uint16
	// Field where the reference stands.
	Field string
}

// APIRoute is an HTTPRoute, GRPCRoute, TLSRoute, TCPRoute or UDPRoute: Key.Kind tells.
type APIRoute struct {
	Meta      `json:"meta"`
	Parents   []APIParent
	Hostnames []string
	Rules     []APIRule
}

// APIParent is what a route wants to attach to.
type APIParent struct {
	Ref
	// Section names a listener; empty: all.
	Section string
}

// APIRule is one rule of an APIRoute.
type APIRule struct {
	Name string
	// Matches, each of which has an order of its own among all rules (none: everything).
	Matches []Match
	// Route holds what does not depend on other objects.
	Route Route
	// Prefix, when set, replaces the prefix that a match is for: by a rewrite, or
	// by a redirect when Route.Redirect is set.
	Prefix   *string
	Backends []APIBackend
	Mirrors  []APIMirror
	// Field of the rule.
	Field string
}

// APIBackend is where a share of the requests goes.
type APIBackend struct {
	Ref
	Weight  uint32
	Headers HeaderOps
}

// APIMirror is where copies of requests go.
type APIMirror struct {
	Ref
	Percent float64
}

// ReferenceGrant lets objects of other namespaces refer to those of its own.
type ReferenceGrant struct {
	Meta `json:"meta"`
	From []GrantFrom
	To   []GrantTo
}

// GrantFrom names who may refer.
type GrantFrom struct{ Group, Kind, Namespace string }

// GrantTo names what may be referred to; an empty Name means all.
type GrantTo struct{ Group, Kind, Name string }

// BackendTLSPolicy says how gateways speak TLS with a Service's workloads.
type BackendTLSPolicy struct {
	Meta    `json:"meta"`
	Targets []PolicyTarget
	// CAs hold the authorities; none: the system's.
	CAs []Ref
	// Hostname is the server name to ask for.
	Hostname string
	// SubjectAltNames the server may have; none: Hostname.
	SubjectAltNames []string
}

// PolicyTarget is a Service, or its port of the name Section.
type PolicyTarget struct {
	Ref
	Section string
}

// Ingress is an Ingress of Kubernetes.
type Ingress struct {
	Meta `json:"meta"`
	// Class is spec.ingressClassName, ClassAnnotation the older annotation.
	Class, ClassAnnotation string
	Default                *IngressBackend
	Rules                  []IngressRule
	TLS                    []IngressTLS
}

// IngressRule is one path of one host.
type IngressRule struct {
	// Host is empty for all.
	Host string
	// Path is nil for all paths.
	Path    *Condition
	Backend IngressBackend
	Field   string
}

// IngressBackend is a Service's port by number or name.
type IngressBackend struct {
	Service  string
	Port     uint16
	PortName string
	Field    string
}

// IngressTLS ends TLS for hosts with the certificate of a Secret.
type IngressTLS struct {
	Hosts  []string
	Secret string
	Field  string
}

// APIOutcome is what the objects of GatewayAPI amount to. Each has Meta.Of set.
type APIOutcome struct {
	Gateways []*Gateway
	Routes   []*RouteSet
	Policies []*TrafficPolicySet
	Findings []Finding
	// Verdicts are of the objects that are ours, by their keys.
	Verdicts map[Key]*APIVerdict
}

// Prefixes of credentials that are found by their own namespace instead of the
// proxy's: whoever names them has seen to it that they may be used. The first
// is Istio's. Of those with SecretCA only the authorities are given out.
const (
	GatewaySecret = "kubernetes-gateway://"
	ConfigMapCA   = "configmap://"
	SecretCA      = "secret-ca://"
)

// Granted tells whether a credential has one of these prefixes.
func Granted(credential string) bool {
	return strings.HasPrefix(credential, GatewaySecret) || strings.HasPrefix(credential, ConfigMapCA) || strings.HasPrefix(credential, SecretCA)
}
