package model

import "strings"

// DistributionKey is Istio's annotation of Services, ServiceEntries and Namespaces.
const DistributionKey = "networking.istio.io/traffic-distribution"

// Distribution is a service's preference among its instances (trafficDistribution).
type Distribution uint8

// Distributions. Unset: the namespace may say something.
const (
	DistributionUnset Distribution = iota
	DistributionAny
	// PreferSameZone: instances of the client's zone, then of its region, then others.
	PreferSameZone
	// PreferSameNode: those of the client's node, then of its subzone, zone, region.
	PreferSameNode
)

// Distributions are what may be written, in Kubernetes' spelling.
var Distributions = []string{"PreferSameZone", "PreferSameNode", "PreferClose"}

// ParseDistribution reads a preference as Istio reads its annotation, whose case does not
// matter; what it does not know is DistributionAny, nothing DistributionUnset.
func ParseDistribution(text string) Distribution {
	switch strings.ToLower(text) {
	case "":
		return DistributionUnset
	case "preferclose", "prefersamezone":
		return PreferSameZone
	case "prefersamenode":
		return PreferSameNode
	}
	return DistributionAny
}

// Near tells whether clients prefer what is near.
func (d Distribution) Near() bool { return d == PreferSameZone || d == PreferSameNode }

// Labels of places, by which nearness is told.
const (
	LabelNetwork = "topology.istio.io/network"
	LabelRegion  = "topology.kubernetes.io/region"
	LabelZone    = "topology.kubernetes.io/zone"
	LabelSubzone = "topology.istio.io/subzone"
	LabelNode    = "kubernetes.io/hostname"
)

// Priority are the labels that nearness goes by, the widest first, as in Istio; nil:
// there is no preference.
func (d Distribution) Priority() []string {
	switch d {
	case PreferSameZone:
		return []string{LabelNetwork, LabelRegion, LabelZone}
	case PreferSameNode:
		return []string{LabelNetwork, LabelRegion, LabelZone, LabelSubzone, LabelNode}
	}
	return nil
}
