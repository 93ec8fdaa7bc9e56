package explain

import (
	"encoding/json"
	"strings"

	"github.com/weftmesh/weft/control/model"
)

// plugins says which plug-ins stand in the way on one side, in the order in which they were put in.
func (r *request) plugins(where string, s *side, contexts ...model.PatchContext) {
	for _, ref := range s.view.Patches {
		p := ref.Patch()
		if ref.Filter.Fields == nil {
			continue // an EnvoyFilter
		}
		applies := p.Context == model.AnyContext
		for _, c := range contexts {
			applies = applies || p.Context == c
		}
		if !applies {
			continue
		}
		if p.ApplyTo != model.ToHTTPFilter {
			if p.ApplyTo != model.ToExtension {
				r.say("plug-in settings ("+where+")", &ref.Filter.Meta, "changes what %s of it matches", strings.ToLower(strings.ReplaceAll(string(p.ApplyTo), "_", " ")))
			}
			continue
		}
		var f struct {
			Name string `json:"name"`
		}
		_ = json.Unmarshal([]byte(p.Value), &f) // of our own making
		at := "before the router"
		if len(p.Before) > 1 {
			at = "before " + p.Before[0]
		}
		r.say("plug-in ("+where+")", &ref.Filter.Meta, "%s stands %s", f.Name, at)
	}
}
