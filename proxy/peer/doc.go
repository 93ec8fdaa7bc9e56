// Package peer is how Istio's proxies tell each other who they are, for the
// labels of metrics: a pair of headers on requests and responses
// (x-envoy-peer-metadata), the baggage header of the ambient mesh, and a
// prologue on TCP connections whose TLS has agreed on istio-peer-exchange.
//
// Formats are those of istio/proxy, so that its proxies understand Weft's and
// the other way round. What a peer says of itself is not proven: it is for
// people to read, never for a decision. What cannot be decoded is a peer that
// is not known, and no error for its traffic.
//
// The package knows no filters' configuration: proxy/http/peermetadata and the
// network filter of this package's NetworkKind carry out that.
package peer

import (
	"encoding/base64"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/proxy/filter"
)

// Headers of the exchange over HTTP.
const (
	HeaderID      = "x-envoy-peer-metadata-id"
	HeaderValue   = "x-envoy-peer-metadata"
	HeaderBaggage = "baggage"
)

// Labels that have a place of their own in a filter.Peer.
const (
	labelService  = "service.istio.io/canonical-name"
	labelRevision = "service.istio.io/canonical-revision"
	labelApp      = "app"
	labelVersion  = "version"
)

// kinds are the kinds of workloads that an owner may be.
var kinds = []string{"deployment", "pod", "job", "cronjob"}

// parseStruct reads the metadata of a node, or what a peer sent of it.
// additional are the labels to keep beside the four.
func parseStruct(s *structpb.Struct, additional []string) *filter.Peer {
	text := func(m *structpb.Struct, key string) string { return m.GetFields()[key].GetStringValue() }
	labels := s.GetFields()["LABELS"].GetStructValue()
	p := &filter.Peer{
		WorkloadRef: filter.WorkloadRef{
			Name: text(s, "WORKLOAD_NAME"), Namespace: text(s, "NAMESPACE"), Cluster: text(s, "CLUSTER_ID"),
			App: text(labels, labelApp), Version: text(labels, labelVersion),
			Service: text(labels, labelService), Revision: text(labels, labelRevision),
		},
		Instance: text(s, "NAME"),
		Kind:     ownerKind(text(s, "OWNER"), text(s, "WORKLOAD_NAME")),
	}
	for _, name := range additional {
		if v, ok := labels.GetFields()[name]; ok {
			if p.Labels == nil {
				p.Labels = map[string]string{}
			}
			p.Labels[name] = v.GetStringValue()
		}
	}
	return p
}

// ownerKind is the kind in "kubernetes://apis/apps/v1/namespaces/x/deployments/name".
func ownerKind(owner, workload string) string {
	rest, ok := strings.CutSuffix(owner, "s/"+workload)
	if !ok || workload == "" {
		return ""
	}
	for _, k := range kinds {
		if rest[strings.LastIndexByte(rest, '/')+1:] == k {
			return k
		}
	}
	return ""
}

// encode is the metadata as Istio's proxies send it.
func encode(p *filter.Peer) *structpb.Struct {
	fields, labels := map[string]*structpb.Value{}, map[string]*structpb.Value{}
	put := func(m map[string]*structpb.Value, key, value string) {
		if value != "" {
			m[key] = structpb.NewStringValue(value)
		}
	}
	put(fields, "NAME", p.Instance)
	put(fields, "NAMESPACE", p.Namespace)
	put(fields, "WORKLOAD_NAME", p.Name)
	put(fields, "CLUSTER_ID", p.Cluster)
	put(labels, labelService, p.Service)
	put(labels, labelRevision, p.Revision)
	put(labels, labelApp, p.App)
	put(labels, labelVersion, p.Version)
	for k, v := range p.Labels {
		put(labels, k, v)
	}
	fields["LABELS"] = structpb.NewStructValue(&structpb.Struct{Fields: labels})
	if p.Kind != "" {
		put(fields, "OWNER", "kubernetes://apis/apps/v1/namespaces/"+p.Namespace+"/"+p.Kind+"s/"+p.Name)
	}
	return &structpb.Struct{Fields: fields}
}

// marshal is deterministic, so that a peer sends the same bytes each time.
func marshal(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic("BUG: peer metadata: " + err.Error())
	}
	return b
}

// decodeHeader reads the value of HeaderValue; nil: it is not readable.
func decodeHeader(value string, additional []string) *filter.Peer {
	b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
	if err != nil {
		return nil
	}
	s := &structpb.Struct{}
	if proto.Unmarshal(b, s) != nil {
		return nil
	}
	return parseStruct(s, additional)
}

// Local is what a proxy tells of itself.
type Local struct {
	// ID is the node's id, Value that of HeaderValue, Baggage that of HeaderBaggage.
	ID, Value, Baggage string
	// prologue is what goes first on a TCP connection.
	prologue []byte
}

// NewLocal makes it of the node's id and metadata; labels beside the canonical
// ones are sent when they are among additional.
func NewLocal(id string, metadata *structpb.Struct, additional []string) *Local {
	p := parseStruct(metadata, additional)
	s := encode(p)
	return &Local{
		ID: id, Value: base64.StdEncoding.EncodeToString(marshal(s)), Baggage: baggage(p), prologue: prologue(id, s),
	}
}
