package model_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/control/model"
)

func TestTrust(t *testing.T) {
	const url = "https://partner.example/bundle"
	bundle := func(k model.Key, pem string) *model.TrustBundle {
		return &model.TrustBundle{Meta: model.Meta{Key: k}, PEM: pem}
	}
	for name, c := range map[string]struct {
		authorities []model.Authority
		bundles     []*model.TrustBundle
		want        model.Trust
		more        []string
	}{
		"own": {want: model.Trust{Roots: "own,"}},
		"for all": {
			authorities: []model.Authority{{PEM: "a,"}, {PEM: "b,"}},
			want:        model.Trust{Roots: "own,a,b,"}, more: []string{"a,", "b,"},
		},
		"bound": {
			authorities: []model.Authority{{PEM: "all,"}, {URL: url, Domains: []string{"partner", "alias"}}, {PEM: "mine,", Domains: []string{"here"}}},
			bundles:     []*model.TrustBundle{bundle(model.BundleFrom(url), "fetched,")},
			want: model.Trust{Roots: "own,all,", Domains: map[string]string{
				"here": "own,all,mine,", "alias": "own,all,fetched,", "partner": "all,fetched,",
			}},
			more: []string{"all,", "mine,"},
		},
		"not fetched": {
			authorities: []model.Authority{{URL: url, Domains: []string{"partner"}}},
			want:        model.Trust{Roots: "own,", Domains: map[string]string{"here": "own,", "alias": "own,"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &model.Snapshot{Mesh: model.DefaultMesh(), Bundles: append(c.bundles, bundle(model.OwnBundle(), "own,"))}
			s.Mesh.TrustDomain, s.Mesh.TrustAliases, s.Mesh.Authorities = "here", []string{"alias"}, c.authorities
			if d := cmp.Diff(c.want, s.Trust()); d != "" {
				t.Errorf("trust (-want, +got):\n%s", d)
			}
			if d := cmp.Diff(c.more, s.MoreRoots()); d != "" {
				t.Errorf("more roots (-want, +got):\n%s", d)
			}
			s.Bundles = c.bundles
			if got := s.Trust(); got.Roots != "" || got.Domains != nil {
				t.Errorf("without the mesh's own: %v", got)
			}
		})
	}
}
