// Package xdstest is a small delta ADS server for tests. It keeps resources by
// type and name, sends what a stream subscribed to and does not have, and
// remembers what was refused. It is not for use outside tests: it takes a lock
// for everything and never forgets.
package xdstest

import (
	"fmt"
	"net"
	"strings"
	"sync"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Server is the test server; make it with New. Listen starts it, Stop ends it, and Listen
// again is a restart that remembers the resources.
type Server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer

	mu        sync.Mutex
	resources map[string]map[string]*discoveryv3.Resource
	version   int
	changed   chan struct{}
	requests  []*discoveryv3.DeltaDiscoveryRequest
	tokens    []string
	nacks     map[string]string // type → last error
	acks      map[string]int    // type → number
	seen      chan struct{}     // closed at every request
	lazy      map[string]map[string]*lazy
	hollow    map[string]bool
	mute      map[string]bool
	grpc      *grpc.Server
	done      chan struct{}
}

// New returns a server without resources.
func New() *Server {
	return &Server{
		resources: map[string]map[string]*discoveryv3.Resource{}, changed: make(chan struct{}),
		nacks: map[string]string{}, acks: map[string]int{}, seen: make(chan struct{}),
		lazy: map[string]map[string]*lazy{}, hollow: map[string]bool{}, mute: map[string]bool{},
	}
}

// Listen serves on a unix socket or TCP address. register, when not nil, adds
// more services.
func (s *Server) Listen(network, address string, register func(*grpc.Server)) error {
	l, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	g := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, s)
	if register != nil {
		register(g)
	}
	done := make(chan struct{})
	s.mu.Lock()
	s.grpc, s.done = g, done
	s.mu.Unlock()
	go func() {
		defer close(done)
		_ = g.Serve(l) // its error after Stop tells nothing
	}()
	return nil
}

// Stop cuts all streams and closes the socket.
func (s *Server) Stop() {
	s.mu.Lock()
	g, done := s.grpc, s.done
	s.grpc = nil
	s.mu.Unlock()
	if g != nil {
		g.Stop()
		<-done
	}
}

// Set adds or replaces a resource.
func (s *Server) Set(typeURL, name string, m proto.Message) {
	body, err := anypb.New(m)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	s.edit(func() {
		if s.resources[typeURL] == nil {
			s.resources[typeURL] = map[string]*discoveryv3.Resource{}
		}
		s.resources[typeURL][name] = &discoveryv3.Resource{Name: name, Version: fmt.Sprint(s.version), Resource: body}
	})
}

// Remove deletes a resource.
func (s *Server) Remove(typeURL, name string) {
	s.edit(func() { delete(s.resources[typeURL], name) })
}

func (s *Server) edit(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

// Until waits until ok, which is asked after every request from a client. It
// must not call the Server.
func (s *Server) Until(ok func(v View) bool, giveUp <-chan struct{}) bool {
	for {
		s.mu.Lock()
		good := ok(View{s})
		seen := s.seen
		s.mu.Unlock()
		if good {
			return true
		}
		select {
		case <-seen:
		case <-giveUp:
			return false
		}
	}
}

// View is what the server saw, for Until.
type View struct{ s *Server }

// Acks is the number of accepted responses of a type.
func (v View) Acks(typeURL string) int { return v.s.acks[typeURL] }

// Nack is the text of the last rejection of a type.
func (v View) Nack(typeURL string) string { return v.s.nacks[typeURL] }

// Requests are all requests so far.
func (v View) Requests() []*discoveryv3.DeltaDiscoveryRequest { return v.s.requests }

// Tokens are the authorization headers of the streams so far.
func (v View) Tokens() []string { return v.s.tokens }

// DeltaAggregatedResources serves one stream.
func (s *Server) DeltaAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	s.mu.Lock()
	s.tokens = append(s.tokens, strings.Join(md.Get("authorization"), ","))
	s.mu.Unlock()
	requests := make(chan *discoveryv3.DeltaDiscoveryRequest)
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
	subs := map[string]*sub{}
	var order []string
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		s.bundle(subs)
		for _, t := range sending(order, subs) {
			if r := s.response(t, subs[t]); r != nil {
				if err := stream.Send(r); err != nil {
					return err
				}
			}
		}
		select {
		case r, ok := <-requests:
			if !ok {
				return nil
			}
			if subs[r.TypeUrl] == nil {
				subs[r.TypeUrl] = newSub(r)
				order = append(order, r.TypeUrl)
			}
			subs[r.TypeUrl].change(r)
			s.note(r)
		case <-changed:
		}
	}
}

func (s *Server) note(r *discoveryv3.DeltaDiscoveryRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r)
	if r.ErrorDetail != nil {
		s.nacks[r.TypeUrl] = r.ErrorDetail.Message
	} else if r.ResponseNonce != "" {
		s.acks[r.TypeUrl]++
	}
	close(s.seen)
	s.seen = make(chan struct{})
}

// sub is one stream's subscription of one type.
type sub struct {
	all   bool
	names map[string]bool
	have  map[string]string // name → version sent; "" means: told that it is not there
	// pushed are resources that are sent unasked. initial is what the stream had when
	// it began, later what it has asked for after its first request.
	pushed, later map[string]bool
	initial       map[string]string
	begun         bool
	nonce         int
}

func newSub(r *discoveryv3.DeltaDiscoveryRequest) *sub {
	b := &sub{names: map[string]bool{}, have: map[string]string{}, pushed: map[string]bool{}, later: map[string]bool{}, initial: r.InitialResourceVersions, all: len(r.ResourceNamesSubscribe) == 0}
	for n, v := range r.InitialResourceVersions {
		b.have[n] = v
	}
	return b
}

func (b *sub) change(r *discoveryv3.DeltaDiscoveryRequest) {
	for _, n := range r.ResourceNamesSubscribe {
		if n == "*" {
			b.all = true
			continue
		}
		if r.InitialResourceVersions[n] == "" {
			delete(b.have, n)
		}
		b.names[n] = true
		b.later[n] = b.begun
	}
	b.begun = true
	for _, n := range r.ResourceNamesUnsubscribe {
		delete(b.names, n)
		delete(b.have, n)
	}
}

// response is what the stream lacks of a type; nil: nothing.
func (s *Server) response(typeURL string, b *sub) *discoveryv3.DeltaDiscoveryResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeURL, SystemVersionInfo: fmt.Sprint(s.version)}
	for n, res := range s.resources[typeURL] {
		if (b.all || b.names[n]) && b.have[n] != res.Version {
			b.have[n] = res.Version
			r.Resources = append(r.Resources, res)
		}
	}
	known := s.lazyResponse(typeURL, b, r)
	for n := range b.names {
		if _, told := b.have[n]; told || known[n] || s.resources[typeURL][n] != nil || s.mute[typeURL] {
			continue
		}
		b.have[n] = ""
		if s.hollow[typeURL] {
			r.Resources = append(r.Resources, &discoveryv3.Resource{Name: n, Version: "none", Aliases: []string{n}})
		} else {
			r.RemovedResources = append(r.RemovedResources, n)
		}
	}
	for n, v := range b.have {
		if v != "" && s.resources[typeURL][n] == nil && s.lazy[typeURL][n] == nil && !known[n] {
			if b.have[n] = ""; !b.names[n] {
				delete(b.have, n)
			}
			r.RemovedResources = append(r.RemovedResources, n)
		}
	}
	if len(r.Resources)+len(r.RemovedResources) == 0 {
		return nil
	}
	b.nonce++
	r.Nonce = fmt.Sprintf("%s-%d", typeURL, b.nonce)
	return r
}
