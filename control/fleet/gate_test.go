package fleet

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
)

// TestGate: so many at once, who comes back first, and who gives up is in nobody's way.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{free: 2}
		var order []string
		come := func(ctx context.Context, name string, resumes bool) {
			go func() {
				if g.enter(ctx, resumes) == nil {
					order = append(order, name)
				}
			}()
			synctest.Wait()
		}
		quits, quit := context.WithCancel(t.Context())
		come(t.Context(), "a", false)
		come(t.Context(), "b", false)
		come(t.Context(), "new 1", false)
		come(quits, "quitter", true)
		come(t.Context(), "back 1", true)
		come(t.Context(), "new 2", false)
		come(t.Context(), "back 2", true)
		quit()
		synctest.Wait()
		if want := []string{"a", "b"}; !slices.Equal(order, want) {
			t.Errorf("%q are in, want %q", order, want)
		}
		for range 6 {
			g.leave()
			synctest.Wait()
		}
		if want := []string{"a", "b", "back 1", "back 2", "new 1", "new 2"}; !slices.Equal(order, want) {
			t.Errorf("they came in as %q, want %q", order, want)
		}
		if g.free != 2 {
			t.Errorf("%d places are free in the end, want 2", g.free)
		}
	})
}
