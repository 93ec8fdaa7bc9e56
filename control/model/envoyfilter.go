package model

import (
	"slices"
	"strconv"
)

// EnvoyFilter is a list of patches to what Envoys get.
type EnvoyFilter struct {
	Meta
	// Selector nil: the whole namespace, or the mesh in the root namespace.
	Selector map[string]string
	// Gateways are those of the Gateway API whose proxies are meant (targetRefs);
	// nil: Selector decides.
	Gateways []string
	// Priority orders filters: lower ones are applied first.
	Priority int32
	// Phase is where in a chain a plug-in stands: one of those below, the first first. Within a phase Priority orders.
	Phase   int
	Patches []EnvoyPatch
	// Fields are the fields that the patches come from, in an object that is no EnvoyFilter itself; nil: its
	// configPatches.
	Fields []string
	// Modules are to be fetched for what the patches add.
	Modules []ModuleRef
}

// Phases of plug-ins. Chains need not have the filters that a phase is named for, so the order is that of the numbers.
const (
	PhaseAuthn = iota - 3
	PhaseAuthz
	PhaseStats
	PhaseLast
)

// Field is the path of a patch in its object.
func (f *EnvoyFilter) Field(i int) string {
	if i < len(f.Fields) {
		return f.Fields[i]
	}
	return "spec.configPatches[" + strconv.Itoa(i) + "]"
}

// ModuleRef names a WebAssembly module that is somewhere else.
type ModuleRef struct {
	// URL is http, https, oci or file. SHA256 is its sum in hexadecimal, "": any.
	URL, SHA256 string
	// Secret ("namespace/name") has the credentials of an image registry; "": there are none.
	Secret string
	// Again: it may be another one each time that it is fetched, so that it is looked for now and then.
	Again bool
	// Field is what in the object names it.
	Field string
}

// Module is a module that was fetched.
type Module struct {
	Meta
	URL, SHA256, Secret string
	Code                []byte
}

// EnvoyPatch is one of an EnvoyFilter's configPatches.
type EnvoyPatch struct {
	ApplyTo   ApplyTo
	Operation PatchOperation
	Context   PatchContext
	// ProxyVersion (RE2) and Metadata are what the proxy must be; empty: any.
	ProxyVersion string
	Metadata     map[string]string
	// At most one of these is not nil.
	Listener *ListenerMatch
	Route    *RouteConfigMatch
	Cluster  *ClusterMatch
	// Before, when not nil, has an HTTP filter inserted before the first of these that is there, or else before the
	// last one: the router.
	Before []string
	// Value is Envoy's message in JSON; empty where the operation needs none.
	Value string
}

// ApplyTo says what a patch changes, by Istio's word: "HTTP_FILTER".
type ApplyTo string

// What patches apply to.
const (
	ToListener       ApplyTo = "LISTENER"
	ToListenerFilter ApplyTo = "LISTENER_FILTER"
	ToFilterChain    ApplyTo = "FILTER_CHAIN"
	ToNetworkFilter  ApplyTo = "NETWORK_FILTER"
	ToHTTPFilter     ApplyTo = "HTTP_FILTER"
	ToRouteConfig    ApplyTo = "ROUTE_CONFIGURATION"
	ToVirtualHost    ApplyTo = "VIRTUAL_HOST"
	ToHTTPRoute      ApplyTo = "HTTP_ROUTE"
	ToCluster        ApplyTo = "CLUSTER"
	ToExtension      ApplyTo = "EXTENSION_CONFIG"
	ToBootstrap      ApplyTo = "BOOTSTRAP"
)

// PatchOperation says how a patch changes it, by Istio's word: "INSERT_BEFORE".
type PatchOperation string

// Operations of patches.
const (
	PatchMerge        PatchOperation = "MERGE"
	PatchMergeReplace PatchOperation = "MERGE_AND_REPLACE_LIST"
	PatchAdd          PatchOperation = "ADD"
	PatchRemove       PatchOperation = "REMOVE"
	PatchInsertBefore PatchOperation = "INSERT_BEFORE"
	PatchInsertAfter  PatchOperation = "INSERT_AFTER"
	PatchInsertFirst  PatchOperation = "INSERT_FIRST"
	PatchReplace      PatchOperation = "REPLACE"
)

