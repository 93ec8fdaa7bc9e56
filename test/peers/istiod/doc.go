// Package istiod runs Weft's data plane under Istio's own control plane: a real
// istiod, built from its Go module and run without Kubernetes from files, configures
// sidecars and a gateway in network namespaces of their own, issues their
// certificates, and real requests go through them. See its README.
package istiod
