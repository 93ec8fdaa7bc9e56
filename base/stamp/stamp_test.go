package stamp_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weftmesh/weft/base/stamp"
)

func TestStamp(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	old := now.Add(-time.Hour)
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	write := func(name, text string, at time.Time) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(dir, name), at, at); err != nil {
			t.Fatal(err)
		}
	}
	move := func(text string, at time.Time) {
		t.Helper()
		write("new", text, at)
		if err := os.Rename(filepath.Join(dir, "new"), path); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		before, then func()
		want         bool
	}{
		"nothing":                         {func() { write("a", "one", old) }, func() {}, false},
		"nothing, young":                  {func() { write("a", "one", now) }, func() {}, false},
		"still missing":                   {func() {}, func() {}, false},
		"appears":                         {func() {}, func() { write("a", "", old) }, true},
		"goes":                            {func() { write("a", "one", old) }, func() { os.Remove(path) }, true},
		"another size":                    {func() { write("a", "one", old) }, func() { write("a", "three", old) }, true},
		"another time":                    {func() { write("a", "one", old) }, func() { write("a", "one", now) }, true},
		"replaced, same size and time":    {func() { write("a", "one", old) }, func() { move("two", old) }, true},
		"rewritten within the same tick":  {func() { write("a", "one", now) }, func() { write("a", "two", now) }, true},
		"rewritten as it was, same tick":  {func() { write("a", "one", now) }, func() { write("a", "one", now) }, false},
		"behind a link that points other": {func() { write("b", "one", old); os.Symlink("b", path) }, func() { write("c", "two", old); os.Remove(path); os.Symlink("c", path) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			os.Remove(path)
			c.before()
			s := stamp.Take(filepath.Join(dir, "never"), path)
			c.then()
			for range 2 {
				if got := s.Changed(); got != c.want {
					t.Errorf("changed: %t, want %t", got, c.want)
				}
			}
		})
	}
	if none := (stamp.Stamp{}); none.Changed() {
		t.Error("no files changed")
	}
}
