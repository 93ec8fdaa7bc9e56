package config

import (
	"fmt"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/xds"
	"github.com/weftmesh/weft/wire"
)

// Load takes the bootstrap's static resources in. Any that is bad is an error:
// there is no last good one, and whoever starts the proxy should know.
func (s *Store) Load(b *Bootstrap) error {
	static := b.Proto.GetStaticResources()
	s.opt.Decoder.staticSecrets = map[string]bool{}
	for i, m := range static.GetSecrets() {
		err := check(m)
		if err == nil {
			err = setSecret(s.opt.Secrets, m.Name, m)
		}
		if err != nil {
			return at(err, "static_resources.secrets[%d]", i)
		}
		s.opt.Decoder.staticSecrets[m.Name] = true
		s.recordStatic(wire.TypeSecret, m.Name, withoutKey(m))
	}
	if err := s.loadClusters(b); err != nil {
		return err
	}
	for i, m := range static.GetListeners() {
		r, err := s.recordStatic(wire.TypeListener, m.Name, m)
		if err != nil {
			return err
		}
		c, err := s.opt.Decoder.openListener(r)
		if err != nil {
			return at(err, "static_resources.listeners[%d]", i)
		}
		s.mu.Lock()
		s.addListener(c, true)
		s.mu.Unlock()
	}
	s.mu.Lock()
	s.runtimeNeeds = b.runtimeNeeds
	for _, n := range s.runtimeNeeds {
		s.await(waitKey{wire.TypeRuntime, n.name}, n.timeout, nil)
	}
	s.mu.Unlock()
	if !b.Clusters {
		s.OpenGate()
	}
	return nil
}

func (s *Store) loadClusters(b *Bootstrap) error {
	var decoded []*clusterConfig
	for i, m := range b.Proto.GetStaticResources().GetClusters() {
		r, err := s.recordStatic(wire.TypeCluster, m.Name, m)
		if err != nil {
			return err
		}
		c, err := s.opt.Decoder.openCluster(r)
		if err != nil {
			return at(err, "static_resources.clusters[%d]", i)
		}
		decoded = append(decoded, c)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return xds.Describe(s.addClusters(decoded, true))
}

// recordStatic remembers a static resource and wraps it up like a dynamic one.
func (s *Store) recordStatic(typeURL, name string, m proto.Message) (xds.Resource, error) {
	body, err := anypb.New(m)
	if err != nil {
		return xds.Resource{}, fmt.Errorf("static resource %q: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records[recordKey{typeURL, name}] = &Record{Type: typeURL, Name: name, Body: body, Static: true}
	return xds.Resource{Name: name, Body: body}, nil
}

// withoutKey is a secret as it may be shown.
func withoutKey(m *tlsv3.Secret) *tlsv3.Secret {
	c := proto.CloneOf(m)
	if t := c.GetTlsCertificate(); t != nil {
		t.PrivateKey = nil
	}
	return c
}
