package mcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	mcppb "istio.io/api/mcp/v1alpha1"
	meshpb "istio.io/api/mesh/v1alpha1"
	networkingpb "istio.io/api/networking/v1alpha3"
	securitypb "istio.io/api/security/v1beta1"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/file"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server offers what it is told to, over real connections.
type server struct {
	discoverypb.UnimplementedAggregatedDiscoveryServiceServer
	mu      sync.Mutex
	offers  map[string][]*anypb.Any // by type
	changed chan string             // a type to send anew
	answers chan *discoverypb.DiscoveryRequest
	silent  string // a type that is never answered
}

func (s *server) StreamAggregatedResources(stream discoverypb.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	requests := make(chan *discoverypb.DiscoveryRequest)
	go func() {
		defer close(requests)
		for {
			r, err := stream.Recv()
			if err != nil {
				return
			}
			select {
			case requests <- r:
			case <-stream.Context().Done():
				return
			}
		}
	}()
	send := func(typ string) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		return stream.Send(&discoverypb.DiscoveryResponse{TypeUrl: typ, VersionInfo: "v", Nonce: "n " + typ, Resources: s.offers[typ]})
	}
	for {
		select {
		case typ := <-s.changed:
			if err := send(typ); err != nil {
				return err
			}
		case r, ok := <-requests:
			switch {
			case !ok:
				return nil
			case r.GetResponseNonce() != "":
				if s.answers != nil {
					s.answers <- r
				}
			case r.GetTypeUrl() != s.silent:
				if err := send(r.GetTypeUrl()); err != nil {
					return err
				}
			}
		}
	}
}

func (s *server) set(typ string, list ...*anypb.Any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offers[typ] = list
}

