// Package v1alpha1 is what Weft accepts of Slime's groups microservice.slime.io (formerly
// microservice.netease.com) and config.netease.com, version v1alpha1.
//
// The types say what there is and what it means; they convert nothing. Fields that are not
// listed here are refused where documents are read.
package v1alpha1

// The groups, and their version.
const (
	FenceGroup    = "microservice.slime.io"
	FenceGroupOld = "microservice.netease.com"
	BootGroup     = "config.netease.com"
	Version       = "v1alpha1"
)

// SlimeBootSpec says which modules of Slime are on, and how they are set. What says where Slime's own programs
// run has no effect: Weft has none of them.
type SlimeBootSpec struct {
	Module    []Module   `json:"module,omitempty"`
	Component *Component `json:"component,omitempty"`

	Namespace                string `json:"namespace,omitempty"`
	IstioNamespace           string `json:"istioNamespace,omitempty"`
	Image                    any    `json:"image,omitempty"`
	ReplicaCount             any    `json:"replicaCount,omitempty"`
	Service                  any    `json:"service,omitempty"`
	Resources                any    `json:"resources,omitempty"`
	ImagePullSecrets         any    `json:"imagePullSecrets,omitempty"`
	NodeSelector             any    `json:"nodeSelector,omitempty"`
	PodSecurityContext       any    `json:"podSecurityContext,omitempty"`
	ContainerSecurityContext any    `json:"containerSecurityContext,omitempty"`
	Tolerations              any    `json:"tolerations,omitempty"`
	Affinity                 any    `json:"affinity,omitempty"`
	Volumes                  any    `json:"volumes,omitempty"`
	VolumeMounts             any    `json:"volumeMounts,omitempty"`
	ServiceAccount           any    `json:"serviceAccount,omitempty"`
	PodAnnotations           any    `json:"podAnnotations,omitempty"`
	PodLabels                any    `json:"podLabels,omitempty"`
	NameOverride             string `json:"nameOverride,omitempty"`
	FullnameOverride         string `json:"fullnameOverride,omitempty"`
	Args                     any    `json:"args,omitempty"`
	Env                      any    `json:"env,omitempty"`
}

// Module is one of Slime's parts: "lazyload", "limiter", "plugin", "meshregistry", or a bundle of them.
type Module struct {
	Name string `json:"name,omitempty"`
	// Kind; by default the name.
	Kind   string `json:"kind,omitempty"`
	Enable bool   `json:"enable,omitempty"`
	// Mode is "" or "BundleItem".
	Mode string `json:"mode,omitempty"`
	// General is the module's own configuration. Fence, Limiter and Plugin are the older spelling.
	General map[string]any `json:"general,omitempty"`
	Fence   map[string]any `json:"fence,omitempty"`
	Limiter map[string]any `json:"limiter,omitempty"`
	Plugin  map[string]any `json:"plugin,omitempty"`
	Global  map[string]any `json:"global,omitempty"`
	Metric  any            `json:"metric,omitempty"`
	Bundle  *Bundle        `json:"bundle,omitempty"`
}

// Bundle names the modules that run in one program.
type Bundle struct {
	Modules []BundleItem `json:"modules,omitempty"`
}

// BundleItem names a module.
type BundleItem struct {
	Name string `json:"name,omitempty"`
	Kind string `json:"kind,omitempty"`
}

// Component are programs beside the modules.
type Component struct {
	GlobalSidecar map[string]any `json:"globalSidecar,omitempty"`
	// Pilot is the older form's; it has no effect.
	Pilot     any `json:"pilot,omitempty"`
	ReportSrv any `json:"reportServer,omitempty"`
}
