package xdstest

import (
	"fmt"
	"slices"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/wire"
)

// lazy is a resource that only those get who ask for it by name or alias.
type lazy struct {
	version string
	body    *anypb.Any
	aliases []string
	with    []Ref
}

// Ref names a resource.
type Ref struct{ Type, Name string }

// Lazy is a resource that is sent only to those who ask for it by its name or
// an alias.
type Lazy struct {
	Aliases []string
	// With are lazy resources that are sent before it, unasked.
	With []Ref
}

// SetLazy adds or replaces a lazy resource.
func (s *Server) SetLazy(typeURL, name string, m proto.Message, l Lazy) {
	body, err := anypb.New(m)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	s.edit(func() {
		if s.lazy[typeURL] == nil {
			s.lazy[typeURL] = map[string]*lazy{}
		}
		s.lazy[typeURL][name] = &lazy{fmt.Sprint(s.version), body, l.Aliases, l.With}
	})
}

// RemoveLazy deletes a lazy resource.
func (s *Server) RemoveLazy(typeURL, name string) {
	s.edit(func() { delete(s.lazy[typeURL], name) })
}

// Hollow makes the answer for names of a type that do not exist a resource
// without a body, instead of a removal: what stock Envoy needs of virtual hosts.
func (s *Server) Hollow(typeURL string) { s.edit(func() { s.hollow[typeURL] = true }) }

// Mute leaves the names of a type that do not exist without an answer.
func (s *Server) Mute(typeURL string) { s.edit(func() { s.mute[typeURL] = true }) }

// bundle notes what goes unasked before what is asked for.
func (s *Server) bundle(subs map[string]*sub) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for t, b := range subs {
		for name, l := range s.lazy[t] {
			if len(l.with) == 0 || len(b.matching(name, l)) == 0 {
				continue
			}
			for _, ref := range l.with {
				if to := subs[ref.Type]; to != nil {
					to.pushed[ref.Name] = true
				} else {
					to = newSub(&discoveryv3.DeltaDiscoveryRequest{ResourceNamesSubscribe: []string{ref.Name}})
					to.pushed[ref.Name] = true
					subs[ref.Type] = to
				}
			}
		}
	}
}

// sending is the order of responses: what is referred to first.
func sending(order []string, subs map[string]*sub) []string {
	first := []string{wire.TypeCluster, wire.TypeEndpoint}
	out := slices.DeleteFunc(slices.Clone(first), func(t string) bool { return subs[t] == nil })
	for _, t := range order {
		if !slices.Contains(first, t) {
			out = append(out, t)
		}
	}
	return out
}

// matching are the names by which a stream asks for a lazy resource.
func (b *sub) matching(name string, l *lazy) (names []string) {
	for _, n := range append([]string{name}, l.aliases...) {
		if b.names[n] {
			names = append(names, n)
		}
	}
	return names
}

// lazyResponse adds what the stream asks for and lacks. known are the names that
// are answered so.
func (s *Server) lazyResponse(typeURL string, b *sub, r *discoveryv3.DeltaDiscoveryResponse) (known map[string]bool) {
	known = map[string]bool{}
	for name, l := range s.lazy[typeURL] {
		names := b.matching(name, l)
		if len(names) == 0 && !b.pushed[name] {
			continue
		}
		lacks := b.have[name] != l.version
		for _, n := range names {
			known[n] = true
			if b.have[n] != l.version && (b.later[n] || b.initial[name] != l.version) {
				lacks = true
			}
		}
		if !lacks {
			continue
		}
		b.have[name] = l.version
		for _, n := range names {
			b.have[n] = l.version
		}
		r.Resources = append(r.Resources, &discoveryv3.Resource{Name: name, Version: l.version, Resource: l.body, Aliases: names})
	}
	return known
}
