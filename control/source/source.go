// Package source is the contract between the control plane and the places where
// configuration and registries come from: files, Kubernetes, a supervisor.
//
// A source only reads and converts. It decides nothing that needs other
// sources (control/snapshot merges, control/check judges), and it prefers stale
// to wrong: what cannot be read at the moment is not reported as gone, and an
// object whose new version is bad keeps its last good one.
package source

import (
	"context"

	"github.com/weftmesh/weft/control/model"
)

// Source feeds model objects into the control plane.
type Source interface {
	// Name identifies the source in messages and in Delta.Source; unique in a
	// control plane.
	Name() string
	// Run sends a Full delta as soon as the source knows its objects, and
	// further deltas as they change, until ctx ends. It returns an error only
	// when the source can never work (a folder that is no folder); what may pass
	// it retries by itself. Sent objects are never changed afterwards.
	Run(ctx context.Context, out chan<- model.Delta) error
}

// Send hands a delta over unless ctx ends before it is taken.
func Send(ctx context.Context, out chan<- model.Delta, d model.Delta) error {
	select {
	case out <- d:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
