package habit

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// ended runs a book to its end, which writes it.
func ended(t *testing.T, b *Book) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestRemembered(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	b := Open(dir, quiet())
	b.Note("shop/web", "hosts", "reviews", now)
	b.Note("shop/web", "hosts", "old", now.Add(-keep-time.Minute))
	b.Note("shop/web", "clusters", "tcp", now)
	b.Note("bank/till", "hosts", "other", now)
	ended(t, b)
	b = Open(dir, quiet())
	got := b.Names("shop/web", now)
	if !slices.Equal(got["hosts"], []string{"reviews"}) || !slices.Equal(got["clusters"], []string{"tcp"}) {
		t.Errorf("remembered %v", got)
	}
	if got := b.Names("shop/none", now); len(got) != 0 {
		t.Errorf("of an account that used nothing: %v", got)
	}
}

func TestBounded(t *testing.T) {
	now := time.Now()
	b := Open("", quiet())
	for i := range 10 * most {
		b.Note("a", "hosts", fmt.Sprint(i), now.Add(time.Duration(i)*time.Second))
	}
	got := b.Names("a", now)["hosts"]
	if len(got) != most || !slices.Contains(got, fmt.Sprint(10*most-1)) || slices.Contains(got, "0") {
		t.Errorf("%d names are remembered", len(got))
	}
	ended(t, b)
}

// TestUnreadable: a file that is no book is told of, and replaced.
func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "used.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	b := Open(dir, slog.New(slog.NewTextHandler(&said, nil)))
	if !bytes.Contains(said.Bytes(), []byte("used.json")) {
		t.Errorf("said %q", said.String())
	}
	b.Note("a", "hosts", "x", time.Now())
	ended(t, b)
	if got := Open(dir, quiet()).Names("a", time.Now()); len(got) != 1 {
		t.Errorf("remembered %v", got)
	}
}
