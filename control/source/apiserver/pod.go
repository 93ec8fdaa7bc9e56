package apiserver

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
	"github.com/weftmesh/weft/control/source/istio"
	"github.com/weftmesh/weft/wire"
)

// Names that tell a sidecar, and what kind of one: those of containers, and the annotation
// that injection leaves.
const (
	injected     = "sidecar.istio.io/status"
	istioProxy   = "istio-proxy"
	weftProxy    = "weft-proxy"
	hashLabel    = "pod-template-hash"
	gatewayName  = "gateway.networking.k8s.io/gateway-name"
	gatewayLabel = "istio.io/gateway-name"
)

// pod makes the workload of a pod; nothing of one that has no address yet, has ended, or
// shares the address of its node.
func (s *Source) pod(u *unstructured.Unstructured) *item {
	var p corev1.Pod
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &p); err != nil {
		return &item{} // the server has checked it
	}
	if p.Spec.HostNetwork || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return &item{}
	}
	w := &model.Workload{
		Name: p.Name, App: app(&p), Namespace: p.Namespace, Cluster: s.opts.Cluster, Network: s.opts.Network,
		Labels: p.Labels, ServiceAccount: p.Spec.ServiceAccountName,
		Node: p.Spec.NodeName, Locality: model.Locality(wire.LocalityOf(p.Labels)), Ready: ready(&p),
	}
	for _, a := range p.Status.PodIPs {
		if ip, err := netip.ParseAddr(a.IP); err == nil {
			w.Addresses = append(w.Addresses, ip)
		}
	}
	if len(w.Addresses) == 0 {
		return &item{}
	}
	if w.ServiceAccount == "" {
		w.ServiceAccount = "default"
	}
	if n := p.Labels[model.LabelNetwork]; n != "" {
		w.Network = n
	}
	w.Ports = ports(p.Spec.Containers)
	w.Gateway = p.Labels[gatewayName] != "" || p.Labels[gatewayLabel] != ""
	w.Engine = engine(&p)
	w.Mesh = w.Engine != "" || p.Labels[wire.TLSModeLabel] == wire.TLSModeIstio
	w.Key = model.Key{Kind: model.KindWorkload, Namespace: p.Namespace, Name: p.Name}
	w.Origin = model.Origin{Source: Name}
	w.Meta.Labels, w.Annotations, w.Created = p.Labels, p.Annotations, p.CreationTimestamp.UnixNano()
	d := document.Beside(w.Meta)
	if own := istio.Annotated(d); !d.Bad() { // else what is wrong is as good as not written: pods do not wait for it
		w.Proxy = own
	}
	seal(w)
	return &item{outcome: outcome{objects: []model.Object{w}, findings: d.Findings()}}
}

// seal makes the hash of all that a workload is.
func seal(w *model.Workload) {
	w.Hash = 0
	raw, err := json.Marshal(w)
	if err != nil {
		panic("BUG: a workload cannot be written as JSON: " + err.Error())
	}
	w.Hash = xxhash.Sum64(raw)
}

// app is what the pod is a replica of: its owner, and of a ReplicaSet the Deployment.
func app(p *corev1.Pod) string {
	for i := range p.OwnerReferences {
		o := &p.OwnerReferences[i]
		if o.Controller == nil || !*o.Controller {
			continue
		}
		if o.Kind == "ReplicaSet" {
			return strings.TrimSuffix(o.Name, "-"+p.Labels[hashLabel])
		}
		return o.Name
	}
	return p.Name
}

// ready tells whether a pod takes traffic: it is ready, and not about to end.
func ready(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func ports(containers []corev1.Container) map[string]uint16 {
	out := map[string]uint16{}
	for i := range containers {
		for _, p := range containers[i].Ports {
			if p.Name != "" && p.ContainerPort > 0 && p.ContainerPort <= 65535 {
				out[p.Name] = uint16(p.ContainerPort) //nolint:gosec // bounded
			}
		}
	}
	return out
}

// engine is that of the pod's sidecar; empty: it has none.
func engine(p *corev1.Pod) string {
	has := func(name string) bool {
		named := func(c corev1.Container) bool { return c.Name == name }
		return slices.ContainsFunc(p.Spec.Containers, named) || slices.ContainsFunc(p.Spec.InitContainers, named)
	}
	switch {
	case has(weftProxy):
		return "go"
	case has(istioProxy) || p.Annotations[injected] != "":
		return "envoy"
	}
	return ""
}

// location is where a node is.
type location struct {
	node string
	is   model.Locality
}

func node(u *unstructured.Unstructured) *item {
	return &item{location: &location{u.GetName(), model.Locality(wire.LocalityOf(u.GetLabels()))}}
}
