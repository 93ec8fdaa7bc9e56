package inject

import (
	"net"
	"strconv"

	"istio.io/api/annotation"
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/wire"
)

const portHealth = wire.PortHealth

// Where programs find what their gRPC reads.
const (
	grpcBootstrap       = "/etc/istio/proxy/" + wire.GRPCBootstrapFile
	simpleBootstrapDir  = "/var/lib/grpc/data"
	simpleBootstrap     = simpleBootstrapDir + "/bootstrap.json"
	volumeSimple        = "grpc-io-proxyless-bootstrap"
	simpleInit          = "grpc-bootstrap-init"
	grpcBootstrapEnv    = "GRPC_XDS_BOOTSTRAP"
	grpcSecurityEnv     = "GRPC_XDS_EXPERIMENTAL_SECURITY_SUPPORT"
	plaintextXDS        = 15010
	rewriteOff          = "false"
	startsBeforeProgram = "/healthz/ready"
)

// grpcAgent is the template of that name: an agent that keeps certificates fresh and
// leads programs, whose gRPC speaks xDS itself, to the control plane. Nothing is
// redirected.
func (w *work) grpcAgent() (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	pod.Labels, pod.Annotations = w.canonical(), w.notes()
	pod.Annotations[annotation.SidecarRewriteAppHTTPProbers.Name] = rewriteOff
	env, err := w.agentVariables()
	if err != nil {
		return nil, err
	}
	c := corev1.Container{
		Name: proxyName, Image: w.agentImage(), ImagePullPolicy: w.settings.ImagePullPolicy, Env: env, Resources: w.resources(),
		Args:  append([]string{"proxy", "sidecar", "--domain", w.domain()}, w.levelArgs()...),
		Ports: []corev1.ContainerPort{{Name: "mesh-metrics", ContainerPort: wire.PortMerged, Protocol: corev1.ProtocolTCP}},
		Lifecycle: &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{
			Command: []string{"weft", "wait", "--url=http://localhost:" + strconv.Itoa(wire.PortMerged) + startsBeforeProgram},
		}}},
	}
	w.readiness(&c)
	c.StartupProbe = nil
	if c.ReadinessProbe != nil {
		c.ReadinessProbe.ProbeHandler = ready(wire.PortMerged)
	}
	w.agentMounts(&c)
	if err := w.userMounts(&c); err != nil {
		return nil, err
	}
	pod.Spec.Containers = []corev1.Container{c}
	for _, name := range programs(w.pod) {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{
			Name: name, Env: []corev1.EnvVar{{Name: grpcSecurityEnv, Value: "true"}, {Name: grpcBootstrapEnv, Value: grpcBootstrap}},
			VolumeMounts: []corev1.VolumeMount{
				{Name: volumeData, MountPath: "/var/lib/istio/data"}, {Name: volumeXDS, MountPath: "/etc/istio/proxy"},
				{Name: volumeCerts, MountPath: "/var/run/secrets/workload-spiffe-credentials"},
			},
		})
	}
	own, err := w.userVolumes()
	if err != nil {
		return nil, err
	}
	pod.Spec.Volumes = append(w.agentVolumes(), own...)
	pod.Spec.ImagePullSecrets = w.pullSecrets()
	return pod, nil
}

// agentImage is that of weft, whose proxy command runs without a data plane.
func (w *work) agentImage() string {
	if name, ok := w.pod.Annotations[annotation.SidecarProxyImage.Name]; ok {
		if full := replaceName(w.settings.AgentImage, name); full != name {
			return full
		}
		return name
	}
	return w.settings.AgentImage
}

// agentVariables are the proxy's, without those that only a data plane reads.
func (w *work) agentVariables() ([]corev1.EnvVar, error) {
	all, err := w.variables("sidecar")
	if err != nil {
		return nil, err
	}
	env := []corev1.EnvVar{{Name: "ISTIO_META_GENERATOR", Value: wire.GeneratorGRPC}, {Name: "OUTPUT_CERTS", Value: "/var/lib/istio/data"}}
	for _, e := range all {
		switch e.Name {
		case "ISTIO_META_INTERCEPTION_MODE", "ISTIO_META_WEFT_ENGINE", "GOMEMLIMIT", "GOMAXPROCS", "ISTIO_CPU_LIMIT":
		default:
			env = append(env, e)
		}
	}
	// The program's gRPC looks names up by xDS.
	return setEnv(env, map[string]string{"ISTIO_META_DNS_CAPTURE": "false", "DISABLE_ENVOY": "true"}), nil
}

func (w *work) agentMounts(c *corev1.Container) {
	w.mounts(c, false)
	for i := range c.VolumeMounts {
		if c.VolumeMounts[i].Name == volumeEnvoy {
			c.VolumeMounts[i].Name = volumeXDS
		}
	}
	c.VolumeMounts = withoutMount(c.VolumeMounts, volumeCredential)
}

func withoutMount(list []corev1.VolumeMount, name string) (out []corev1.VolumeMount) {
	for _, m := range list {
		if m.Name != name {
			out = append(out, m)
		}
	}
	return out
}

func (w *work) agentVolumes() (out []corev1.Volume) {
	for _, v := range w.volumes(false) {
		switch v.Name {
		case volumeCredential:
			continue
		case volumeEnvoy:
			v.Name = volumeXDS
		}
		out = append(out, v)
	}
	return out
}

// grpcSimple is the template of that name: programs get a bootstrap that leads them to the
// control plane in plain text, and nothing else.
func (w *work) grpcSimple() (*corev1.Pod, error) {
	host, _, err := net.SplitHostPort(w.settings.ControlPlane)
	if err != nil {
		return nil, err
	}
	pod := &corev1.Pod{}
	pod.Annotations = map[string]string{annotation.SidecarRewriteAppHTTPProbers.Name: rewriteOff}
	mount := corev1.VolumeMount{Name: volumeSimple, MountPath: simpleBootstrapDir + "/"}
	pod.Spec.InitContainers = []corev1.Container{{
		Name: simpleInit, Image: w.agentImage(), ImagePullPolicy: w.settings.ImagePullPolicy,
		Args: []string{"grpc-bootstrap", "--server=dns:///" + host + ":" + strconv.Itoa(plaintextXDS), "--out=" + simpleBootstrap},
		Env: []corev1.EnvVar{
			field("INSTANCE_IP", "status.podIP"), field("POD_NAME", "metadata.name"), field("POD_NAMESPACE", "metadata.namespace"),
			{Name: "ISTIO_NAMESPACE", Value: w.settings.SystemNamespace},
		},
		VolumeMounts: []corev1.VolumeMount{mount},
	}}
	for _, c := range w.pod.Spec.Containers {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{
			Name: c.Name, VolumeMounts: []corev1.VolumeMount{mount},
			Env: []corev1.EnvVar{{Name: grpcBootstrapEnv, Value: simpleBootstrap}, {Name: "GRPC_GO_LOG_VERBOSITY_LEVEL", Value: "99"}, {Name: "GRPC_GO_LOG_SEVERITY_LEVEL", Value: "info"}},
		})
	}
	pod.Spec.Volumes = []corev1.Volume{{Name: volumeSimple, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	return pod, nil
}
