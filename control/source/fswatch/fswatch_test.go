package fswatch

import (
	"context"
	"errors"
	"log/slog"
	"testing"
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
