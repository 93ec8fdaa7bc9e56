package inject

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"istio.io/api/annotation"
	"istio.io/api/label"
	meshpb "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/wire"
)

// Modes of interception.
const (
	modeRedirect = "REDIRECT"
	modeTPROXY   = "TPROXY"
	modeNone     = "NONE"
)

// work is one pod that is being injected. Its fields are what annotations, configuration
// and settings amount to.
type work struct {
	*Injector
	r      Request
	config *meshpb.ProxyConfig
	// pod is the pod without what an earlier injection added: templates read it.
	pod *corev1.Pod
	// before is what an earlier injection added; nil: there was none.
	before *status

	mode         string
	native, hold bool
	// notTPROXY: it was asked for.
	notTPROXY        bool
	statusPort       int
	cluster, network string
	uid, gid         int64
	env              map[string]string
}

func newWork(i *Injector, r Request, config *meshpb.ProxyConfig) *work {
	w := &work{Injector: i, r: r, config: config, before: statusOf(r.Pod)}
	w.pod = w.strip()
	w.mode = w.note(annotation.SidecarInterceptionMode.Name, config.InterceptionMode.String())
	if w.mode == modeTPROXY && i.settings.ControlPlane != istiosDiscovery {
		w.mode, w.notTPROXY = modeRedirect, true
	}
	w.native = w.flag(annotation.SidecarNativeSidecar.Name, i.settings.native())
	w.hold = i.settings.HoldApplication || config.GetHoldApplicationUntilProxyStarts().GetValue()
	w.statusPort = w.port()
	w.uid, w.gid = proxyIDs(r.Namespace.Annotations)
	w.env = map[string]string{}
	for k, v := range r.Env {
		w.env[k] = v
	}
	w.cluster = cmp.Or(w.env[envCluster], i.settings.ClusterID)
	w.network = cmp.Or(r.Pod.Labels[label.TopologyNetwork.Name], w.env[envNetwork], i.settings.Network)
	if w.network != "" {
		w.env[envNetwork] = w.network
	}
	return w
}

// Variables that a webhook's URL may set.
const (
	envCluster = "ISTIO_META_CLUSTER_ID"
	envNetwork = "ISTIO_META_NETWORK"
)

// note is an annotation, or what holds without it.
func (w *work) note(name, otherwise string) string {
	if v, ok := w.pod.Annotations[name]; ok {
		return v
	}
	return otherwise
}

// flag is an annotation that was checked to be true or false.
func (w *work) flag(name string, otherwise bool) bool {
	if v, err := strconv.ParseBool(w.pod.Annotations[name]); err == nil {
		return v
	}
	return otherwise
}

// number is an annotation that was checked to be a number.
func (w *work) number(name string, otherwise int32) int32 {
	if v, err := strconv.ParseInt(w.pod.Annotations[name], 10, 32); err == nil {
		return int32(v)
	}
	return otherwise
}

// port is where the agent answers; 0: nowhere.
func (w *work) port() int {
	otherwise := wire.PortMerged
	if p := w.config.GetStatusPort(); p != 0 {
		otherwise = int(p)
	}
	if p := w.settings.StatusPort; p != nil {
		otherwise = int(*p)
	}
	if v, err := strconv.ParseUint(strings.TrimSpace(w.r.Pod.Annotations[annotation.SidecarStatusPort.Name]), 10, 16); err == nil {
		return int(v)
	}
	return otherwise
}

// run makes the injected pod.
func (w *work) run() (*corev1.Pod, error) {
	merged, added := w.r.Pod.DeepCopy(), &corev1.Pod{}
	for _, name := range w.templateNames() {
		over, err := w.template(name)
		if err != nil {
			return nil, fmt.Errorf("template %s: %w", name, err)
		}
		if added, err = merge(added, over); err != nil {
			return nil, fmt.Errorf("template %s: %w", name, err)
		}
		// A proxy that the pod itself has is among its containers, where a native
		// sidecar does not belong.
		if w.native && find(added.Spec.InitContainers, proxyName) != nil {
			move(merged, proxyName)
		}
		if merged, err = merge(merged, over); err != nil {
			return nil, fmt.Errorf("template %s: %w", name, err)
		}
	}
	merged, err := w.reapply(merged, added)
	if err != nil {
		return nil, err
	}
	return merged, w.finish(merged, added)
}

// templateNames are those that the pod asks for, with aliases resolved.
func (w *work) templateNames() (out []string) {
	names := w.settings.DefaultTemplates
	if text, ok := w.r.Pod.Annotations[annotation.InjectTemplates.Name]; ok {
		names = strings.Split(text, ",")
	}
	for _, n := range names {
		n = strings.TrimSpace(n)
		if several, ok := w.settings.Aliases[n]; ok {
			out = append(out, several...)
			continue
		}
		out = append(out, n)
	}
	return out
}

// finish is what cannot be said by merging.
func (w *work) finish(pod, added *corev1.Pod) error {
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	if c := proxyOf(pod); c != nil && len(w.env) > 0 {
		c.Env = setEnv(c.Env, w.env)
	}
	if err := w.mergeMetrics(pod); err != nil {
		return err
	}
	if err := w.rewriteProbes(pod); err != nil {
		return err
	}
	if w.network != "" {
		pod.Labels[label.TopologyNetwork.Name] = w.network
	}
	text, err := json.Marshal(w.statusFor(added))
	if err != nil {
		return err
	}
	pod.Annotations[annotation.SidecarStatus.Name] = string(text)
	for k, v := range w.settings.Annotations {
		pod.Annotations[k] = v
	}
	w.order(pod)
	return nil
}

// order puts the proxy where it belongs: a native sidecar before all other init
// containers, which are part of the mesh then; another one after the programs, so that
// kubectl exec finds these, or before them, when they are to wait for it. What redirects
// comes right before the proxy, or after all init containers, which need the network; what
// checks that somebody else has redirected comes first.
func (w *work) order(pod *corev1.Pod) {
	pod.Spec.Containers = arrange(pod.Spec.Containers, proxyName, w.hold)
	inits := pod.Spec.InitContainers
	if find(inits, proxyName) != nil {
		for _, name := range []string{coreDumpName, proxyName, validationName, initName} {
			inits = arrange(inits, name, true)
		}
	} else {
		inits = arrange(inits, validationName, true)
		inits = arrange(inits, initName, false)
		inits = arrange(inits, coreDumpName, false)
	}
	pod.Spec.InitContainers = inits
}
