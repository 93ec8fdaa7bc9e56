// Package fence is the source that says when a host of a ServiceFence is listed no more: with its Finding there is
// a new snapshot, by which proxies are served anew.
//
// It changes no object: what a fence lists at a time, control/scope says.
package fence

import (
	"context"
	"fmt"
	"time"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source"
	"github.com/weftmesh/weft/control/source/document"
)

// Name is the source's name.
const Name = "fence"

// CodeExpired is the code of Findings about hosts that are listed no more.
const CodeExpired = "WEFT0192"

// Snapshots is where the fences come from.
type Snapshots interface {
	Load() *model.Snapshot
	Changed() <-chan struct{}
}

// Source watches deadlines. Make one with New.
type Source struct{ snapshots Snapshots }

// New returns a source.
func New(s Snapshots) *Source { return &Source{s} }

// Name implements source.Source.
func (*Source) Name() string { return Name }

// Run implements source.Source.
func (s *Source) Run(ctx context.Context, out chan<- model.Delta) error {
	for {
		changed := s.snapshots.Changed()
		now := time.Now().Unix()
		d := model.Delta{Source: Name, Full: true, Why: "deadlines of ServiceFences"}
		var next int64
		if snap := s.snapshots.Load(); snap != nil {
			d.Findings = expired(snap.Fences, now)
			next = model.NextDeadline(snap.Fences, now)
		}
		if err := source.Send(ctx, out, d); err != nil {
			return err
		}
		if err := s.wait(ctx, changed, next); err != nil {
			return err
		}
	}
}

// wait waits for another snapshot, or for a moment in Unix seconds (0: none).
func (s *Source) wait(ctx context.Context, changed <-chan struct{}, next int64) error {
	var due <-chan time.Time
	if next != 0 {
		t := time.NewTimer(time.Until(time.Unix(next, 0)))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-changed:
	case <-due:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func expired(list []*model.Fence, now int64) (out []model.Finding) {
	for _, f := range list {
		for _, h := range f.Hosts {
			if h.Until == 0 || h.Until > now {
				continue
			}
			field := document.Join("spec.host", h.Host)
			out = append(out, model.Finding{
				Code: CodeExpired, Severity: model.Info, Object: f.Key, Origin: f.At(field), Field: field,
				Message: fmt.Sprintf("is listed no more since %s", time.Unix(h.Until, 0).UTC().Format(time.RFC3339)), Remedy: "remove it, or give it another deadline",
			})
		}
	}
	return out
}
