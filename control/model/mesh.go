package model

import "time"

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
		DrainDuration:     45 * time.Second,
		PathNormalization: "BASE",
		LocalityLB:        &LocalityLB{Enabled: true},
		CertTTL:           24 * time.Hour,
	}
}
