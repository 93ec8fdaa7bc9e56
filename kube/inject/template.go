package inject

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	meshpb "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

// TemplateData is what a template may read; the names are Istio's, whose users have
// written templates for them.
type TemplateData struct {
	// TypeMeta and DeploymentMeta are of the pod's owner.
	TypeMeta       metav1.TypeMeta
	DeploymentMeta types.NamespacedName
	ObjectMeta     metav1.ObjectMeta
	Spec           corev1.PodSpec
	ProxyConfig    *meshpb.ProxyConfig
	MeshConfig     *meshpb.MeshConfig
	// Values are Settings.Values, over what Settings say in the shape of Istio's.
	Values                     map[string]any
	Revision                   string
	NativeSidecars             bool
	ProxyImage, ProxyInitImage string
	ProxyUID, ProxyGID         int64
	InboundTrafficPolicyMode   string
	CompliancePolicy           string
}

// template is the tree that a template makes of the pod.
func (w *work) template(name string) (map[string]any, error) {
	if t := w.templates[name]; t != nil {
		return w.execute(t)
	}
	builtIn := map[string]func() (*corev1.Pod, error){
		TemplateSidecar: w.sidecar, TemplateGateway: w.gateway, TemplateGRPCAgent: w.grpcAgent, TemplateGRPCSimple: w.grpcSimple,
	}
	makes := builtIn[name]
	if makes == nil {
		known := append(slices.Collect(maps.Keys(builtIn)), slices.Collect(maps.Keys(w.templates))...)
		slices.Sort(known)
		return nil, fmt.Errorf("there is none of that name: inject.istio.io/templates takes %s", strings.Join(slices.Compact(known), ", "))
	}
	pod, err := makes()
	if err != nil {
		return nil, err
	}
	return treeOf(pod)
}

// maxTemplate bounds what a template may write.
const maxTemplate = 1 << 20

func (w *work) execute(t *template.Template) (map[string]any, error) {
	var b bytes.Buffer
	if err := t.Execute(&limited{&b, maxTemplate}, w.data()); err != nil {
		return nil, err
	}
	var tree map[string]any
	if err := yaml.Unmarshal(b.Bytes(), &tree); err != nil {
		return nil, fmt.Errorf("it makes no YAML of a Pod: %w", err)
	}
	return tree, nil
}

// limited is a writer that ends.
type limited struct {
	to   *bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, fmt.Errorf("it writes more than %d bytes", maxTemplate)
	}
	return l.to.Write(p)
}

func (w *work) data() *TemplateData {
	policy := "passthrough"
	if w.mesh.GetInboundTrafficPolicy().GetMode() == meshpb.MeshConfig_InboundTrafficPolicy_LOCALHOST {
		policy = "localhost"
	}
	return &TemplateData{
		TypeMeta:       metav1.TypeMeta{APIVersion: w.r.Owner.APIVersion, Kind: w.r.Owner.Kind},
		DeploymentMeta: types.NamespacedName{Namespace: w.r.Owner.Namespace, Name: w.r.Owner.Name},
		ObjectMeta:     w.pod.ObjectMeta, Spec: w.pod.Spec, ProxyConfig: w.config, MeshConfig: w.mesh, Values: w.values(), Revision: w.settings.Revision,
		NativeSidecars: w.settings.native(), ProxyImage: w.image(), ProxyInitImage: w.initImage(), ProxyUID: w.uid, ProxyGID: w.gid, InboundTrafficPolicyMode: policy,
	}
}

// values are those of the settings that Istio's templates read, and the settings' own.
func (w *work) values() map[string]any {
	s := w.settings
	out := map[string]any{
		"revision": s.Revision,
		"global": map[string]any{
			"istioNamespace": s.SystemNamespace, "network": w.network, "meshID": s.MeshID, "imagePullPolicy": string(s.ImagePullPolicy), "caAddress": s.CAAddress,
			"multiCluster": map[string]any{"clusterName": w.cluster}, "logging": map[string]any{"level": s.AgentLogLevel}, "logAsJson": s.LogAsJSON,
			"sds": map[string]any{"token": map[string]any{"aud": s.TokenAudience}}, "pilotCertProvider": "istiod", "trustBundleName": s.CAConfigMap,
			"proxy": map[string]any{
				"clusterDomain": s.ClusterDomain, "image": s.Image, "logLevel": s.LogLevel, "componentLogLevel": s.ComponentLogLevel, "statusPort": w.statusPort,
				"includeIPRanges": s.Capture.IncludeOutboundIPRanges, "excludeIPRanges": s.Capture.ExcludeOutboundIPRanges,
				"includeInboundPorts": s.Capture.IncludeInboundPorts, "excludeInboundPorts": s.Capture.ExcludeInboundPorts,
				"includeOutboundPorts": s.Capture.IncludeOutboundPorts, "excludeOutboundPorts": s.Capture.ExcludeOutboundPorts,
			},
			"proxy_init": map[string]any{"image": s.InitImage},
		},
	}
	mergeTree(out, s.Values)
	return out
}

