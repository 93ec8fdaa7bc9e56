package model

// Kinds of a Kubernetes cluster that only an analysis reads: what runs there, how
// it is injected, and which versions it has. No proxy is configured by them.
const (
	KindPod               Kind = "Pod"
	KindDeployment        Kind = "Deployment"
	KindStatefulSet       Kind = "StatefulSet"
	KindDaemonSet         Kind = "DaemonSet"
	KindNode              Kind = "Node"
	KindMutatingWebhook   Kind = "MutatingWebhookConfiguration"
	KindValidatingWebhook Kind = "ValidatingWebhookConfiguration"
	KindCRD               Kind = "CustomResourceDefinition"
	KindInjector          Kind = "Injector"
)

// Cluster is the part of a Snapshot that is of those kinds.
type Cluster struct {
	Pods      []*Pod
	Nodes     []*Node
	Webhooks  []*Webhook
	CRDs      []*CRD
	Injectors []*Injector
}

// Empty tells whether no cluster was read.
func (c *Cluster) Empty() bool {
	return len(c.Pods)+len(c.Nodes)+len(c.Webhooks)+len(c.CRDs)+len(c.Injectors) == 0
}

// Pod is a pod, or the template of those that a Deployment, StatefulSet or DaemonSet
// makes; Key.Kind says which.
type Pod struct {
	Meta
	// PodLabels and PodAnnotations are the pod's own, which for a template are not
	// those of the object.
	PodLabels, PodAnnotations map[string]string
	HostNetwork               bool
	// RunAsUser is the pod's; a container may have its own.
	RunAsUser  *int64
	Node       string
	Containers []Container
}

// Template tells whether the object makes pods and is none.
func (p *Pod) Template() bool { return p.Key.Kind != KindPod }

// Container of a Pod.
type Container struct {
	Name, Image string
	// Init: it runs before the others, or beside them (a native sidecar).
	Init      bool
	RunAsUser *int64
	Env       map[string]string
	Ports     []ProcessPort
}

// Node is a machine of the cluster; its labels say where it is.
type Node struct{ Meta }

// Webhook is a configuration of admission webhooks.
type Webhook struct {
	Meta
	Hooks []Hook
}

// Hook is one of them.
type Hook struct {
	Name string
	// Namespaces and Objects select what it is for; nil: everything.
	Namespaces, Objects *LabelSelector
	// URL or Service is where it is; both zero: nowhere.
	URL     string
	Service Key
}

// CRD is a CustomResourceDefinition: the kind that it defines, and for Gateway API
// the version of the bundle it came with.
type CRD struct {
	Meta
	Group, Kind, Bundle string
}

// Injector is what the ConfigMap of a sidecar injector says.
type Injector struct {
	Meta
	// Image of the proxy, with registry and tag.
	Image string
	// ByDefault: namespaces are injected that do not say otherwise.
	ByDefault bool
}
