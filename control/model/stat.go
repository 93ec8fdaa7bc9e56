package model

import (
	"strconv"
	"strings"
)

// StatVariables are what may stand between percent signs in a pattern for StatName.
var StatVariables = []string{"SERVICE", "SERVICE_NAME", "SERVICE_FQDN", "SERVICE_PORT", "SERVICE_PORT_NAME", "TARGET_PORT", "SUBSET_NAME"}

// StatName is the name of a cluster in statistics, by MeshConfig's pattern
// (inboundClusterStatName, outboundClusterStatName). Subset may be empty.
func StatName(pattern string, s *Service, p *ServicePort, subset string) string {
	short := s.Host // an entry's host has no namespace in it
	if !s.FromEntry {
		short = s.Name + "." + s.Namespace
	}
	return strings.NewReplacer(
		"%SERVICE%", short, "%SERVICE_NAME%", s.Name, "%SERVICE_FQDN%", s.Host,
		"%SERVICE_PORT%", strconv.Itoa(int(p.Port)), "%SERVICE_PORT_NAME%", p.Name,
		"%TARGET_PORT%", target(p), "%SUBSET_NAME%", subset,
	).Replace(pattern)
}

func target(p *ServicePort) string {
	if p.TargetName != "" {
		return p.TargetName
	}
	if p.TargetPort != 0 {
		return strconv.Itoa(int(p.TargetPort))
	}
	return strconv.Itoa(int(p.Port))
}
