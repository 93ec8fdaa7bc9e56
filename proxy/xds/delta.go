package xds

import (
	"fmt"
	"slices"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/wire"
)

// delta is a stream of the incremental variant.
type delta struct {
	client  *Client
	stream  grpc.BidiStreamingClient[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]
	sent    map[string]*sentType
	greeted bool // the node has been sent
	begun   bool // all subscriptions have been looked at
}

func (s *delta) recv() (proto.Message, error) { return s.stream.Recv() }

func (s *delta) due() <-chan time.Time { return nil }

func (s *delta) later() error { return nil }

// health implements dialect.
func (s *delta) health(failure *statuspb.Status) error {
	return s.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: wire.TypeHealth, ErrorDetail: failure})
}

// sentType is what the server knows of a type's subscription.
type sentType struct {
	all   bool
	names map[string]bool
}

func (s *delta) send(r *discoveryv3.DeltaDiscoveryRequest) error {
	if !s.greeted {
		r.Node = s.client.opt.Node
		s.greeted = true
	}
	if err := s.stream.Send(r); err != nil {
		return fmt.Errorf("ADS stream: send %s: %w", short(r.TypeUrl), err)
	}
	return nil
}

// subscribe implements dialect.
func (s *delta) subscribe() error {
	whole := !s.begun
	s.begun = true
	for _, w := range s.client.subs.snapshot(whole) {
		s.client.forget(w)
		t := s.sent[w.typeURL]
		first := t == nil
		if first {
			if !w.all && len(w.names) == 0 {
				continue // an empty first request would mean all
			}
			t = &sentType{names: map[string]bool{}}
			s.sent[w.typeURL] = t
		}
		r := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: w.typeURL}
		diff(w, t, r)
		if first {
			if w.all && len(r.ResourceNamesSubscribe) == 1 {
				r.ResourceNamesSubscribe = nil // the wildcard that every server knows
			}
			r.InitialResourceVersions = s.client.versions[w.typeURL]
		} else if len(r.ResourceNamesSubscribe)+len(r.ResourceNamesUnsubscribe) == 0 {
			continue
		}
		if err := s.send(r); err != nil {
			return err
		}
	}
	return nil
}

// forget drops the versions of what the Handler let go of.
func (c *Client) forget(w wanted) {
	for _, list := range [][]string{w.again, w.forgotten} {
		for _, n := range list {
			delete(c.versions[w.typeURL], n)
		}
	}
	if w.all {
		return
	}
	for _, n := range w.dropped {
		delete(c.versions[w.typeURL], n)
	}
}

// diff puts into r what leads from t to w, and makes t equal to w.
func diff(w wanted, t *sentType, r *discoveryv3.DeltaDiscoveryRequest) {
	if w.all && !t.all {
		r.ResourceNamesSubscribe = append(r.ResourceNamesSubscribe, "*")
		t.all = true
	}
	for _, n := range w.names {
		if !t.names[n] {
			t.names[n] = true
			r.ResourceNamesSubscribe = append(r.ResourceNamesSubscribe, n)
		}
	}
	for _, n := range w.again {
		if !slices.Contains(r.ResourceNamesSubscribe, n) {
			r.ResourceNamesSubscribe = append(r.ResourceNamesSubscribe, n)
		}
	}
	for _, n := range w.dropped {
		if t.names[n] {
			delete(t.names, n)
			r.ResourceNamesUnsubscribe = append(r.ResourceNamesUnsubscribe, n)
		}
	}
}

// answer implements dialect.
func (s *delta) answer(m proto.Message) error {
	r, ok := m.(*discoveryv3.DeltaDiscoveryResponse)
	if !ok {
		return fmt.Errorf("BUG: %T on a delta stream", m)
	}
	return s.send(&discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: r.TypeUrl, ResponseNonce: r.Nonce, ErrorDetail: s.client.refuse(r.TypeUrl, s.client.apply(r)),
	})
}

// apply hands a response to the Handler and remembers the accepted versions.
func (c *Client) apply(r *discoveryv3.DeltaDiscoveryResponse) []Rejection {
	u := Update{Type: r.TypeUrl, Removed: r.RemovedResources, Set: make([]Resource, 0, len(r.Resources))}
	var rejected []Rejection
	for _, res := range r.Resources {
		if b := res.Resource; b != nil && b.TypeUrl != r.TypeUrl {
			rejected = append(rejected, Rejection{res.Name, fmt.Errorf("body is a %s", b.TypeUrl)})
			continue
		}
		u.Set = append(u.Set, Resource{Name: res.Name, Version: res.Version, Body: res.Resource, Aliases: res.Aliases})
	}
	rejected = append(rejected, c.opt.Handler(u)...)
	have := c.versions[r.TypeUrl]
	if have == nil {
		have = map[string]string{}
		c.versions[r.TypeUrl] = have
	}
	for _, n := range r.RemovedResources {
		delete(have, n)
	}
	bad := make(map[string]bool, len(rejected))
	for _, x := range rejected {
		bad[x.Name] = true
	}
	for _, res := range u.Set {
		if !bad[res.Name] && c.subs.wants(r.TypeUrl, res.Name) {
			have[res.Name] = res.Version
		}
	}
	return rejected
}
