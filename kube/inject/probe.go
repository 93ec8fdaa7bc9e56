package inject

import (
	"encoding/json"
	"fmt"
	"maps"

	"istio.io/api/annotation"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// probersEnv tells the agent what to ask the programs in the kubelet's place: the
// kubelet's own questions would be redirected to the proxy, and have no certificate of
// the mesh.
const probersEnv = "ISTIO_KUBE_APP_PROBERS"

// Prober is one such question, in Kubernetes' and Istio's words. Exactly one of HTTPGet,
// TCPSocket and GRPC is set.
type Prober struct {
	HTTPGet        *corev1.HTTPGetAction   `json:"httpGet,omitempty"`
	TCPSocket      *corev1.TCPSocketAction `json:"tcpSocket,omitempty"`
	GRPC           *corev1.GRPCAction      `json:"grpc,omitempty"`
	TimeoutSeconds int32                   `json:"timeoutSeconds,omitempty"`
}

// Paths at which the agent asks for a container.
func probePath(container, what string) string { return "/app-health/" + container + "/" + what }

func lifecyclePath(container, what string) string {
	return "/app-lifecycle/" + container + "/" + what
}

// rewriteProbes leads the kubelet's probes and lifecycle requests to the agent.
func (w *work) rewriteProbes(pod *corev1.Pod) error {
	proxy := proxyOf(pod)
	// What a template says counts, too: it stands on the pod that was merged.
	keep := pod.Annotations[annotation.SidecarRewriteAppHTTPProbers.Name]
	rewrite := !w.settings.KeepProbes
	if keep != "" {
		rewrite = keep == "true"
	}
	if proxy == nil || !rewrite || w.statusPort == 0 {
		return nil
	}
	asked := map[string]*Prober{}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if list[i].Name != proxyName {
				w.rewriteContainer(&list[i], asked)
			}
		}
	}
	if len(asked) == 0 {
		return nil
	}
	if w.before != nil {
		// The probes lead to the agent already; what they were is written at the proxy.
		if err := earlierProbers(w.r.Pod, asked); err != nil {
			return err
		}
	}
	text, err := json.Marshal(asked)
	if err != nil {
		return err
	}
	proxy = proxyOf(pod)
	proxy.Env = setEnv(proxy.Env, map[string]string{probersEnv: string(text)})
	return nil
}

func earlierProbers(pod *corev1.Pod, into map[string]*Prober) error {
	c := proxyOf(pod)
	if c == nil {
		return nil
	}
	for _, e := range c.Env {
		if e.Name != probersEnv {
			continue
		}
		var old map[string]*Prober
		if err := json.Unmarshal([]byte(e.Value), &old); err != nil {
			return fmt.Errorf("%s of an earlier injection: %w", probersEnv, err)
		}
		maps.Copy(into, old)
	}
	return nil
}

// rewriteContainer rewrites one container, and adds what is to be asked.
func (w *work) rewriteContainer(c *corev1.Container, asked map[string]*Prober) {
	ports := map[string]int32{}
	for _, p := range c.Ports {
		if p.Name != "" {
			ports[p.Name] = p.ContainerPort
		}
	}
	for what, probe := range map[string]*corev1.Probe{"readyz": c.ReadinessProbe, "livez": c.LivenessProbe, "startupz": c.StartupProbe} {
		if probe == nil {
			continue
		}
		path := probePath(c.Name, what)
		q := &Prober{HTTPGet: probe.HTTPGet, TCPSocket: probe.TCPSocket, GRPC: probe.GRPC, TimeoutSeconds: probe.TimeoutSeconds}
		if to := w.rewritten(q, path, ports, asked); to != nil {
			probe.ProbeHandler = corev1.ProbeHandler{HTTPGet: to}
		}
	}
	if c.Lifecycle == nil {
		return
	}
	for what, h := range map[string]*corev1.LifecycleHandler{"prestopz": c.Lifecycle.PreStop, "poststartz": c.Lifecycle.PostStart} {
		if h == nil {
			continue
		}
		path := lifecyclePath(c.Name, what)
		if to := w.rewritten(&Prober{HTTPGet: h.HTTPGet, TCPSocket: h.TCPSocket}, path, ports, asked); to != nil {
			*h = corev1.LifecycleHandler{HTTPGet: to}
		}
	}
}

// rewritten is the request that the kubelet sends in place of its own; nil: there is
// nothing to rewrite.
func (w *work) rewritten(q *Prober, path string, ports map[string]int32, asked map[string]*Prober) *corev1.HTTPGetAction {
	to := &corev1.HTTPGetAction{}
	switch {
	case q.HTTPGet != nil:
		q.HTTPGet, to = q.HTTPGet.DeepCopy(), q.HTTPGet.DeepCopy()
		if !w.resolve(&q.HTTPGet.Port, ports) {
			q = nil
		}
	case q.TCPSocket != nil:
		q.TCPSocket = q.TCPSocket.DeepCopy()
		if !w.resolve(&q.TCPSocket.Port, ports) {
			q = nil
		}
	case q.GRPC != nil:
	default:
		return nil
	}
	if q != nil {
		asked[path] = q
	}
	to.Path, to.Port = path, intstr.FromInt(w.statusPort)
	if to.Scheme == corev1.URISchemeHTTPS {
		to.Scheme = corev1.URISchemeHTTP
	}
	return to
}

// resolve makes a number of a port's name; false: there is none of that name, or the
// probe leads to the agent already.
func (w *work) resolve(p *intstr.IntOrString, ports map[string]int32) bool {
	if p.Type == intstr.Int {
		return p.IntVal != int32(w.statusPort)
	}
	n, ok := ports[p.StrVal]
	if ok {
		*p = intstr.FromInt32(n)
	}
	return ok
}
