package translate

import (
	"fmt"
	"net/netip"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/wire"
)

// TestDeterministic: maps must leave no trace in what is sent, or every
// translation would look like a change.
func TestDeterministic(t *testing.T) {
	s := meshOf(30)
	s.Authz = append(s.Authz, &model.Authz{
		Meta:  model.Meta{Key: model.Key{Kind: model.KindAuthorizationPolicy, Namespace: "default", Name: "p"}},
		Rules: []model.AuthzRule{{}, {}, {}},
	})
	first, _ := Translate(scope.Build(scope.NewIndex(s), proxyOf(s, 0)))
	for range 5 {
		next, _ := Translate(scope.Build(scope.NewIndex(s), proxyOf(s, 0)))
		for url, list := range first.ByType {
			for i, r := range list {
				if o := next.ByType[url][i]; o.Name != r.Name || o.Version != r.Version {
					t.Fatalf("%s %s: version %s, then %s %s", url, r.Name, r.Version, o.Name, o.Version)
				}
			}
		}
	}
}

// TestShared: what does not depend on the proxy is one object for all of them.
func TestShared(t *testing.T) {
	s := meshOf(10)
	idx := scope.NewIndex(s)
	c := NewCache()
	a := c.Shared(scope.Build(idx, proxyOf(s, 0)), nil)
	b := c.Shared(scope.Build(idx, proxyOf(s, 7)), nil)
	for url, set := range a.sets {
		for r := range set.All() {
			if b.sets[url].Get(r.Name) != r {
				t.Errorf("%s %s was made twice", url, r.Name)
			}
		}
	}
}

func TestNamesOnce(t *testing.T) {
	s := meshOf(5)
	dup := *s.Services[0]
	dup.Ports = append(dup.Ports, dup.Ports[0])
	s.Services[0] = &dup
	r, _ := Translate(scope.Build(scope.NewIndex(s), proxyOf(s, 0)))
	for url, list := range r.ByType {
		for i := 1; i < len(list); i++ {
			if list[i-1].Name >= list[i].Name {
				t.Errorf("%s: %s before %s", url, list[i-1].Name, list[i].Name)
			}
		}
	}
}

func TestGet(t *testing.T) {
	s := meshOf(3)
	r, _ := Translate(scope.Build(scope.NewIndex(s), proxyOf(s, 0)))
	if got, ok := r.Get(wire.TypeCluster, wire.PassthroughCluster); !ok || got.Name != wire.PassthroughCluster {
		t.Errorf("got %q %v", got.Name, ok)
	}
	if _, ok := r.Get(wire.TypeCluster, "nix"); ok {
		t.Error("found what is not there")
	}
}

