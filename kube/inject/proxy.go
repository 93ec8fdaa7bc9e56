package inject

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"istio.io/api/annotation"
	"istio.io/api/label"
	meshpb "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/weftmesh/weft/wire"
)

// proxyContainer is what sidecars and gateways have in common; kind is what the proxy
// becomes: sidecar or router.
func (w *work) proxyContainer(kind string) (*corev1.Container, error) {
	c := &corev1.Container{
		Name: proxyName, Image: w.image(), ImagePullPolicy: w.settings.ImagePullPolicy,
		Ports: []corev1.ContainerPort{{Name: "http-envoy-prom", ContainerPort: wire.PortPrometheus, Protocol: corev1.ProtocolTCP}},
		Args:  append([]string{"proxy", kind, "--domain", w.domain()}, w.levelArgs()...),
	}
	env, err := w.variables(kind)
	c.Env = env
	return c, err
}

// image is that of the proxy: the annotation's, whole or by its last part; the settings'.
func (w *work) image() string {
	own := w.settings.Image
	if name, ok := w.pod.Annotations[annotation.SidecarProxyImage.Name]; ok {
		if strings.Contains(name, "/") {
			return name
		}
		own = replaceName(own, name)
	}
	kind := w.config.GetImage().GetImageType()
	if k, ok := w.pod.Annotations[annotation.SidecarProxyImageType.Name]; ok {
		kind = k
	}
	return imageType(own, kind)
}

// initImage is that of what redirects.
func (w *work) initImage() string {
	if name := w.pod.Annotations[annotation.SidecarProxyImage.Name]; strings.Contains(name, "/") {
		return name
	}
	return imageType(w.settings.InitImage, w.pod.Annotations[annotation.SidecarProxyImageType.Name])
}

// imageTypes are variants of images that Istio has; Weft's images have one, whose tag
// users may change by their own.
var imageTypes = []string{"distroless", "debug"}

// imageType changes the end of an image's tag.
func imageType(image, kind string) string {
	if kind == "" || strings.Contains(image, "@") {
		return image
	}
	slash := strings.LastIndexByte(image, '/')
	colon := strings.LastIndexByte(image, ':')
	if colon < slash || colon < 0 {
		return image
	}
	for _, t := range imageTypes {
		image = strings.TrimSuffix(image, "-"+t)
	}
	if kind == "default" {
		return image
	}
	return image + "-" + kind
}

// replaceName keeps the registry and the tag of an image.
func replaceName(image, name string) string {
	if name == "" {
		return image
	}
	slash := strings.LastIndexByte(image, '/')
	tag := ""
	if colon := strings.LastIndexByte(image, ':'); colon > slash && !strings.Contains(name, ":") {
		tag = image[colon:]
	}
	return image[:slash+1] + name + tag
}

// variables are what the proxy reads of its environment, as pilot-agent does.
func (w *work) variables(kind string) ([]corev1.EnvVar, error) {
	s := w.settings
	config, err := w.configText()
	if err != nil {
		return nil, err
	}
	ports, err := w.ports()
	if err != nil {
		return nil, err
	}
	env := []corev1.EnvVar{
		{Name: "PILOT_CERT_PROVIDER", Value: "istiod"},
		{Name: "CA_ADDR", Value: s.CAAddress},
		field("POD_NAME", "metadata.name"), field("POD_NAMESPACE", "metadata.namespace"), field("INSTANCE_IP", "status.podIP"),
		field("SERVICE_ACCOUNT", "spec.serviceAccountName"), field("HOST_IP", "status.hostIP"),
		limit("ISTIO_CPU_LIMIT", "limits.cpu"),
		{Name: "PROXY_CONFIG", Value: config},
		{Name: "ISTIO_META_POD_PORTS", Value: ports},
		{Name: "ISTIO_META_APP_CONTAINERS", Value: strings.Join(programs(w.pod), ",")},
		limit("GOMEMLIMIT", "limits.memory"), limit("GOMAXPROCS", "limits.cpu"),
		{Name: envCluster, Value: w.cluster},
		field("ISTIO_META_NODE_NAME", "spec.nodeName"),
		{Name: "ISTIO_META_INTERCEPTION_MODE", Value: w.mode},
	}
	if w.mesh.GetInboundTrafficPolicy().GetMode() == meshpb.MeshConfig_InboundTrafficPolicy_LOCALHOST {
		env = append(env, corev1.EnvVar{Name: "REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION", Value: "true"})
	}
	env = append(env, w.who()...)
	env = append(env, w.metadata()...)
	if s.ControlPlane != istiosDiscovery {
		// Weft's control plane tells its own proxies more than Istio's would understand.
		env = append(env, corev1.EnvVar{Name: "ISTIO_META_WEFT_ENGINE", Value: EngineGo})
	}
	if kind == "router" && w.mode == modeTPROXY {
		// Nothing is redirected to a gateway.
		env = setEnv(env, map[string]string{"ISTIO_META_INTERCEPTION_MODE": modeRedirect})
	}
	return env, nil
}

