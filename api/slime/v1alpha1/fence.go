package v1alpha1

// ServiceFenceSpec says what a workload uses, and that its proxy asks for the rest when it is used.
// Fields of two spellings are the same; one of the two is to be written.
type ServiceFenceSpec struct {
	// Enable puts the fence up; one that is not enabled has no effect.
	Enable bool `json:"enable,omitempty"`
	// Host are static dependencies: full names, external hosts, or "namespace/*".
	Host map[string]Recycling `json:"host,omitempty"`
	// NamespaceSelector are namespaces all of whose services are static dependencies.
	NamespaceSelector      []string `json:"namespaceSelector,omitempty"`
	NamespaceSelectorSnake []string `json:"namespace_selector,omitempty"`
	// LabelSelector picks services: by all labels of any one item.
	LabelSelector      []Selector `json:"labelSelector,omitempty"`
	LabelSelectorSnake []Selector `json:"label_selector,omitempty"`
	// WorkloadSelector says whom the fence is for; by default those whose label "app" (or what a SlimeBoot's
	// global.service says) is the fence's name.
	WorkloadSelector      *FenceSelector `json:"workloadSelector,omitempty"`
	WorkloadSelectorSnake *FenceSelector `json:"workload_selector,omitempty"`
}

// Selector are labels that must all be there.
type Selector struct {
	Selector map[string]string `json:"selector,omitempty"`
}

// FenceSelector picks workloads: by Labels, or else those of the Service with the fence's name.
type FenceSelector struct {
	Labels           map[string]string `json:"labels,omitempty"`
	FromService      bool              `json:"fromService,omitempty"`
	FromServiceSnake bool              `json:"from_service,omitempty"`
}

// Recycling says how long a dependency is one. Times are {seconds, nanos} since 1970, or RFC 3339.
type Recycling struct {
	Stable   any       `json:"stable,omitempty"`
	Deadline *Deadline `json:"deadline,omitempty"`
	Auto     any       `json:"auto,omitempty"`
	// RecentlyCalled is Slime's own note.
	RecentlyCalled any `json:"RecentlyCalled,omitempty"`
}

// Deadline is when a dependency ends.
type Deadline struct {
	Expire any `json:"expire,omitempty"`
}
