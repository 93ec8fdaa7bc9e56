package peermetadata

import (
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
	"github.com/weftmesh/weft/proxy/peer"

	"google.golang.org/protobuf/types/known/anypb"
)

// typed is a configuration as istiod writes it.
func typed(value string) string {
	return `{"@type": "type.googleapis.com/udpa.type.v1.TypedStruct", "type_url": "type.googleapis.com/io.istio.http.peer_metadata.Config", "value": ` + value + `}`
}

func metadata(name string) *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{"WORKLOAD_NAME": structpb.NewStringValue(name)}}
}

func outside(cluster string, external bool) bool { return external && cluster == "outside" }

// other is what another workload sends.
func other() *filter.Headers {
	l := peer.NewLocal("other", metadata("other"), nil)
	h := &filter.Headers{}
	h.Add(peer.HeaderID, l.ID)
	h.Add(peer.HeaderValue, l.Value)
	h.Add(peer.HeaderBaggage, l.Baggage)
	return h
}

const (
	inbound = `{"downstream_discovery": [{"istio_headers": {}}, {"workload_discovery": {}}], "downstream_propagation": [{"istio_headers": {}}]}`
	both    = `{"upstream_discovery": [{"istio_headers": {}}, {"workload_discovery": {}}], "upstream_propagation": [{"istio_headers": {"skip_external_clusters": true}}]}`
)

func TestServersSide(t *testing.T) {
	s := &filtertest.Stream{Req: other(), Resp: &filter.Headers{}}
	f := filtertest.Filter(t, Kind("me", metadata("me"), outside), typed(inbound), s)
	f.RequestHeaders(s, s.Req, true)
	if p := s.StreamInfo.Peer; p == nil || p.Name != "other" {
		t.Errorf("the client is %v", p)
	}
	if s.Req.Has(peer.HeaderID) || s.Req.Has(peer.HeaderValue) {
		t.Error("the headers reach the program")
	}
	f.ResponseHeaders(s, s.Resp, true)
	if s.Resp.Get(peer.HeaderID) != "me" || (&peer.Cache{}).Decode("", s.Resp.Get(peer.HeaderValue)).Name != "me" {
		t.Errorf("the answer says %q", s.Resp.Get(peer.HeaderID))
	}
	f.Done(s)

	// Who has not asked is told nothing.
	s = &filtertest.Stream{Req: &filter.Headers{}, Resp: &filter.Headers{}}
	f.RequestHeaders(s, s.Req, true)
	f.ResponseHeaders(s, s.Resp, true)
	if s.Resp.Len() != 0 || s.StreamInfo.Peer != nil {
		t.Errorf("%d headers, peer %v", s.Resp.Len(), s.StreamInfo.Peer)
	}
}

// clustered is a stream whose route has chosen a cluster.
type clustered struct {
	filtertest.Stream
	cluster string
}

func (c *clustered) Cluster() string { return c.cluster }

func TestClientsSide(t *testing.T) {
	for cluster, told := range map[string]bool{"inside": true, "outside": false} {
		s := &clustered{Stream: filtertest.Stream{Req: &filter.Headers{}, Resp: other()}, cluster: cluster}
		f := filtertest.Filter(t, Kind("me", metadata("me"), outside), typed(both), s)
		f.RequestHeaders(s, s.Req, true)
		if (s.Req.Get(peer.HeaderID) == "me") != told {
			t.Errorf("%s: told %q", cluster, s.Req.Get(peer.HeaderID))
		}
		f.ResponseHeaders(s, s.Resp, true)
		if p := s.StreamInfo.Upstream.Peer; p == nil || p.Name != "other" {
			t.Errorf("the server is %v", p)
		}
		if s.Resp.Has(peer.HeaderValue) {
			t.Error("the header reaches the client")
		}
	}
}

func TestBaggage(t *testing.T) {
	s := &clustered{Stream: filtertest.Stream{Req: other(), Resp: &filter.Headers{}}}
	f := filtertest.Filter(t, Kind("me", metadata("me"), nil),
		typed(`{"downstream_discovery": [{"baggage": {}}], "downstream_propagation": [{"baggage": {}}], "upstream_propagation": [{"baggage": {}}]}`), s)
	f.RequestHeaders(s, s.Req, true)
	if p := s.StreamInfo.Peer; p == nil || p.Name != "other" {
		t.Errorf("the client is %v", p)
	}
	f.ResponseHeaders(s, s.Resp, true)
	for _, h := range []*filter.Headers{s.Req, s.Resp} {
		if p := peer.ParseBaggage(h.Get(peer.HeaderBaggage)); p == nil || p.Name != "me" {
			t.Errorf("told %v", p)
		}
	}
}

func TestRefused(t *testing.T) {
	parse := func(c *filter.ParseContext, a *anypb.Any) error {
		_, err := Kind("me", nil, nil).Parse(c, a)
		return err
	}
	filtertest.Refused(t, parse, map[string]string{
		typed(`{"shared_with_upstream": true}`):                                      "value.shared_with_upstream",
		typed(`{"upstream_discovery": [{"upstream_filter_state": {}}]}`):             "value.upstream_discovery: [0].upstream_filter_state",
		typed(`{"downstream_discovery": [{}]}`):                                      "value.downstream_discovery: [0]",
		typed(`{"downstream_propagation": [{"workload_discovery": {}}]}`):            "workload_discovery",
		typed(`{"upstream_propagation": [{"istio_headers": {"x": true}}]}`):          "istio_headers: x",
		typed(`{"additional_labels": "x"}`):                                          "value.additional_labels",
		`{"@type": "type.googleapis.com/udpa.type.v1.TypedStruct", "type_url": "x"}`: "type_url",
	})
}
