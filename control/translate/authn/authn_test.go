package authn

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/json"
	"strings"
	"testing"
	"time"

	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/wire"
)

// TestNoKeys: the key for issuers whose keys are not to be had is one, and nobody's.
func TestNoKeys(t *testing.T) {
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(noKeys), &set); err != nil || len(set.Keys) != 1 || !set.Keys[0].Valid() {
		t.Fatalf("%v: %v", set, err)
	}
	x := sha256.Sum256([]byte("weft: nobody has this key 1"))
	raw, err := set.Keys[0].Key.(*ecdsa.PublicKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if string(raw[1:33]) != string(x[:]) {
		t.Error("x is not the hash of the sentence")
	}
}

func view(fetch model.JWKSFetch, rules ...model.JWTRule) *scope.View {
	mesh := model.DefaultMesh()
	mesh.JWKS.Fetch = fetch
	ra := &model.RequestAuth{
		Meta:  model.Meta{Key: model.Key{Kind: model.KindRequestAuthentication, Namespace: "default", Name: "a"}},
		Rules: rules,
	}
	fetched := &model.KeySet{Meta: model.Meta{Key: model.KeySource{URI: "https://out.x/keys"}.Key()}, JWKS: "fetched"}
	svc := &model.Service{
		Meta: model.Meta{Key: model.Key{Kind: model.KindService, Namespace: "default", Name: "in"}},
		Host: "in.x", Namespace: "default", Exports: model.Visibility{Public: true}, Ports: []model.ServicePort{{Port: 80}, {Port: 8443}},
	}
	idx := scope.NewIndex(&model.Snapshot{Mesh: mesh, Services: []*model.Service{svc}, RequestAuths: []*model.RequestAuth{ra}, KeySets: []*model.KeySet{fetched}})
	return scope.Build(idx, scope.Proxy{ID: wire.NodeID{Type: wire.Sidecar, Namespace: "default", Name: "shop-0"}})
}

// TestKeys: whose keys come from where.
func TestKeys(t *testing.T) {
	in := model.JWTRule{Issuer: "a", JWKSURI: "http://in.x/keys", Timeout: time.Second}
	port := model.JWTRule{Issuer: "a", JWKSURI: "https://in.x:8443/keys"}
	noPort := model.JWTRule{Issuer: "a", JWKSURI: "https://in.x/keys"}
	out := model.JWTRule{Issuer: "a", JWKSURI: "https://out.x/keys"}
	for _, tc := range []struct {
		name     string
		fetch    model.JWKSFetch
		rule     model.JWTRule
		want     string
		findings int
	}{
		{"inline", model.FetchProxy, model.JWTRule{Issuer: "a", JWKS: "own"}, "own", 0},
		{"fetched", model.FetchControl, out, "fetched", 0},
		{"not fetched yet", model.FetchControl, in, noKeys, 0},
		{"of an issuer", model.FetchProxy, model.JWTRule{Issuer: "https://o"}, noKeys, 0},
		{"hybrid in the mesh", model.FetchHybrid, in, "outbound|80||in.x http://in.x/keys 1s", 0},
		{"hybrid elsewhere", model.FetchHybrid, out, "fetched", 0},
		{"by the proxy", model.FetchProxy, port, "outbound|8443||in.x https://in.x:8443/keys 5s", 0},
		{"by the proxy, no way", model.FetchProxy, out, noKeys, 1},
		{"by the proxy, no port", model.FetchProxy, noPort, noKeys, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var findings []model.Finding
			m := Filter(view(tc.fetch, tc.rule), func(f model.Finding) { findings = append(findings, f) })
			if got := keysOf(m.Providers["origins-0"]); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
			if len(findings) != tc.findings {
				t.Errorf("%d findings, want %d: %v", len(findings), tc.findings, findings)
			}
		})
	}
}

func keysOf(p *jwtv3.JwtProvider) string {
	if r := p.GetRemoteJwks(); r != nil {
		return strings.Join([]string{r.HttpUri.GetCluster(), r.HttpUri.Uri, r.HttpUri.Timeout.AsDuration().String()}, " ")
	}
	return p.GetLocalJwks().GetInlineString()
}

// TestOrder: providers are numbered by issuer, whatever the order of the rules.
func TestOrder(t *testing.T) {
	m := Filter(view(model.FetchControl, model.JWTRule{Issuer: "b", JWKS: "1"}, model.JWTRule{Issuer: "a", JWKS: "2"}, model.JWTRule{Issuer: "b", JWKS: "3"}), nil)
	got := []string{}
	for _, name := range []string{"origins-0", "origins-1", "origins-2"} {
		got = append(got, m.Providers[name].GetIssuer()+keysOf(m.Providers[name]))
	}
	if d := cmp.Diff([]string{"a2", "b1", "b3"}, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if Filter(view(model.FetchControl), nil) != nil {
		t.Error("a filter without rules")
	}
}
