package finding

import (
	"slices"

	"github.com/weftmesh/weft/control/model"
)

// Conditions that a status has, in the terms of the Gateway API and of Istio.
const (
	// Accepted: the newest version of the object is in force.
	Accepted = "Accepted"
	// ResolvedRefs: what it refers to is there.
	ResolvedRefs = "ResolvedRefs"
	// Conflicted: another object claims the same. True is what is wrong.
	Conflicted = "Conflicted"
	// Programmed: the proxies in whose scope it is have it.
	Programmed = "Programmed"
	// Reconciled is Istio's word for the same.
	Reconciled = "Reconciled"
)

// references and conflicts are the codes that are about those.
var (
	references = []string{
		"WEFT0201", "WEFT0202", "WEFT0203", "WEFT0204", "WEFT0205", "WEFT0206", "WEFT0207", "WEFT0211", "WEFT0212", "WEFT0214", "WEFT0221", "WEFT0230",
		"WEFT0301", "WEFT0321", "WEFT0331", "WEFT0344", "WEFT0345", "WEFT0402",
	}
	conflicts = []string{"WEFT0109", "WEFT0208", "WEFT0213", "WEFT0232", "WEFT0233", "WEFT0312", "WEFT0340", "WEFT0404"}
)

// Condition is the one that a Finding changes; "": none, it is for the reader only.
func Condition(f model.Finding) string {
	switch {
	case slices.Contains(references, f.Code):
		return ResolvedRefs
	case slices.Contains(conflicts, f.Code):
		return Conflicted
	case f.Severity < model.Error:
		return ""
	case f.Code < "WEFT02" || f.Code == "WEFT0401":
		return Accepted
	case shown(f) || f.Code == "WEFT0403":
		return Programmed
	}
	return ""
}
