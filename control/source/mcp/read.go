package mcp

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"time"

	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"
	mcppb "istio.io/api/mcp/v1alpha1"

	// Bodies are of these messages.
	_ "istio.io/api/mesh/v1alpha1"
	_ "istio.io/api/networking/v1alpha3"
	_ "istio.io/api/networking/v1beta1"
	_ "istio.io/api/security/v1beta1"
	_ "istio.io/api/telemetry/v1alpha1"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// meshType is the mesh configuration, which is no resource of Kubernetes.
const meshType = "core/v1alpha1/MeshConfig"

// kinds are the types that are asked for, "GROUP/VERSION/KIND", by the versions under
// which Istio asks for them.
var kinds = []string{
	meshType,
	"networking.istio.io/v1/DestinationRule", "networking.istio.io/v1alpha3/EnvoyFilter", "networking.istio.io/v1/Gateway",
	"networking.istio.io/v1beta1/ProxyConfig", "networking.istio.io/v1/ServiceEntry", "networking.istio.io/v1/Sidecar",
	"networking.istio.io/v1/VirtualService", "networking.istio.io/v1/WorkloadEntry", "networking.istio.io/v1/WorkloadGroup",
	"security.istio.io/v1/AuthorizationPolicy", "security.istio.io/v1/PeerAuthentication", "security.istio.io/v1/RequestAuthentication",
	"telemetry.istio.io/v1/Telemetry",
}

// read makes of a response what the server has of a type. On an error nothing changes.
func (s *Source) read(o *offer, r *discoverypb.DiscoveryResponse) error {
	next := &offer{objects: map[model.Key][]model.Object{}}
	for _, a := range r.GetResources() {
		m := &mcppb.Resource{}
		if err := a.UnmarshalTo(m); err != nil {
			return err
		}
		text, file, err := s.document(r.GetTypeUrl(), m)
		if err != nil {
			return fmt.Errorf("%s: %w", m.GetMetadata().GetName(), err)
		}
		for _, d := range s.dec.Decode(text, document.Input{Source: s.Name(), File: file}) {
			next.add(o, d)
		}
	}
	o.objects, o.findings, o.refused = next.objects, next.findings, ""
	return nil
}

// add adds a document, or its last good version.
func (o *offer) add(before *offer, d document.Result) {
	o.findings = append(o.findings, d.Findings...)
	if !d.Bad {
		o.objects[d.Key] = d.Objects
		return
	}
	if old := before.objects[d.Key]; old != nil {
		o.objects[d.Key] = old
		o.findings = append(o.findings, document.LastGood(d.Key, old[0].Head().Origin))
	}
}

// document writes a resource as the document that would stand in a file, whose name says
// where it comes from.
func (s *Source) document(typ string, m *mcppb.Resource) (text []byte, file string, err error) {
	body, err := m.GetBody().UnmarshalNew()
	if err != nil {
		return nil, "", err
	}
	spec, err := protojson.Marshal(body)
	if err != nil {
		return nil, "", err
	}
	if typ == meshType {
		return spec, Scheme + path.Join(s.address, "mesh.yaml"), nil
	}
	namespace, name, ok := strings.Cut(m.GetMetadata().GetName(), "/")
	if !ok {
		return nil, "", fmt.Errorf("the name must be NAMESPACE/NAME, got %q", m.GetMetadata().GetName())
	}
	at := strings.LastIndexByte(typ, '/')
	meta := map[string]any{"name": name, "labels": m.GetMetadata().GetLabels(), "annotations": m.GetMetadata().GetAnnotations()}
	if namespace != "" {
		meta["namespace"] = namespace
	}
	if t := m.GetMetadata().GetCreateTime(); t.IsValid() && t.AsTime().Unix() != 0 {
		meta["creationTimestamp"] = t.AsTime().UTC().Format(time.RFC3339)
	}
	text, err = json.Marshal(map[string]any{"apiVersion": typ[:at], "kind": typ[at+1:], "metadata": meta, "spec": json.RawMessage(spec)})
	return text, Scheme + path.Join(s.address, typ[at+1:], namespace, name), err
}
