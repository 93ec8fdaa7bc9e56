package wire

import (
	"cmp"
	"strings"
)

// LocalityOf reads where a workload is from its labels, as Istio reads a pod's: region,
// zone and subzone in one label, with dots or slashes between them; else the labels that
// Kubernetes gives to nodes, and to their pods. Zero: they say nothing.
func LocalityOf(labels map[string]string) Locality {
	s := cmp.Or(labels["topology.istio.io/locality"], labels["istio-locality"])
	if s == "" {
		return Locality{
			Region: labels["topology.kubernetes.io/region"], Zone: labels["topology.kubernetes.io/zone"], SubZone: labels["topology.istio.io/subzone"],
		}
	}
	if !strings.Contains(s, "/") {
		s = strings.ReplaceAll(s, ".", "/")
	}
	parts := append(strings.SplitN(s, "/", 3), "", "")
	return Locality{Region: parts[0], Zone: parts[1], SubZone: parts[2]}
}

// NodeLabel is the label with the name of the machine that a workload runs on.
const NodeLabel = "kubernetes.io/hostname"