// PatchContext says in which traffic a patch applies, by Istio's word.
type PatchContext string

// Contexts of patches.
const (
	AnyContext      PatchContext = "ANY"
	SidecarInbound  PatchContext = "SIDECAR_INBOUND"
	SidecarOutbound PatchContext = "SIDECAR_OUTBOUND"
	GatewayContext  PatchContext = "GATEWAY"
)

// ListenerMatch picks listeners and what is in them. Empty fields match anything.
type ListenerMatch struct {
	Name           string
	Port           uint32
	ListenerFilter string
	Chain          *ChainMatch
}

// ChainMatch picks filter chains. Empty fields match anything.
type ChainMatch struct {
	Name, SNI, TransportProtocol string
	// ApplicationProtocols must all be there.
	ApplicationProtocols []string
	Port                 uint32
	// Filter is the name of a network filter, nil: any; SubFilter one of an HTTP
	// filter in it, nil: any.
	Filter, SubFilter *string
}

// RouteConfigMatch picks route configurations and what is in them.
type RouteConfigMatch struct {
	Name string
	Port uint32
	// PortName and Gateway ("namespace/name") are of gateways.
	PortName, Gateway string
	Host              *VirtualHostMatch
}

// VirtualHostMatch picks virtual hosts and what is in them.
type VirtualHostMatch struct {
	Name, Domain string
	Route        *PatchRouteMatch
}

// PatchRouteMatch picks routes.
type PatchRouteMatch struct {
	Name string
	// Action is "ROUTE", "REDIRECT" or "DIRECT_RESPONSE"; empty: any.
	Action string
}

// ClusterMatch picks clusters. Name, when set, decides alone.
type ClusterMatch struct {
	Name, Service, Subset string
	Port                  uint32
}

// PatchRef names one patch of one version of an EnvoyFilter.
type PatchRef struct {
	Filter *EnvoyFilter
	Index  int
}

// Patch is what the reference names.
func (r PatchRef) Patch() *EnvoyPatch { return &r.Filter.Patches[r.Index] }

// Quarantine keeps a patch from proxies of one engine, since they refuse what comes
// of it. It ends with that version of the EnvoyFilter.
type Quarantine struct {
	Meta
	// Filter and Version (its Hash) name the EnvoyFilter, Index the patch.
	Filter  Key
	Version uint64
	Index   int
	Engine  string
	// Reason is what a proxy said. Suspect: it is not known yet whether it is this
	// patch that it minds.
	Reason  string
	Suspect bool
}

// BootstrapPatch is merged into what a proxy begins with.
type BootstrapPatch struct {
	Filter Key
	// Selector as in EnvoyFilter, Context, ProxyVersion and Metadata as in EnvoyPatch.
	Selector     map[string]string `json:",omitempty"`
	Gateways     []string
	Context      PatchContext
	ProxyVersion string            `json:",omitempty"`
	Metadata     map[string]string `json:",omitempty"`
	// Value is Envoy's message Bootstrap in its binary form.
	Value []byte
}

// Beginner is a proxy that is about to begin.
type Beginner struct {
	// Namespace is its own, Root that of the mesh's settings.
	Namespace, Root string
	Labels          map[string]string
	// Metadata are the entries of its node that are known before it runs.
	Metadata map[string]string
	Gateway  bool
}

// LabelGateway is on the proxies of a Gateway of the Gateway API: the Gateway's name.
const LabelGateway = "gateway.networking.k8s.io/gateway-name"

// For tells whether the patch is for a proxy, by all but its version.
func (p *BootstrapPatch) For(b *Beginner) bool {
	if p.Filter.Namespace != b.Namespace && p.Filter.Namespace != b.Root {
		return false
	}
	if p.Context != AnyContext && b.Gateway != (p.Context == GatewayContext) {
		return false
	}
	for k, v := range p.Metadata {
		if b.Metadata[k] != v {
			return false
		}
	}
	if p.Gateways != nil {
		return slices.Contains(p.Gateways, b.Labels[LabelGateway])
	}
	return Matches(p.Selector, b.Labels)
}
