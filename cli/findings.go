package cli

import (
	"context"
	"net/url"

	"github.com/weftmesh/weft/control/model"
)

// findings are those of the whole mesh; nil when they are not to be had.
func (s *socket) findings(ctx context.Context) (out []model.Finding) {
	_ = s.get(ctx, "/v1/findings", nil, &out) // what was to be done counts, and says what is wrong
	return out
}

// without are the Findings of a list that another does not have, wherever in their files.
func without(list, other []model.Finding) (out []model.Finding) {
	known := map[model.Finding]bool{}
	for _, f := range other {
		known[placeless(f)] = true
	}
	for _, f := range list {
		if !known[placeless(f)] {
			out = append(out, f)
		}
	}
	return out
}

func placeless(f model.Finding) model.Finding {
	f.Origin.Line = 0
	return f
}

// Findings are what a running control plane finds fault with, without what
// annotations of objects suppress: the one of the mesh that is meant, or the one whose
// console is at path.
func (e *Env) Findings(ctx context.Context, mesh, path string) ([]model.Finding, error) {
	e.mesh = mesh
	s := dialUnix(path)
	if path == "" {
		var err error
		if s, err = e.console(); err != nil {
			return nil, err
		}
	}
	var out []model.Finding
	err := s.get(ctx, "/v1/findings", url.Values{"suppress": {"annotations"}}, &out)
	return out, err
}