// who are the variables that say what workload this is, and of which mesh.
func (w *work) who() (env []corev1.EnvVar) {
	add := func(name, value string) {
		if value != "" {
			env = append(env, corev1.EnvVar{Name: name, Value: value})
		}
	}
	add(envNetwork, w.network)
	add("ISTIO_META_WORKLOAD_NAME", or(w.pod.Labels[label.ServiceWorkloadName.Name], w.r.Owner.Name))
	add("ISTIO_META_OWNER", w.r.Owner.reference())
	add("ISTIO_META_MESH_ID", or(w.settings.MeshID, w.mesh.TrustDomain))
	add("TRUST_DOMAIN", w.mesh.TrustDomain)
	return env
}

// metadata are the variables of the ProxyConfig.
func (w *work) metadata() (env []corev1.EnvVar) {
	for _, k := range slices.Sorted(maps.Keys(w.config.ProxyMetadata)) {
		env = append(env, corev1.EnvVar{Name: k, Value: w.config.ProxyMetadata[k]})
	}
	return env
}

// configText is PROXY_CONFIG.
func (w *work) configText() (string, error) {
	discovery := w.settings.ControlPlane
	c := w.config
	if own := w.pod.Annotations[annotation.SidecarDiscoveryAddress.Name]; own != "" && c.DiscoveryAddress == "" {
		discovery = own
	}
	if w.statusPort != 0 && w.statusPort != wire.PortMerged && int(c.StatusPort) != w.statusPort {
		changed, err := overlay(c)
		if err != nil {
			return "", err
		}
		changed.StatusPort = int32(w.statusPort)
		c = changed
	}
	return proxyConfigText(c, discovery)
}

// ports are those of the pod's containers, as JSON.
func (w *work) ports() (string, error) {
	list := []corev1.ContainerPort{}
	for _, c := range w.pod.Spec.Containers {
		list = append(list, c.Ports...)
	}
	raw, err := json.Marshal(list)
	return string(raw), err
}

func field(name, path string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}}
}

func limit(name, what string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: what, Divisor: resource.MustParse("1")}}}
}

// resources are those of the annotations, all or none of them; else of the settings.
func (w *work) resources() corev1.ResourceRequirements {
	var out corev1.ResourceRequirements
	said := false
	set := func(list *corev1.ResourceList, name corev1.ResourceName, key string) {
		text, ok := w.pod.Annotations[key]
		if !ok {
			return
		}
		q, err := resource.ParseQuantity(text)
		if err != nil {
			return // checkAnnotations has said so
		}
		if *list == nil {
			*list = corev1.ResourceList{}
		}
		(*list)[name], said = q, true
	}
	set(&out.Requests, corev1.ResourceCPU, annotation.SidecarProxyCPU.Name)
	set(&out.Requests, corev1.ResourceMemory, annotation.SidecarProxyMemory.Name)
	set(&out.Limits, corev1.ResourceCPU, annotation.SidecarProxyCPULimit.Name)
	set(&out.Limits, corev1.ResourceMemory, annotation.SidecarProxyMemoryLimit.Name)
	if !said {
		return *w.settings.Resources.DeepCopy()
	}
	return out
}
