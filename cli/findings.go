package cli

import (
	"context"
	"net/url"

	"github.com/weftmesh/weft/control/model"
)

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
