package model

import (
	"slices"
	"time"
)

// DefaultMesh returns the mesh-wide configuration that holds where nothing else
// is said: Istio's defaults.
func DefaultMesh() *Mesh {
	return &Mesh{
		Meta:              Meta{Key: Key{Kind: KindMeshConfig, Name: "default"}, Origin: Origin{Source: "default"}},
		TrustDomain:       "cluster.local",
		RootNamespace:     "istio-system",
		ClusterDomain:     "cluster.local",
		Outbound:          AllowAny,
		AutoMTLS:          true,
		ConnectTimeout:    10 * time.Second,
		DNSRefresh:        60 * time.Second,
		PathNormalization: "BASE",
		LocalityLB:        &LocalityLB{Enabled: true},
		CertTTL:           24 * time.Hour,
		Sampling:          1,
	}
}

// EntryVisibility is how far a ServiceEntry may be seen at most.
type EntryVisibility uint8

// Bounds of ServiceEntries.
const (
	EntryPublic EntryVisibility = iota
	EntryNamespace
	EntryNobody
)

// EntryPolicy bounds ServiceEntries by the labels of their namespaces: the first rule
// whose selectors all match decides, else Default.
type EntryPolicy struct {
	Default EntryVisibility
	Rules   []EntryRule
}

// EntryRule is one rule of an EntryPolicy. Without selectors it matches everything.
type EntryRule struct {
	Selectors  []*LabelSelector
	Visibility EntryVisibility
}

// Of is the bound for a namespace with these labels.
func (p *EntryPolicy) Of(labels map[string]string) EntryVisibility {
	for _, r := range p.Rules {
		if !slices.ContainsFunc(r.Selectors, func(s *LabelSelector) bool { return !s.Matches(labels) }) {
			return r.Visibility
		}
	}
	return p.Default
}
