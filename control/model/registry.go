package model

import (
	"net/netip"
	"time"
)

// The kinds of registries' configuration.
const (
	// KindRegistry is Weft's own: a registry to take services from.
	KindRegistry Kind = "Registry"
	// KindRegistrySource is Slime's: what of ZooKeeper's services is to be left out.
	KindRegistrySource Kind = "RegistrySource"
)

// Types of registries.
const (
	ZooKeeper = "zookeeper"
	Consul    = "consul"
	Etcd      = "etcd"
	Nacos     = "nacos"
	Eureka    = "eureka"
)

// RegistryTypes are all types, sorted.
var RegistryTypes = []string{Consul, Etcd, Eureka, Nacos, ZooKeeper}

// Registry is a registry that services are taken from, and what is made of them.
type Registry struct {
	Meta `json:"meta"`
	Type string
	// Addresses are "host:port", or URLs where the type is asked over HTTP.
	Addresses []string
	// Username, Password and Token prove who asks, as far as the type has them.
	Username string
	Password PrivateBytes `json:"-"`
	Token    PrivateBytes `json:"-"`
	// Credential is the Secret ("namespace/name") with the rest of them; "": none.
	Credential string
	// TLS to the registry; nil: only where an address is https://.
	TLS *RegistryTLS
	// Root is where the tree of services begins (ZooKeeper, etcd); Formats are the
	// conventions that are read there (etcd).
	Root    string
	Formats []string
	// Datacenter and Partition (Consul), Groups (Nacos), and Scope, the registry's own namespace (both).
	Datacenter, Partition string
	Groups                []string
	Scope                 string
	// Polling: ask from time to time where the registry would tell (Nacos 1.x).
	Polling bool
	// Refresh is how often a registry that tells nothing by itself is asked.
	Refresh time.Duration
	// Applications: Dubbo's instances are taken by application as well as by interface.
	Applications, Interfaces bool

	// Space is the mesh's namespace of the services; SpaceKey the metadata of instances
	// that names another.
	Space, SpaceKey string
	HostSuffix      string
	Naming          RegistryNaming
	// MergeVersions: Dubbo services of one interface are one, whatever their groups and
	// versions; these are labels only.
	MergeVersions bool
	Protocol      Protocol
	// Port is the port of services; 0: 80, and of Dubbo the instances' own. InstancePorts: these too.
	Port          uint16
	InstancePorts bool
	// Priority orders registries that have the same service, the lowest first: those
	// after it count when it has no instance.
	Priority int
	// Retain is how long the last instances of a service stay that the registry has none
	// of any more; 0: not at all.
	Retain time.Duration

	Include, Exclude []string // patterns of services' names
	Selectors        []InstanceSelector
	ByService        map[string][]InstanceSelector
	Aliases          map[string][]string
	Relabel          []Relabel
	Labels           map[string]string
}

// RegistryTLS is how a registry proves itself, and who asks does.
type RegistryTLS struct {
	// ServerName is what its certificate has to be for; "": the host of the address.
	ServerName string
	SkipVerify bool
	// CA are the authorities (none: the system's), Cert and Key who asks (none: nobody); PEM.
	CA, Cert, Key PrivateBytes `json:"-"`
}

// RegistryNaming makes the name of a service of parts of its instances; no parts: as the
// registry calls it.
type RegistryNaming struct {
	Separator string
	Parts     []NamePart
}

// NamePart is one part of a name.
type NamePart struct {
	// Kind is "service", "metadata", "namespace" or "static".
	Kind, Value string
}

// InstanceSelector picks instances by their metadata.
type InstanceSelector struct {
	LabelSelector
	// Without are addresses that are not picked.
	Without []netip.Prefix
}

// Relabel makes one label of another.
type Relabel struct {
	Key, Target string
	Overwrite   bool
	// Created is the value where Key is not there; empty: nothing is made.
	Created string
	Values  map[string]string
}

// RegistrySource is Slime's list of what of Dubbo's services counts.
type RegistrySource struct {
	Meta `json:"meta"`
	// Available are "interface:group:version"; nil: all.
	Available []string
	// Abnormal are addresses of instances that are left out, by interface ("" of all) or
	// "interface:group:version".
	Abnormal map[string][]string
}

// RegistryStatus is how it stands with a registry.
type RegistryStatus struct {
	Registry Key    `json:"registry"`
	Type     string `json:"type"`
	// State is "connecting" (never seen), "synced", or "stale" (what it said last stands).
	State string `json:"state"`
	// Since is when the state began; LastSuccess when the registry last said something.
	Since       time.Time `json:"since"`
	LastSuccess time.Time `json:"lastSuccess"`
	Error       string    `json:"error,omitempty"`
	// Services and Instances are those that are in force; Retained are services that the
	// registry has no instance of any more.
	Services  int `json:"services"`
	Instances int `json:"instances"`
	Retained  int `json:"retained"`
	// Updates is how often the registry has told something since the start.
	Updates int `json:"updates"`
}
