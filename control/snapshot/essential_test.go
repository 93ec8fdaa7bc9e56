package snapshot

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftmesh/weft/control/model"
)

// TestEssential: a source that takes long is gone on without, unless it is essential.
func TestEssential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Options{Sources: []string{"file", "process"}, Essential: []string{"file"}})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = p.Run(ctx) }()
		time.Sleep(10 * patience)
		synctest.Wait()
		if s := p.Cell().Load(); s != nil {
			t.Fatalf("without the files there is version %d", s.Version)
		}
		p.In() <- model.Delta{Source: "file", Full: true}
		time.Sleep(time.Second)
		synctest.Wait()
		if p.Cell().Load() == nil {
			t.Error("the other source is waited for too")
		}
	})
}
