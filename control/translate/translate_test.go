package translate

import (
	"fmt"
	"net/netip"
	"testing"

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
	a, _ := Translate(scope.Build(idx, proxyOf(s, 0)))
	b, _ := Translate(scope.Build(idx, proxyOf(s, 7)))
	for _, url := range []string{wire.TypeEndpoint, wire.TypeHost, wire.TypeWorkload} {
		for i := range a.ByType[url] {
			if a.ByType[url][i].Body != b.ByType[url][i].Body {
				t.Errorf("%s %s was made twice", url, a.ByType[url][i].Name)
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
