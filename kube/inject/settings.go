package inject

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// Settings are what an installation says about injection. The zero value of a field
// means its default, which Defaults has.
type Settings struct {
	// Revision is that of the control plane that injects; "default" is written where
	// it is empty.
	Revision string `json:"revision,omitempty"`
	// SystemNamespace is the control plane's own, of which no pod is ever injected but
	// gateways, which ask for it by their label.
	SystemNamespace string `json:"systemNamespace,omitempty"`
	// Policy is for pods that say nothing of themselves, in namespaces that are
	// selected: PolicyEnabled or PolicyDisabled.
	Policy Policy `json:"policy,omitempty"`
	// NeverInject and AlwaysInject are for such pods, too; the first has the first word.
	NeverInject  []metav1.LabelSelector `json:"neverInjectSelector,omitempty"`
	AlwaysInject []metav1.LabelSelector `json:"alwaysInjectSelector,omitempty"`

	// Image is that of weft-proxy, InitImage the same for the init container ("": Image),
	// AgentImage that of weft, for what weft-proxy does not do.
	Image            string            `json:"image,omitempty"`
	InitImage        string            `json:"initImage,omitempty"`
	AgentImage       string            `json:"agentImage,omitempty"`
	ImagePullPolicy  corev1.PullPolicy `json:"imagePullPolicy,omitempty"`
	ImagePullSecrets []string          `json:"imagePullSecrets,omitempty"`
	// Resources are the proxy's, where no annotation says otherwise.
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`

	// ControlPlane is the host:port of xDS, CAAddress of the certificate authority
	// ("": the same).
	ControlPlane string `json:"controlPlane,omitempty"`
	CAAddress    string `json:"caAddress,omitempty"`
	// CAConfigMap is, in each namespace, the ConfigMap whose key root-cert.pem is the
	// mesh's root; CRLConfigMap may be there with revoked certificates.
	CAConfigMap  string `json:"caConfigMap,omitempty"`
	CRLConfigMap string `json:"crlConfigMap,omitempty"`
	// MountCerts mounts the Secret istio.SERVICEACCOUNT at /etc/certs.
	MountCerts bool `json:"mountCerts,omitempty"`
	// TokenAudience is whom the proxy's token is for.
	TokenAudience string `json:"tokenAudience,omitempty"`

	// ClusterID, Network and MeshID are told to the control plane; MeshID "": the
	// trust domain.
	ClusterID     string `json:"clusterID,omitempty"`
	Network       string `json:"network,omitempty"`
	MeshID        string `json:"meshID,omitempty"`
	ClusterDomain string `json:"clusterDomain,omitempty"`

	// NativeSidecars nil: yes. Kubernetes has them since 1.29.
	NativeSidecars *bool `json:"nativeSidecars,omitempty"`
	// HoldApplication starts programs after the proxy, where it is no native sidecar.
	HoldApplication bool `json:"holdApplicationUntilProxyStarts,omitempty"`
	// CNI, when set, is what redirects in place of the init container.
	CNI *CNI `json:"cni,omitempty"`
	// Capture is what is redirected, where no annotation says otherwise.
	Capture Capture `json:"capture,omitzero"`

	// StatusPort nil: that of the ProxyConfig, or 15020. 0 serves no probes.
	StatusPort   *uint16 `json:"statusPort,omitempty"`
	Readiness    Probe   `json:"readinessProbe,omitzero"`
	NoStartup    bool    `json:"noStartupProbe,omitempty"`
	StartupTries int32   `json:"startupProbeFailureThreshold,omitempty"`
	// KeepProbes leaves the programs' probes as they are.
	KeepProbes bool `json:"keepProbes,omitempty"`

	LogLevel          string `json:"logLevel,omitempty"`
	ComponentLogLevel string `json:"componentLogLevel,omitempty"`
	AgentLogLevel     string `json:"agentLogLevel,omitempty"`
	LogAsJSON         bool   `json:"logAsJSON,omitempty"`

	// Templates are added to those that are built in, or replace them: YAML of a Pod, made
	// by Go's text/template of TemplateData, that is merged over the pod. Aliases are
	// several templates by one name. DefaultTemplates are for pods that name none.
	Templates        map[string]string   `json:"templates,omitempty"`
	Aliases          map[string][]string `json:"aliases,omitempty"`
	DefaultTemplates []string            `json:"defaultTemplates,omitempty"`
	// Values are what Templates may read as .Values.
	Values map[string]any `json:"values,omitempty"`
	// Annotations are written on every pod that is injected.
	Annotations map[string]string `json:"injectedAnnotations,omitempty"`
}

// Policy is whether pods are injected that say nothing of themselves.
type Policy string

// Policies.
const (
	PolicyEnabled  Policy = "enabled"
	PolicyDisabled Policy = "disabled"
)

// EngineGo is the engine that runs in pods.
const EngineGo = "go"

// CNI says that a plug-in redirects: the pod gets annotations for it, and an init container
// that checks that it has done so.
type CNI struct {
	// Multus names the plug-in in the pod's list of networks, where it is not chained.
	Multus bool `json:"multus,omitempty"`
}

// Capture is what is redirected, in the words of the annotations.
type Capture struct {
	IncludeOutboundIPRanges string `json:"includeOutboundIPRanges,omitempty"`
	ExcludeOutboundIPRanges string `json:"excludeOutboundIPRanges,omitempty"`
	IncludeInboundPorts     string `json:"includeInboundPorts,omitempty"`
	ExcludeInboundPorts     string `json:"excludeInboundPorts,omitempty"`
	IncludeOutboundPorts    string `json:"includeOutboundPorts,omitempty"`
	ExcludeOutboundPorts    string `json:"excludeOutboundPorts,omitempty"`
}

// Probe is how the kubelet asks, in seconds and tries.
type Probe struct {
	InitialDelay int32 `json:"initialDelaySeconds,omitempty"`
	Period       int32 `json:"periodSeconds,omitempty"`
	Failures     int32 `json:"failureThreshold,omitempty"`
}

// Defaults are what holds where Settings say nothing.
func Defaults() Settings {
	all := "*"
	return Settings{
		SystemNamespace: "weft-system", Policy: PolicyEnabled, Image: "localhost/weft-proxy:latest", AgentImage: "localhost/weft:latest",
		ControlPlane: "weft-control.weft-system.svc:15012", CAConfigMap: "weft-ca-root-cert", CRLConfigMap: "istio-ca-crl", TokenAudience: "istio-ca",
		ClusterID: "Kubernetes", ClusterDomain: "cluster.local",
		Capture:   Capture{IncludeOutboundIPRanges: all, IncludeInboundPorts: all},
		Readiness: Probe{Period: 15, Failures: 4}, StartupTries: 600,
		LogLevel: "warning", ComponentLogLevel: "misc:error", AgentLogLevel: "default:info",
		DefaultTemplates: []string{TemplateSidecar},
		Resources: &corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("40Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("1Gi")},
		},
	}
}

// ParseSettings reads YAML. A field that is not known is an error, which names it.
func ParseSettings(text []byte) (Settings, error) {
	raw, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return Settings{}, fmt.Errorf("injection settings: %w", err)
	}
	var tree any
	if err := json.Unmarshal(raw, &tree); err != nil {
		return Settings{}, fmt.Errorf("injection settings: %w", err)
	}
	if raw, err = json.Marshal(prune(tree)); err != nil {
		return Settings{}, fmt.Errorf("injection settings: %w", err)
	}
	var s Settings
	if err := yaml.UnmarshalStrict(raw, &s); err != nil {
		return Settings{}, fmt.Errorf("injection settings: %w", err)
	}
	s = s.complete()
	return s, s.check()
}

// complete fills in the defaults.
func (s Settings) complete() Settings {
	d := Defaults()
	s.SystemNamespace, s.Policy = cmp.Or(s.SystemNamespace, d.SystemNamespace), cmp.Or(s.Policy, d.Policy)
	s.Image = cmp.Or(s.Image, d.Image)
	s.InitImage, s.AgentImage = cmp.Or(s.InitImage, s.Image), cmp.Or(s.AgentImage, d.AgentImage)
	s.ControlPlane = cmp.Or(s.ControlPlane, d.ControlPlane)
	s.CAAddress = cmp.Or(s.CAAddress, s.ControlPlane)
	s.CAConfigMap, s.CRLConfigMap, s.TokenAudience = cmp.Or(s.CAConfigMap, d.CAConfigMap), cmp.Or(s.CRLConfigMap, d.CRLConfigMap), cmp.Or(s.TokenAudience, d.TokenAudience)
	s.ClusterID, s.ClusterDomain = cmp.Or(s.ClusterID, d.ClusterID), cmp.Or(s.ClusterDomain, d.ClusterDomain)
	s.Capture.IncludeOutboundIPRanges = cmp.Or(s.Capture.IncludeOutboundIPRanges, d.Capture.IncludeOutboundIPRanges)
	s.Capture.IncludeInboundPorts = cmp.Or(s.Capture.IncludeInboundPorts, d.Capture.IncludeInboundPorts)
	s.Readiness.Period, s.Readiness.Failures = cmp.Or(s.Readiness.Period, d.Readiness.Period), cmp.Or(s.Readiness.Failures, d.Readiness.Failures)
	s.StartupTries = cmp.Or(s.StartupTries, d.StartupTries)
	s.LogLevel, s.ComponentLogLevel = cmp.Or(s.LogLevel, d.LogLevel), cmp.Or(s.ComponentLogLevel, d.ComponentLogLevel)
	s.AgentLogLevel = cmp.Or(s.AgentLogLevel, d.AgentLogLevel)
	if s.Resources == nil {
		s.Resources = d.Resources
	}
	if len(s.DefaultTemplates) == 0 {
		s.DefaultTemplates = d.DefaultTemplates
	}
	return s
}

// check says what cannot be.
func (s Settings) check() error {
	switch s.Policy {
	case PolicyEnabled, PolicyDisabled:
	default:
		return fmt.Errorf("injection settings: policy: %q: want %s or %s", s.Policy, PolicyEnabled, PolicyDisabled)
	}
	for field, address := range map[string]string{"controlPlane": s.ControlPlane, "caAddress": s.CAAddress} {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return fmt.Errorf("injection settings: %s: %q: want host:port", field, address)
		}
	}
	for field, list := range map[string][]metav1.LabelSelector{"neverInjectSelector": s.NeverInject, "alwaysInjectSelector": s.AlwaysInject} {
		for i := range list {
			if _, err := metav1.LabelSelectorAsSelector(&list[i]); err != nil {
				return fmt.Errorf("injection settings: %s[%d]: %w", field, i, err)
			}
		}
	}
	return nil
}

// native tells whether proxies are native sidecars where no annotation says otherwise.
func (s Settings) native() bool { return s.NativeSidecars == nil || *s.NativeSidecars }

// prune takes null values out of a tree of JSON, which here say nothing.
func prune(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if x == nil {
				delete(v, k)
				continue
			}
			v[k] = prune(x)
		}
	case []any:
		for i := range v {
			v[i] = prune(v[i])
		}
	}
	return v
}
