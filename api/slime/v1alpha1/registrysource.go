// Package v1alpha1 is what Weft accepts of Slime's groups, version v1alpha1: the types say what there is
// and convert nothing.
package v1alpha1

// RegistryGroup is the group of RegistrySource.
const RegistryGroup = "microservice.slime.io"

// RegistrySourceSpec says which of a registry's services and instances count.
type RegistrySourceSpec struct {
	Zookeeper *ZookeeperPatch `json:"zookeeper,omitempty"`
}

// ZookeeperPatch is about Dubbo's services in ZooKeeper.
type ZookeeperPatch struct {
	// AvailableInterfaces are the only ones that are taken; none: all.
	AvailableInterfaces []DubboInterface `json:"availableInterfaces,omitempty"`
	// GlobalAbnormalInstanceIPs are left out of all services; the keys are the user's own.
	GlobalAbnormalInstanceIPs map[string][]string `json:"globalAbnormalInstanceIPs,omitempty"`
	// AbnormalInstanceIPs are left out of "interface:group:version". Slime's JSON has a capital letter there.
	AbnormalInstanceIPs      map[string][]string `json:"AbnormalInstanceIPs,omitempty"`
	AbnormalInstanceIPsLower map[string][]string `json:"abnormalInstanceIPs,omitempty"`
}

// DubboInterface names a service.
type DubboInterface struct {
	Interface string `json:"interface,omitempty"`
	Group     string `json:"group,omitempty"`
	Version   string `json:"version,omitempty"`
}
