package fswatch

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestAgain: a look that is asked for comes without anything happening. By
// rescans alone the test would take minutes.
func TestAgain(t *testing.T) {
	done := errors.New("enough")
	looks := 0
	dir := t.TempDir()
	err := Run(t.Context(), slog.New(slog.DiscardHandler), func(Notice) (Look, error) {
		if looks++; looks == 200 {
			return Look{}, done
		}
		return Look{Dirs: []string{dir}, Again: time.Millisecond}, nil
	})
	if !errors.Is(err, done) {
		t.Errorf("Run returned %v", err)
	}
}

func TestEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	err := Run(ctx, slog.New(slog.DiscardHandler), func(Notice) (Look, error) {
		cancel()
		return Look{}, nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Run returned %v", err)
	}
}

// TestRescansGrowRare: where rescans find nothing, they become fewer, until one does; what
// a look left is looked at again alone.
func TestRescansGrowRare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var at []time.Duration
		begin := time.Now()
		looks := 0
		r := &runner{watcher: silent(make(chan event)), watched: map[string]bool{}, scan: func(n Notice) (Look, error) {
			at = append(at, time.Since(begin).Round(time.Second))
			switch looks++; {
			case looks == 7:
				if !n.All {
					t.Errorf("a rescan is of %v", n.Paths)
				}
				return Look{Found: true, Again: time.Second, Left: []string{"a"}}, nil
			case looks == 8 && (n.All || len(n.Paths) != 1):
				t.Errorf("what was left is %+v", n)
			case looks == 10:
				cancel()
			}
			return Look{}, nil
		}}
		if err := r.run(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		want := []time.Duration{0, 2, 6, 14, 30, 46, 62, 63, 64, 68}
		for i := range want {
			want[i] *= time.Second
		}
		if !slices.Equal(at, want) {
			t.Errorf("looked at %v, want %v", at, want)
		}
	})
}

// silent is a watcher that has nothing to say.
type silent chan event

func (silent) add(string) error       { return nil }
func (silent) remove(string)          {}
func (s silent) events() <-chan event { return s }
func (silent) close()                 {}