func parseTemplates(texts map[string]string) (map[string]*template.Template, error) {
	out := map[string]*template.Template{}
	for name, text := range texts {
		t, err := template.New(name).Funcs(functions()).Option("missingkey=default").Parse(text)
		if err != nil {
			return nil, fmt.Errorf("injection settings: templates.%s: %w", name, err)
		}
		out[name] = t
	}
	return out, nil
}

// functions are sprig's, without those that look at the machine, and Istio's.
func functions() template.FuncMap {
	f := sprig.TxtFuncMap()
	for _, name := range []string{"env", "expandenv", "getHostByName"} {
		delete(f, name)
	}
	maps.Copy(f, template.FuncMap{
		"isset":               func(m map[string]string, key string) bool { _, ok := m[key]; return ok },
		"annotation":          annotationOr,
		"valueOrDefault":      valueOr,
		"toJSON":              jsonOf[map[string]string],
		"structToJSON":        jsonOf[any],
		"protoToJSON":         func(m proto.Message) (string, error) { raw, err := protojson.Marshal(m); return string(raw), err },
		"fromJSON":            func(s string) (out any, err error) { err = json.Unmarshal([]byte(s), &out); return out, err },
		"toYaml":              func(v any) (string, error) { raw, err := yaml.Marshal(v); return string(raw), err },
		"omitNil":             prune,
		"indent":              indent,
		"directory":           func(p string) string { dir, _ := path.Split(p); return dir },
		"contains":            func(needle, in string) bool { return strings.Contains(in, needle) },
		"toLower":             strings.ToLower,
		"formatDuration":      func(d *durationpb.Duration) string { return d.AsDuration().String() },
		"excludeInboundPort":  excludePort,
		"includeInboundPorts": func(list []corev1.Container) string { return portsOf(list, "") },
		"applicationPorts":    func(list []corev1.Container) string { return portsOf(list, proxyName) },
		"kubevirtInterfaces":  func(s string) string { return s },
		"excludeInterfaces":   func(s string) string { return s },
		"appendMultusNetwork": func(list, _ string) string { return addNetwork(list) },
		"omit":                omitKeys,
		"strdict":             dictOf,
		"mergeMaps":           mergeMaps,
		"toJsonMap":           func(list ...map[string]string) (string, error) { return jsonOf(mergeMaps(list...)) },
	})
	return f
}

func annotationOr(meta metav1.ObjectMeta, name string, otherwise any) string {
	if v, ok := meta.Annotations[name]; ok {
		return v
	}
	return fmt.Sprint(otherwise)
}

func valueOr(v, otherwise any) any {
	if v == nil || v == "" {
		return otherwise
	}
	return v
}

func jsonOf[T any](v T) (string, error) {
	raw, err := json.Marshal(v)
	return string(raw), err
}

// indent indents all lines but the first.
func indent(n int, text string) string {
	return strings.ReplaceAll(text, "\n", "\n"+strings.Repeat(" ", n))
}

func excludePort(port any, list string) string {
	p := strings.TrimSpace(fmt.Sprint(port))
	var out []string
	for x := range strings.SplitSeq(list, ",") {
		if x = strings.TrimSpace(x); x != "" {
			out = append(out, x)
		}
	}
	if p == "" || p == "0" || slices.Contains(out, p) {
		return list
	}
	return strings.Join(append(out, p), ",")
}

// portsOf are the TCP ports of containers, but of one.
func portsOf(list []corev1.Container, but string) string {
	var out []string
	for _, c := range list {
		if but != "" && c.Name == but {
			continue
		}
		for _, p := range c.Ports {
			if p.Protocol != corev1.ProtocolUDP && p.Protocol != corev1.ProtocolSCTP {
				out = append(out, fmt.Sprint(p.ContainerPort))
			}
		}
	}
	return strings.Join(out, ",")
}

func omitKeys(m map[string]string, keys ...string) map[string]string {
	out := maps.Clone(m)
	for _, k := range keys {
		delete(out, k)
	}
	return out
}

func dictOf(pairs ...string) map[string]string {
	out := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = ""
		if i+1 < len(pairs) {
			out[pairs[i]] = pairs[i+1]
		}
	}
	return out
}

func mergeMaps(list ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range list {
		maps.Copy(out, m)
	}
	return out
}
