// Package inject puts the mesh's proxy into pods: as a sidecar, as a gateway, or as the
// agent of programs whose gRPC speaks xDS itself. It is what a webhook answers with and
// what `weft inject` writes.
//
// A pod that is to be injected gets what Istio's injector gives it, by the same labels
// and annotations and under the same names of containers, volumes and variables; where
// not, docs/INJECTION.md says so. What an annotation asks for is carried out, or a
// Finding names it. Injecting an injected pod again gives the same.
//
// It is pure: it asks no server, and knows of a namespace what it is told. It changes no
// pod that it is given. It does not decide which pods it is asked about, which the
// selectors of webhooks do (Webhooks), except where a pod must never be touched.
package inject

import (
	"fmt"
	"text/template"

	meshpb "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/control/model"
)

// Names of containers.
const (
	proxyName      = "istio-proxy"
	initName       = "istio-init"
	validationName = "istio-validation"
	coreDumpName   = "enable-core-dump"
)

// Names of the templates that are built in.
const (
	TemplateSidecar    = "sidecar"
	TemplateGateway    = "gateway"
	TemplateGRPCAgent  = "grpc-agent"
	TemplateGRPCSimple = "grpc-simple"
)

// autoImage stands for the image that is injected.
const autoImage = "auto"

// Injector injects by fixed settings. It may be used by many at once.
type Injector struct {
	settings  Settings
	mesh      *meshpb.MeshConfig
	templates map[string]*template.Template
}

// New makes an injector. A nil mesh is the default one.
func New(s Settings, mesh *meshpb.MeshConfig) (*Injector, error) {
	s = s.complete()
	if err := s.check(); err != nil {
		return nil, err
	}
	if mesh == nil {
		mesh = DefaultMesh()
	}
	parsed, err := parseTemplates(s.Templates)
	if err != nil {
		return nil, err
	}
	return &Injector{settings: s, mesh: mesh, templates: parsed}, nil
}

// Namespace is where a pod is to be.
type Namespace struct {
	Name string
	// Labels nil: they are not known, and somebody has looked at them already.
	Labels      map[string]string
	Annotations map[string]string
}

// Owner is what a pod is made for: its Deployment rather than its ReplicaSet.
type Owner struct{ APIVersion, Kind, Name, Namespace string }

// Request is a pod to inject.
type Request struct {
	// Pod is not changed.
	Pod       *corev1.Pod
	Namespace Namespace
	// Owner is found out of the pod where it is empty.
	Owner Owner
	// Env is set on the proxy: what a webhook's URL says of cluster and network.
	Env map[string]string
	// Config is added to the mesh's defaultConfig: what ProxyConfig resources say of this
	// pod. The pod's own annotation has the last word.
	Config *meshpb.ProxyConfig
}

// Outcome is what came of it.
type Outcome struct {
	// Pod is the injected pod; nil: it is not injected, and Reason says why.
	Pod    *corev1.Pod
	Reason string
	// Findings are about what of the pod has no effect, or an unexpected one.
	Findings []model.Finding
}

// Inject injects, or says why not. An error is for pods that cannot be what they ask
// for; it names the pod, the annotation and the remedy.
func (i *Injector) Inject(r Request) (Outcome, error) {
	if why := i.decide(r); why != "" {
		return Outcome{Reason: why}, nil
	}
	r.Pod = withoutAssignedUser(r.Pod, r.Namespace.Annotations)
	if r.Owner == (Owner{}) {
		r.Owner = ownerOf(r.Pod, r.Namespace.Name)
	}
	if err := checkAnnotations(r.Pod, r.Namespace.Name); err != nil {
		return Outcome{}, err
	}
	config, err := i.configOf(r)
	if err != nil {
		return Outcome{}, err
	}
	w := newWork(i, r, config)
	pod, err := w.run()
	if err != nil {
		return Outcome{}, fmt.Errorf("%s: %w", title(r.Pod, r.Namespace.Name), err)
	}
	return Outcome{Pod: pod, Findings: w.findings()}, nil
}

// title names a pod, also one that has no name yet.
func title(pod *corev1.Pod, namespace string) string {
	name := pod.Name
	if name == "" {
		name = pod.GenerateName + "…"
	}
	return "Pod " + namespace + "/" + name
}