// TestSecrets: a Secret goes to gateways of its own namespace that ask for it,
// and to nobody else.
func TestSecrets(t *testing.T) {
	for _, tc := range []struct {
		name, gateway, secret string
		want                  []string
	}{
		{"same namespace", "edge", "edge", []string{"kubernetes://edge/cert", "kubernetes://edge/cert-cacert"}},
		{"other namespace", "edge", "default", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := &model.Workload{
				Meta: model.Meta{Key: model.Key{Kind: model.KindWorkload, Namespace: tc.gateway, Name: "gw-0"}},
				Name: "gw-0", Namespace: tc.gateway, Labels: map[string]string{"istio": "gw"}, Gateway: true,
				Addresses: []netip.Addr{netip.MustParseAddr("10.244.0.2")},
			}
			secret := &model.Secret{
				Meta: model.Meta{Key: model.Key{Kind: model.KindSecret, Namespace: tc.secret, Name: "cert"}},
				Cert: []byte("c"), PrivateKey: []byte("k"), CA: []byte("a"),
			}
			other := *secret
			other.Key.Name = "unasked"
			g := &model.Gateway{
				Meta:     model.Meta{Key: model.Key{Kind: model.KindGateway, Namespace: "default", Name: "g"}},
				Selector: map[string]string{"istio": "gw"},
				Servers: []model.Server{{Port: 443, PortName: "https", Protocol: model.HTTPS, Hosts: []string{"*"},
					TLS: &model.ServerTLS{Mode: model.TLSMutual, Credentials: []string{"default/cert"}}}},
			}
			s := &model.Snapshot{
				Workloads: []*model.Workload{w}, Secrets: []*model.Secret{secret, &other}, Gateways: []*model.Gateway{g},
			}
			r, _ := Translate(scope.Build(scope.NewIndex(s), scope.Proxy{
				ID: wire.NodeID{Type: wire.Router, Name: "gw-0", Namespace: tc.gateway},
			}))
			var got []string
			for _, x := range r.Of(wire.TypeSecret) {
				got = append(got, x.Name)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestUnknownProxy: a proxy that no source knows is served by what it says of itself.
func TestUnknownProxy(t *testing.T) {
	s := meshOf(2)
	r, _ := Translate(scope.Build(scope.NewIndex(s), scope.Proxy{
		ID:   wire.NodeID{Type: wire.Sidecar, Name: "new", Namespace: "default", IP: "fd00::5"},
		Meta: wire.NodeMetadata{InstanceIPs: "fd00::5"},
	}))
	if _, ok := r.Get(wire.TypeListener, "::_80"); !ok {
		t.Error("no listener ::_80")
	}
	for _, l := range r.Of(wire.TypeListener) {
		if _, err := l.Body.UnmarshalNew(); err != nil {
			t.Errorf("%s: %v", l.Name, err)
		}
		if proto.Size(l.Body) == 0 {
			t.Errorf("%s is empty", l.Name)
		}
	}
	if n := len(r.Of(wire.TypeEndpoint)); n != 8 {
		t.Errorf("%s endpoints resources, want 8", fmt.Sprint(n))
	}
}

// TestNoPlaintextInsteadOfTLS: where a DestinationRule asks for TLS with a
// certificate that is not there, nothing may be sent at all.
func TestNoPlaintextInsteadOfTLS(t *testing.T) {
	entry := func() *model.Service {
		return &model.Service{
			Meta: model.Meta{Key: model.Key{Kind: model.KindServiceEntry, Namespace: "default", Name: "bank"}},
			Name: "bank", Namespace: "default", Host: "bank.example.com", FromEntry: true, External: true,
			Resolution: model.ByDNS, Exports: model.Visibility{Public: true},
			Ports: []model.ServicePort{{Name: "http", Port: 80, Protocol: model.HTTP}},
		}
	}
	secret := func(cert, ca string) *model.Secret {
		s := &model.Secret{Meta: model.Meta{Key: model.Key{Kind: model.KindSecret, Namespace: "default", Name: "bank"}}}
		if cert != "" {
			s.Cert, s.PrivateKey = []byte(cert), []byte("key")
		}
		s.CA = []byte(ca)
		return s
	}
	for _, tc := range []struct {
		name   string
		mode   model.ClientTLSMode
		secret *model.Secret
		open   bool
	}{
		{"simple, with the Secret", model.ClientTLSSimple, secret("", "ca"), true},
		{"simple, without", model.ClientTLSSimple, nil, false},
		{"mutual, with the Secret", model.ClientTLSMutual, secret("cert", "ca"), true},
		{"mutual, without", model.ClientTLSMutual, nil, false},
		{"mutual, without the certificate in it", model.ClientTLSMutual, secret("", "ca"), false},
	} {
		for _, resolution := range []model.Resolution{model.ByDNS, model.ByWorkloads, model.Passthrough} {
			t.Run(fmt.Sprint(tc.name, resolution), func(t *testing.T) {
				s := entry()
				s.Resolution = resolution
				if resolution == model.ByWorkloads {
					s.Inline = []model.Endpoint{{Address: "192.0.2.7"}}
				}
				snap := &model.Snapshot{
					Services: []*model.Service{s},
					Policies: []*model.TrafficPolicySet{{
						Meta: model.Meta{Key: model.Key{Kind: model.KindDestinationRule, Namespace: "default", Name: "bank"}},
						Host: s.Host, Exports: model.Visibility{Public: true},
						Policy: model.TrafficPolicy{TLS: &model.ClientTLS{Mode: tc.mode, Credential: "default/bank"}},
					}},
				}
				if tc.secret != nil {
					snap.Secrets = []*model.Secret{tc.secret}
				}
				r, findings := Translate(scope.Build(scope.NewIndex(snap), scope.Proxy{
					ID: wire.NodeID{Type: wire.Sidecar, Name: "web", Namespace: "default", IP: "10.0.0.1"},
				}))
				name := wire.ClusterName(wire.Outbound, 80, "", s.Host)
				res, ok := r.Get(wire.TypeCluster, name)
				if !ok {
					t.Fatal("no cluster")
				}
				c := &clusterv3.Cluster{}
				if err := res.Body.UnmarshalTo(c); err != nil {
					t.Fatal(err)
				}
				if tc.open {
					if c.TransportSocket == nil || len(findings) > 0 {
						t.Errorf("no TLS, or findings: %v", findings)
					}
					return
				}
				if c.GetType() != clusterv3.Cluster_STATIC || len(c.LoadAssignment.GetEndpoints()) > 0 {
					t.Errorf("the cluster leads somewhere, without TLS: %v", c)
				}
				if _, there := r.Get(wire.TypeEndpoint, name); there {
					t.Error("there are endpoints that nobody will ask for")
				}
				if len(findings) != 1 || findings[0].Severity != model.Error {
					t.Errorf("findings are %v, want one error", findings)
				}
			})
		}
	}
}
