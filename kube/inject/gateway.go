package inject

import (
	corev1 "k8s.io/api/core/v1"
)

// gateway is the template of that name: the pod itself has a container istio-proxy with
// the image auto, and becomes a gateway. Nothing is redirected.
func (w *work) gateway() (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	pod.Labels, pod.Annotations = w.canonical(), w.notes()
	proxy, err := w.proxyContainer("router")
	if err != nil {
		return nil, err
	}
	proxy.SecurityContext = &corev1.SecurityContext{RunAsUser: ptr(w.uid), RunAsGroup: ptr(w.gid)}
	p := w.settings.Readiness
	proxy.ReadinessProbe = &corev1.Probe{
		ProbeHandler: ready(portHealth), InitialDelaySeconds: p.InitialDelay, PeriodSeconds: p.Period, FailureThreshold: p.Failures, TimeoutSeconds: probeTimeout,
	}
	w.mounts(proxy, false)
	pod.Spec.Containers = []corev1.Container{*proxy}
	pod.Spec.Volumes = w.volumes(false)
	pod.Spec.ImagePullSecrets = w.pullSecrets()
	// A gateway listens on ports that users know, and is not root.
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "net.ipv4.ip_unprivileged_port_start", Value: "0"}}}
	return pod, nil
}
