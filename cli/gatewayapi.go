package cli

import (
	"fmt"
	"io"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/control/gwstatus"
)

// writeGatewayAPI shows what a status says of listeners, parents and ancestors: what is
// as it should be in one line each, the rest with its conditions.
func writeGatewayAPI(w io.Writer, s *gwstatus.Status, colour bool) {
	if len(s.Addresses) > 0 {
		var list []string
		for _, a := range s.Addresses {
			list = append(list, a.Value)
		}
		fmt.Fprintf(w, "  addresses %s\n", strings.Join(list, ", "))
	}
	for i := range s.Listeners {
		l := &s.Listeners[i]
		writePart(w, fmt.Sprintf("listener %s, %d routes", l.Name, l.AttachedRoutes), l.Conditions, colour)
	}
	for i := range s.Parents {
		writePart(w, "parent "+s.Parents[i].ParentRef.String(), s.Parents[i].Conditions, colour)
	}
	for i := range s.Ancestors {
		writePart(w, "ancestor "+s.Ancestors[i].AncestorRef.String(), s.Ancestors[i].Conditions, colour)
	}
}

func writePart(w io.Writer, name string, conditions []gwstatus.Condition, colour bool) {
	var bad []console.Condition
	for _, c := range conditions {
		// A message beside the reason: people look for the API's words.
		x := console.Condition{Type: c.Type, Status: c.Status, Reason: c.Reason, Message: c.Reason + ": " + c.Message}
		if conditionStyle(x) != Good || c.Type == "PartiallyInvalid" || c.Type == "OverlappingTLSConfig" {
			bad = append(bad, x)
		}
	}
	if len(bad) == 0 {
		fmt.Fprintf(w, "  %s: %s\n", name, Good.Paint("ok", colour))
		return
	}
	fmt.Fprintf(w, "  %s:\n", name)
	for _, c := range bad {
		writeCondition(w, "    ", c, colour)
	}
}

// ownStatus is the status that an object has by its own API; nil for kinds of which Weft makes none.
func ownStatus(s *console.ObjectStatus) any {
	switch {
	case s == nil:
	case s.GatewayAPI != nil:
		return s.GatewayAPI
	case len(s.Domains)+len(s.Limits)+len(s.Metric) > 0:
		return s.SlimeStatus
	}
	return nil
}

// withStatus puts a status into a document, in place of one that it has.
func withStatus(doc string, status any) (string, error) {
	text, err := yaml.Marshal(map[string]any{"status": status})
	if err != nil {
		return "", fmt.Errorf("its status cannot be written: %w", err)
	}
	var root yamlv3.Node
	if err := yamlv3.Unmarshal([]byte(doc), &root); err != nil {
		return "", fmt.Errorf("it cannot be read as YAML: %w", err)
	}
	if len(root.Content) == 0 || root.Content[0].Kind != yamlv3.MappingNode {
		return doc, nil // what is written is a comment
	}
	top := root.Content[0]
	if top.Style&yamlv3.FlowStyle != 0 {
		var v map[string]any
		if err := root.Decode(&v); err != nil {
			return "", fmt.Errorf("it cannot be read as YAML: %w", err)
		}
		v["status"] = status
		out, err := yaml.Marshal(v)
		return string(out), err
	}
	return cut(doc, top, "status") + "\n" + string(text), nil
}

// cut leaves a top-level field out of a document.
func cut(doc string, top *yamlv3.Node, field string) string {
	lines := strings.Split(doc, "\n")
	for i := 0; i+1 < len(top.Content); i += 2 {
		if top.Content[i].Value != field {
			continue
		}
		end := len(lines) + 1
		if i+2 < len(top.Content) {
			end = top.Content[i+2].Line
		}
		lines = append(lines[:top.Content[i].Line-1:top.Content[i].Line-1], lines[end-1:]...)
		break
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n ")
}