// serve serves on an address ("" for a free one) until stop.
func (s *server) serve(t *testing.T, address string, opts ...grpc.ServerOption) (at string, stop func()) {
	t.Helper()
	if address == "" {
		address = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(opts...)
	discoverypb.RegisterAggregatedDiscoveryServiceServer(g, s)
	ended := make(chan error, 1)
	go func() { ended <- g.Serve(l) }()
	return l.Addr().String(), func() {
		g.Stop()
		<-ended
	}
}

func resource(t *testing.T, name string, body proto.Message) *anypb.Any {
	t.Helper()
	b, err := anypb.New(body)
	if err != nil {
		t.Fatal(err)
	}
	a, err := anypb.New(&mcppb.Resource{Metadata: &mcppb.Metadata{Name: name, Labels: map[string]string{"l": "v"}, Annotations: map[string]string{"a": "b"}}, Body: b})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

const (
	virtualService = "networking.istio.io/v1/VirtualService"
	authorization  = "security.istio.io/v1/AuthorizationPolicy"
)

func routes(t *testing.T, name, host string) *anypb.Any {
	return resource(t, name, &networkingpb.VirtualService{
		Hosts: []string{host}, Http: []*networkingpb.HTTPRoute{{Route: []*networkingpb.HTTPRouteDestination{{Destination: &networkingpb.Destination{Host: host}}}}},
	})
}

// run runs a source of a server and returns its deltas.
func run(t *testing.T, address string) <-chan model.Delta {
	t.Helper()
	return runAt(t, Scheme+address)
}

// runAt does so with the whole address.
func runAt(t *testing.T, address string) <-chan model.Delta {
	t.Helper()
	s, err := New(address, file.NewDecoder(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	out, ended := make(chan model.Delta), make(chan error, 1)
	go func() { ended <- s.Run(ctx, out) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return out
}

// text writes a delta: the objects, and what is found.
func text(d model.Delta) string {
	var b strings.Builder
	for _, o := range d.Upserts {
		switch o := o.(type) {
		case *model.RouteSet:
			fmt.Fprintf(&b, "%s %v; ", o.Key, o.Hosts)
		case *model.Mesh:
			fmt.Fprintf(&b, "mesh %s; ", o.TrustDomain)
		default:
			fmt.Fprintf(&b, "%s; ", o.Head().Key)
		}
	}
	for _, f := range d.Findings {
		fmt.Fprintf(&b, "%s %s; ", f.Code, f.Message)
	}
	return b.String()
}

// until takes deltas until one says something.
func until(t *testing.T, deltas <-chan model.Delta, want ...string) model.Delta {
	t.Helper()
	for d := range deltas {
		got := text(d)
		if !slices.ContainsFunc(want, func(w string) bool { return !strings.Contains(got, w) }) {
			return d
		}
		t.Logf("not yet: %s", got)
	}
	t.Fatal("no more deltas")
	return model.Delta{}
}

func TestFollows(t *testing.T) {
	s := &server{offers: map[string][]*anypb.Any{}, changed: make(chan string), answers: make(chan *discoverypb.DiscoveryRequest, 1000)}
	s.set(virtualService, routes(t, "shop/a", "a.shop.svc.cluster.local"))
	s.set(authorization, resource(t, "shop/deny", &securitypb.AuthorizationPolicy{}))
	s.set(meshType, resource(t, "istio-system/istio", &meshpb.MeshConfig{TrustDomain: "example.org"}))
	address, stop := s.serve(t, "")
	deltas := run(t, address)

	// The first delta has all types: no rule comes before the policy that bounds it.
	d := <-deltas
	for _, want := range []string{"VirtualService/shop/a [a.shop.svc.cluster.local]", "AuthorizationPolicy/shop/deny", "mesh example.org"} {
		if !strings.Contains(text(d), want) || !d.Full {
			t.Errorf("the first delta is %s, want %s too", text(d), want)
		}
	}
	if m := d.Upserts[len(d.Upserts)-2].Head(); m.Labels["l"] != "v" || m.Annotations["a"] != "b" || m.Origin.File != Scheme+address+"/"+string(m.Key.Kind)+"/shop/"+m.Key.Name {
		t.Errorf("metadata is %+v", m)
	}

	s.set(virtualService, routes(t, "shop/a", "b.shop.svc.cluster.local"), routes(t, "shop/c", "c.shop.svc.cluster.local"))
	s.changed <- virtualService
	until(t, deltas, "shop/a [b.shop", "shop/c [c.shop", "deny")

	// A version that is bad: the last good one stays, others are not affected.
	s.set(virtualService, resource(t, "shop/a", &networkingpb.VirtualService{}), routes(t, "shop/c", "d.shop.svc.cluster.local"))
	s.changed <- virtualService
	until(t, deltas, "shop/a [b.shop", "shop/c [d.shop", "WEFT0114", "has no routes")

	// What is no such resource is refused, and changes nothing.
	bad, err := anypb.New(&meshpb.MeshConfig{})
	if err != nil {
		t.Fatal(err)
	}
	s.set(authorization, bad)
	s.changed <- authorization
	until(t, deltas, "AuthorizationPolicy/shop/deny", "WEFT0117", "has sent "+authorization)
	for a := range s.answers {
		if a.GetErrorDetail() != nil {
			if a.GetTypeUrl() != authorization {
				t.Errorf("refused: %v", a)
			}
			break
		}
	}

	// The server goes, and its state stands; it comes again with another.
	stop()
	until(t, deltas, "shop/a [b.shop", "shop/c [d.shop", "deny", "cannot be reached")
	s.set(virtualService, routes(t, "shop/c", "e.shop.svc.cluster.local"))
	s.set(authorization)
	_, stop = s.serve(t, address)
	defer stop()
	d = until(t, deltas, "shop/c [e.shop")
	for strings.Contains(text(d), "shop/a") || strings.Contains(text(d), "deny") || strings.Contains(text(d), "WEFT0117") {
		d = <-deltas
	}
}

// TestNobodyThere: who has said nothing has deleted nothing.
func TestNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	if d := <-run(t, address); d.Full || !strings.Contains(text(d), "cannot be reached") {
		t.Errorf("got %+v", d)
	}
}

// TestSilentType: a server may say nothing of a type that it does not have.
func TestSilentType(t *testing.T) {
	s := &server{offers: map[string][]*anypb.Any{}, silent: authorization}
	s.set(virtualService, routes(t, "shop/a", "a.shop.svc.cluster.local"))
	address, stop := s.serve(t, "")
	defer stop()
	if d := <-run(t, address); !d.Full || !strings.Contains(text(d), "shop/a") {
		t.Errorf("got %s", text(d))
	}
}

func TestAddresses(t *testing.T) {
	for address, good := range map[string]bool{
		"xds+tls://istiod:15012": true, "xds+tls://h:1?ca=/nowhere": false, "xds+tls://h:1?nope=x": false, "xds+tls://h:1?cert=x": false, "xds://h:1?ca=x": false,
		"xds+tls://h:1?server-name=a&server-name=b": false, "xds+tls://h:1?token=": false, "xds+tls://h": false,
		"xds://istiod:15010": true, "xds://[::1]:1": true, "xds://": false, "xds://host": false, "xds://host:1/path": false, "http://host:1": false,
	} {
		if _, err := New(address, file.NewDecoder(), slog.New(slog.DiscardHandler)); (err == nil) != good {
			t.Errorf("%s: %v", address, err)
		}
	}
}
