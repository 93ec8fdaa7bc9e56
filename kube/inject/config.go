package inject

import (
	"encoding/json"
	"fmt"
	"maps"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"istio.io/api/annotation"
	meshpb "istio.io/api/mesh/v1alpha1"
	"sigs.k8s.io/yaml"
)

// DefaultMesh is the mesh configuration of who has none.
func DefaultMesh() *meshpb.MeshConfig {
	return &meshpb.MeshConfig{TrustDomain: "cluster.local", EnablePrometheusMerge: wrapperspb.Bool(true), DefaultConfig: &meshpb.ProxyConfig{}}
}

// ParseMesh reads a MeshConfig in YAML. What is wrong with it and does not concern
// injection is for the control plane's sources to say; here it is passed over.
func ParseMesh(text []byte) (*meshpb.MeshConfig, error) {
	raw, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, fmt.Errorf("mesh configuration: %w", err)
	}
	m := DefaultMesh()
	own := &meshpb.MeshConfig{}
	if string(raw) == "null" {
		return m, nil
	}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(raw, own); err != nil {
		return nil, fmt.Errorf("mesh configuration: %w", err)
	}
	if own.TrustDomain == "" {
		own.TrustDomain = m.TrustDomain
	}
	if own.EnablePrometheusMerge == nil {
		own.EnablePrometheusMerge = m.EnablePrometheusMerge
	}
	if own.DefaultConfig == nil {
		own.DefaultConfig = m.DefaultConfig
	}
	return own, nil
}

// configOf is the proxy's configuration: the mesh's, what ProxyConfig resources say, and
// what is written at the pod.
func (i *Injector) configOf(r Request) (*meshpb.ProxyConfig, error) {
	list := []*meshpb.ProxyConfig{i.mesh.GetDefaultConfig(), r.Config}
	if text, ok := r.Pod.Annotations[annotation.ProxyConfig.Name]; ok {
		own, err := parseProxyConfig(text)
		if err != nil {
			return nil, wrongAnnotation(r.Pod, r.Namespace.Name, annotation.ProxyConfig.Name, err)
		}
		list = append(list, own)
	}
	out, err := overlay(list...)
	if err != nil {
		return nil, fmt.Errorf("%s: ProxyConfig: %w", title(r.Pod, r.Namespace.Name), err)
	}
	return out, nil
}

// parseProxyConfig reads a ProxyConfig in YAML; unknown fields are errors.
func parseProxyConfig(text string) (*meshpb.ProxyConfig, error) {
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		return nil, err
	}
	c := &meshpb.ProxyConfig{}
	if string(raw) == "null" {
		return c, nil
	}
	return c, protojson.Unmarshal(raw, c)
}

// either are fields of which a ProxyConfig has one.
var either = [][2]string{{"serviceCluster", "tracingServiceName"}}

// overlay puts the later configurations over the earlier ones, field by field; maps are
// merged, lists replaced.
func overlay(list ...*meshpb.ProxyConfig) (*meshpb.ProxyConfig, error) {
	tree := map[string]any{}
	for _, c := range list {
		if c == nil {
			continue
		}
		raw, err := protojson.Marshal(c)
		if err != nil {
			return nil, err
		}
		var over map[string]any
		if err := json.Unmarshal(raw, &over); err != nil {
			return nil, err
		}
		for _, e := range either {
			for k, name := range e {
				if over[name] != nil {
					delete(tree, e[1-k])
				}
			}
		}
		mergeTree(tree, over)
	}
	raw, err := json.Marshal(tree)
	if err != nil {
		return nil, err
	}
	out := &meshpb.ProxyConfig{}
	return out, protojson.Unmarshal(raw, out)
}

func mergeTree(into, over map[string]any) {
	for k, v := range over {
		if sub, ok := v.(map[string]any); ok {
			if old, ok := into[k].(map[string]any); ok {
				mergeTree(old, sub)
				continue
			}
			v = maps.Clone(sub)
		}
		into[k] = v
	}
}

// istiosDiscovery is where a proxy asks that is told nothing.
const istiosDiscovery = "istiod.istio-system.svc:15012"

// proxyConfigText is what the proxy is told: JSON, with the control plane's address where
// that is not the one that it would find by itself.
func proxyConfigText(c *meshpb.ProxyConfig, discovery string) (string, error) {
	raw, err := protojson.Marshal(c)
	if err != nil {
		return "", err
	}
	var tree map[string]any
	if err := json.Unmarshal(raw, &tree); err != nil {
		return "", err
	}
	if c.DiscoveryAddress == "" && discovery != istiosDiscovery {
		tree["discoveryAddress"] = discovery
	}
	raw, err = json.Marshal(tree)
	return string(raw), err
}
