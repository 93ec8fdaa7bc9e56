package process_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/weftmesh/weft/host/process"
)

func replacement(t *testing.T, what string, taken func(context.Context) error) process.Replacement {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return process.Replacement{Command: []string{exe, "program", what}, Taken: taken}
}

// TestReplace: the new process is kept running, the old one until it ends.
func TestReplace(t *testing.T) {
	k := keep(t, process.Program{}, "polite")
	first := k.next(t, process.Started).PID
	up := func(n int) func(context.Context) error { // that many have said so
		return func(ctx context.Context) error {
			enough := errors.New("enough")
			err := k.log.Follow(ctx, 100, func(line string) error {
				if line == "up" {
					n--
				}
				if n == 0 {
					return enough
				}
				return nil
			})
			if errors.Is(err, enough) {
				return nil
			}
			return err
		}
	}
	if err := k.keeper.Replace(t.Context(), replacement(t, "polite", up(2))); err != nil {
		t.Fatal(err)
	}
	second := k.next(t, process.Replaced).PID
	if second == first {
		t.Error("it is the same process")
	}
	// Once more, with the first still there: both are stopped at the end.
	if err := k.keeper.Replace(t.Context(), replacement(t, "polite", up(3))); err != nil {
		t.Fatal(err)
	}
	k.next(t, process.Replaced)
	k.stop()
	if n := strings.Count(strings.Join(k.log.Tail(100), "\n"), "bye"); n != 3 {
		t.Errorf("%d processes were stopped in order, want 3: %q", n, k.log.Tail(100))
	}
}

// TestReplaceInVain: nothing has changed when the new process cannot take over.
func TestReplaceInVain(t *testing.T) {
	k := keep(t, process.Program{}, "polite")
	k.next(t, process.Started)
	ends := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	if err := k.keeper.Replace(t.Context(), replacement(t, "false", ends)); err == nil || !strings.Contains(err.Error(), "exit code 1") {
		t.Errorf("a process that dies: %v", err)
	}
	broken := errors.New("not ready")
	if err := k.keeper.Replace(t.Context(), replacement(t, "polite", func(context.Context) error { return broken })); !errors.Is(err, broken) {
		t.Errorf("a process that is not ready: %v", err)
	}
	if err := k.keeper.Replace(t.Context(), process.Replacement{Command: []string{"/does/not/exist"}}); err == nil {
		t.Error("no such program, and no error")
	}
	k.stop()
	for _, e := range k.all {
		if e.Kind == process.Exited || e.Kind == process.Replaced {
			t.Errorf("event %+v", e)
		}
	}
}
