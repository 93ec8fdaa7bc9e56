package v1alpha1

// Registry is a registry of services outside the mesh's configuration, whose services become
// ServiceEntries with instances. It is followed for as long as the object is there.
//
//	apiVersion: weft.dev/v1alpha1
//	kind: Registry
//	metadata: {name: zk, namespace: default}
//	spec:
//	  type: zookeeper
//	  addresses: ["127.0.0.1:2181"]
type Registry struct {
	Spec RegistrySpec `json:"spec"`
}

// RegistrySpec says where the registry is, and what is made of its services.
type RegistrySpec struct {
	// Type is zookeeper, consul, etcd, nacos or eureka. Required.
	Type string `json:"type"`
	// Addresses are host:port; URLs for consul, nacos and eureka. Required.
	Addresses []string `json:"addresses"`
	// Username and Password of zookeeper (its scheme digest), etcd, nacos, eureka; Token of consul.
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
	Token    string `json:"token,omitempty"`
	// CredentialName is a Secret in the object's namespace with what is not written here: username, password and token, and for TLS
	// ca.crt, tls.crt and tls.key.
	CredentialName string `json:"credentialName,omitempty"`
	// TLS to the registry. zookeeper and etcd have none without it; addresses of https:// have it anyway, and are checked with the
	// system's authorities unless the Secret has its own.
	TLS *RegistryTLS `json:"tls,omitempty"`
	// Root is where services begin: ZooKeeper's and etcd's path, default /dubbo for Dubbo, and the
	// convention's own for others.
	Root string `json:"root,omitempty"`
	// Formats that are read in etcd: dubbo, go-micro, kratos, weft. Default: all of them.
	Formats []string `json:"formats,omitempty"`
	// Register is what of Dubbo is read in ZooKeeper: interface, application, or all (default).
	Register string `json:"register,omitempty"`
	// Datacenter of consul; default: that of the agent.
	Datacenter string `json:"datacenter,omitempty"`
	// RegistryNamespace is the id of nacos' own namespace (default: public), or consul's namespace (Enterprise only).
	RegistryNamespace string `json:"registryNamespace,omitempty"`
	// Partition of consul (Enterprise only).
	Partition string `json:"partition,omitempty"`
	// Groups of nacos; default: DEFAULT_GROUP.
	Groups []string `json:"groups,omitempty"`
	// Mode of nacos: watch (gRPC, default; HTTP where the server has no gRPC) or poll (HTTP).
	Mode string `json:"mode,omitempty"`
	// RefreshPeriod between questions, where the registry does not tell by itself; default: 30s.
	RefreshPeriod string `json:"refreshPeriod,omitempty"`

	// Namespace of the services in the mesh; default: that of the object.
	Namespace string `json:"namespace,omitempty"`
	// NamespaceKey is the metadata of instances that names another namespace.
	NamespaceKey string `json:"namespaceKey,omitempty"`
	// HostSuffix is appended to the names of services.
	HostSuffix string `json:"hostSuffix,omitempty"`
	// Naming renames services.
	Naming *Naming `json:"naming,omitempty"`
	// MergeVersions makes one service of all groups and versions of a Dubbo interface.
	MergeVersions bool `json:"mergeVersions,omitempty"`
	// Protocol of instances that do not say theirs; default: HTTP, of Dubbo what its URLs say.
	Protocol string `json:"protocol,omitempty"`
	// Port of the services; default: 80, of Dubbo those of the instances.
	Port int32 `json:"port,omitempty"`
	// InstancePorts makes the ports of instances ports of the service too.
	InstancePorts bool `json:"instancePorts,omitempty"`
	// Priority of the registry where several have a service: 0 (default) is the highest.
	Priority int32 `json:"priority,omitempty"`
	// Retain is how long the last instances stay when the registry has none any more; default: 24h, 0s:
	// not at all.
	Retain string `json:"retain,omitempty"`

	// Services are the names that are taken; "*" stands for anything.
	Services *Names `json:"services,omitempty"`
	// EndpointSelectors pick instances: one of them has to.
	EndpointSelectors []EndpointSelector `json:"endpointSelectors,omitempty"`
	// ServicedEndpointSelectors are those of single services, in place of EndpointSelectors.
	ServicedEndpointSelectors map[string][]EndpointSelector `json:"servicedEndpointSelectors,omitempty"`
	// ServiceHostAliases are further hosts of services.
	ServiceHostAliases []HostAlias `json:"serviceHostAliases,omitempty"`
	// InstanceMetaRelabel makes labels of others.
	InstanceMetaRelabel *RelabelItems `json:"instanceMetaRelabel,omitempty"`
	// ServiceLabels are added to the services.
	ServiceLabels map[string]string `json:"serviceLabels,omitempty"`
}

// RegistryTLS says what is not in the Secret.
type RegistryTLS struct {
	// ServerName is what the registry's certificate has to be for; default: the host of the address.
	ServerName string `json:"serverName,omitempty"`
	// InsecureSkipVerify takes any certificate.
	InsecureSkipVerify bool `json:"insecureSkipVerify,omitempty"`
}

// Naming makes names of parts.
type Naming struct {
	// Separator between parts; default: ".".
	Separator string     `json:"separator,omitempty"`
	Items     []NameItem `json:"items"`
}

// NameItem is a part of a name.
type NameItem struct {
	// Kind is service (the registry's name), metadata (the instance's value of a key), namespace (that of the mesh), or static.
	Kind string `json:"kind"`
	// Value is the key, or the text.
	Value string `json:"value,omitempty"`
}

// Names are patterns.
type Names struct {
	Include []string `json:"include,omitempty"`
	Exclude []string `json:"exclude,omitempty"`
}

// EndpointSelector picks instances by their metadata and addresses.
type EndpointSelector struct {
	LabelSelector   *LabelSelector `json:"labelSelector,omitempty"`
	ExcludeIPRanges *IPRanges      `json:"excludeIPRanges,omitempty"`
}

// LabelSelector is Kubernetes'.
type LabelSelector struct {
	MatchLabels      map[string]string `json:"matchLabels,omitempty"`
	MatchExpressions []LabelExpression `json:"matchExpressions,omitempty"`
}

// LabelExpression is Kubernetes' too.
type LabelExpression struct {
	Key string `json:"key"`
	// Operator is In, NotIn, Exists or DoesNotExist.
	Operator string   `json:"operator"`
	Values   []string `json:"values,omitempty"`
}

// IPRanges are addresses.
type IPRanges struct {
	IPs   []string `json:"ips,omitempty"`
	CIDRs []string `json:"cidrs,omitempty"`
}

// HostAlias names further hosts.
type HostAlias struct {
	Host    string   `json:"host"`
	Aliases []string `json:"aliases"`
}

// RelabelItems is a list.
type RelabelItems struct {
	Items []RelabelItem `json:"items"`
}

// RelabelItem copies the value of a label to another.
type RelabelItem struct {
	Key string `json:"key"`
	// TargetKey is the label that is made; default: Key.
	TargetKey string `json:"targetKey,omitempty"`
	// Overwrite replaces a label that is there.
	Overwrite bool `json:"overwrite,omitempty"`
	// CreatedWithValue is the value where Key is not there; default: nothing is made.
	CreatedWithValue string `json:"createdWithValue,omitempty"`
	// ValuesMapping replaces values; others stay.
	ValuesMapping map[string]string `json:"valuesMapping,omitempty"`
}
