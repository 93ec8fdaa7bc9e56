package model

import (
	"slices"
	"strings"
)

// Authority is one of those that vouch for workloads beside the mesh's own: an entry of
// MeshConfig's caCertificates.
type Authority struct {
	// PEM are certificates. URL, in their place, is a SPIFFE bundle endpoint that has them.
	PEM, URL string
	// Domains are the trust domains that it may speak for; nil: all.
	Domains []string
	// Field is where it stands in the MeshConfig.
	Field string
}

// TrustBundle has the certificates of authorities, in PEM: the mesh's own, or what was
// fetched from a bundle endpoint last.
type TrustBundle struct {
	Meta `json:"meta"`
	PEM  string
}

// OwnBundle is the key of the bundle of the mesh's own authority.
func OwnBundle() Key { return Key{Kind: KindTrustBundle, Name: "own"} }

// BundleFrom is the key of what was fetched from an endpoint.
func BundleFrom(url string) Key { return Key{Kind: KindTrustBundle, Name: url} }

// Trust is what certificates of workloads are checked with, in PEM.
type Trust struct {
	// Roots are for every trust domain, unless Domains are there: then each domain has its
	// own, and those of others are nobody's.
	Roots   string
	Domains map[string]string
}

// Trust is that of the mesh. It has no roots where there is no bundle of the mesh's own.
func (s *Snapshot) Trust() Trust {
	own := s.bundle(OwnBundle())
	if own == "" || s.Mesh == nil {
		return Trust{Roots: own}
	}
	t, bound := Trust{Roots: own}, false
	for _, a := range s.Mesh.Authorities {
		if len(a.Domains) == 0 {
			t.Roots += s.authority(&a)
		}
		bound = bound || len(a.Domains) > 0
	}
	if !bound {
		return t
	}
	t.Domains = map[string]string{}
	everybody := strings.TrimPrefix(t.Roots, own)
	for _, d := range append([]string{s.Mesh.TrustDomain}, s.Mesh.TrustAliases...) {
		t.Domains[d] = t.Roots
	}
	for _, a := range s.Mesh.Authorities {
		roots := s.authority(&a)
		if roots == "" {
			continue // not fetched yet
		}
		for _, d := range a.Domains {
			if _, there := t.Domains[d]; !there {
				t.Domains[d] = everybody
			}
			t.Domains[d] += roots
		}
	}
	return t
}

// MoreRoots are the authorities beside the mesh's own that may speak for its trust domain.
func (s *Snapshot) MoreRoots() (out []string) {
	if s.Mesh == nil {
		return nil
	}
	for _, a := range s.Mesh.Authorities {
		if len(a.Domains) > 0 && !slices.Contains(a.Domains, s.Mesh.TrustDomain) {
			continue
		}
		if roots := s.authority(&a); roots != "" {
			out = append(out, roots)
		}
	}
	return out
}

func (s *Snapshot) authority(a *Authority) string {
	if a.URL != "" {
		return s.bundle(BundleFrom(a.URL))
	}
	return a.PEM
}

func (s *Snapshot) bundle(k Key) string {
	for _, b := range s.Bundles {
		if b.Key == k {
			return b.PEM
		}
	}
	return ""
}
