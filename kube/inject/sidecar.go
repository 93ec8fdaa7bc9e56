package inject

import (
	"fmt"
	"strconv"

	"istio.io/api/annotation"
	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/weftmesh/weft/wire"
)

// sidecar is the template of that name.
func (w *work) sidecar() (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	pod.Labels = w.canonical()
	pod.Labels[label.SecurityTlsMode.Name] = or(w.pod.Labels[label.SecurityTlsMode.Name], "istio")
	if w.config.ProxyMetadata["ISTIO_META_ENABLE_HBONE"] == "true" {
		pod.Labels["networking.istio.io/tunnel"] = or(w.pod.Labels["networking.istio.io/tunnel"], "http")
	}
	pod.Annotations = w.notes()
	w.noteCapture(pod.Annotations)
	proxy, err := w.proxyContainer("sidecar")
	if err != nil {
		return nil, err
	}
	w.secure(proxy)
	proxy.Resources = w.resources()
	proxy.Lifecycle = w.lifecycle()
	w.readiness(proxy)
	w.mounts(proxy, true)
	if err := w.userMounts(proxy); err != nil {
		return nil, err
	}
	if w.mode != modeNone {
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, w.redirect())
	}
	if w.native {
		always := corev1.ContainerRestartPolicyAlways
		proxy.RestartPolicy = &always
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, *proxy)
	} else {
		pod.Spec.Containers = append(pod.Spec.Containers, *proxy)
	}
	pod.Spec.Volumes = w.volumes(true)
	own, err := w.userVolumes()
	if err != nil {
		return nil, err
	}
	pod.Spec.Volumes = append(pod.Spec.Volumes, own...)
	pod.Spec.ImagePullSecrets = w.pullSecrets()
	return pod, nil
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// canonical are the labels that say which service and version a workload is.
func (w *work) canonical() map[string]string {
	has := func(names ...string) string {
		for _, n := range names {
			if v := w.pod.Labels[n]; v != "" {
				return v
			}
		}
		return ""
	}
	name := has(label.ServiceCanonicalName.Name, "app.kubernetes.io/name", "app")
	return map[string]string{
		label.ServiceCanonicalName.Name:     labelValue(or(name, w.r.Owner.Name)),
		label.ServiceCanonicalRevision.Name: or(has(label.ServiceCanonicalRevision.Name, "app.kubernetes.io/version", "version"), "latest"),
	}
}

// maxLabel is what Kubernetes allows of a label's value.
const maxLabel = 63

// labelValue makes a name short enough for a label.
func labelValue(s string) string {
	if len(s) > maxLabel {
		s = s[:maxLabel]
	}
	cut := func(c byte) bool { return c == '-' || c == '_' || c == '.' }
	for s != "" && cut(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	for s != "" && cut(s[0]) {
		s = s[1:]
	}
	return s
}

// notes are the annotations that every injected pod has.
func (w *work) notes() map[string]string {
	out := map[string]string{label.IoIstioRev.Name: revisionOf(w.settings.Revision)}
	if names := programs(w.pod); len(names) > 0 {
		for _, key := range []string{"kubectl.kubernetes.io/default-logs-container", "kubectl.kubernetes.io/default-container"} {
			if _, ok := w.pod.Annotations[key]; !ok {
				out[key] = names[0]
			}
		}
	}
	return out
}

// secure is what the proxy may do.
func (w *work) secure(c *corev1.Container) {
	bind := w.flag(bindKey, false)
	s := &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr(false), Privileged: ptr(false), ReadOnlyRootFilesystem: ptr(true), RunAsNonRoot: ptr(true), RunAsUser: ptr(w.uid), RunAsGroup: ptr(w.gid),
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
	if w.mode == modeTPROXY {
		s.Capabilities.Add = append(s.Capabilities.Add, "NET_ADMIN")
	}
	if bind {
		s.Capabilities.Add = append(s.Capabilities.Add, "NET_BIND_SERVICE")
	}
	if len(s.Capabilities.Add) > 0 {
		// What is added to a user other than root cannot be used.
		s.RunAsNonRoot, s.RunAsUser, s.RunAsGroup = ptr(false), ptr(int64(0)), ptr(int64(proxyID))
	}
	c.SecurityContext = s
}

func ptr[T any](v T) *T { return &v }

// lifecycle is what the kubelet calls when the proxy has started or is to end. A native
// sidecar is told when the pod begins to end, and gets SIGTERM when the programs are gone.
func (w *work) lifecycle() *corev1.Lifecycle {
	run := func(args ...string) *corev1.LifecycleHandler {
		return &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: append([]string{proxyBinary}, args...)}}
	}
	switch {
	case w.native:
		return &corev1.Lifecycle{PreStop: run("request", "--debug-port="+strconv.Itoa(w.statusPort), "POST", "drain")}
	case w.hold:
		return &corev1.Lifecycle{PostStart: run("wait")}
	}
	return nil
}

// proxyBinary is the program in the proxy's image.
const proxyBinary = "weft-proxy"

// probeTimeout is in seconds.
const probeTimeout = 3

// readiness lets the kubelet ask whether the proxy is ready.
func (w *work) readiness(c *corev1.Container) {
	if w.statusPort == 0 {
		return
	}
	p := w.settings.Readiness
	if !w.settings.NoStartup {
		c.StartupProbe = &corev1.Probe{ProbeHandler: ready(wire.PortHealth), PeriodSeconds: 1, TimeoutSeconds: probeTimeout, FailureThreshold: w.settings.StartupTries}
	}
	c.ReadinessProbe = &corev1.Probe{
		ProbeHandler:        ready(wire.PortHealth),
		InitialDelaySeconds: w.number(annotation.SidecarStatusReadinessInitialDelaySeconds.Name, p.InitialDelay),
		PeriodSeconds:       w.number(annotation.SidecarStatusReadinessPeriodSeconds.Name, p.Period),
		FailureThreshold:    w.number(annotation.SidecarStatusReadinessFailureThreshold.Name, p.Failures),
		TimeoutSeconds:      probeTimeout,
	}
}

func ready(port int) corev1.ProbeHandler {
	return corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz/ready", Port: intstr.FromInt(port)}}
}

// pullSecrets are those of the settings.
func (w *work) pullSecrets() (out []corev1.LocalObjectReference) {
	for _, name := range w.settings.ImagePullSecrets {
		out = append(out, corev1.LocalObjectReference{Name: name})
	}
	return out
}

// levelOf is the level of the log, by the annotation.
func (w *work) levelArgs() []string {
	s := w.settings
	args := []string{
		"--proxyLogLevel=" + w.note(annotation.SidecarLogLevel.Name, s.LogLevel),
		"--proxyComponentLogLevel=" + w.note(annotation.SidecarComponentLogLevel.Name, s.ComponentLogLevel),
		"--log_output_level=" + w.note(annotation.SidecarAgentLogLevel.Name, s.AgentLogLevel),
	}
	if s.LogAsJSON {
		args = append(args, "--log_as_json")
	}
	return args
}

// domain is the suffix of the pod's own namespace.
func (w *work) domain() string {
	return fmt.Sprintf("$(POD_NAMESPACE).svc.%s", w.settings.ClusterDomain)
}
