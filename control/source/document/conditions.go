package document

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/weftmesh/weft/control/model"
)

// negative are the conditions that say that something is wrong when they are False.
var negative = []string{
	"Accepted", "Programmed", "ResolvedRefs", "Reconciled", "ZtunnelAccepted", "WaypointAccepted", "istio.io/WaypointBound",
}

// conditions warns of what the status of a document says is wrong: whoever wrote it
// has seen the object in force.
func conditions(d *Document, root *yaml.Node, offset int) {
	status := child(root, "status")
	judge(d, "status.conditions", child(status, "conditions"), offset)
	parents := resolve(child(status, "parents"))
	if parents == nil || parents.Kind != yaml.SequenceNode {
		return
	}
	for i, p := range parents.Content {
		judge(d, fmt.Sprintf("status.parents[%d].conditions", i), child(resolve(p), "conditions"), offset)
	}
}

func judge(d *Document, at string, list *yaml.Node, offset int) {
	if list = resolve(list); list == nil || list.Kind != yaml.SequenceNode {
		return
	}
	for i, c := range list.Content {
		c = resolve(c)
		kind, status, reason := word(c, "type"), word(c, "status"), word(c, "reason")
		partly := kind == "WaypointAccepted" && reason == "PartiallyInvalid"
		if !partly && (status != "False" || !slices.Contains(negative, kind)) {
			continue
		}
		field := At(at, i)
		origin := d.Origin
		origin.Line = c.Line + offset
		d.findings = append(d.findings, model.Finding{
			Code: CodeCondition, Severity: model.Warning, Object: d.Key, Origin: origin, Field: field,
			Message: fmt.Sprintf("%s is %s, %s: %s", kind, status, reason, word(c, "message")), Remedy: "see to what it says, and read the object anew",
		})
	}
}
