package file

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestWhatIsNotSettled is left for the moment, and a look is asked for: no further
// notice may come of it, as for a file in a folder that is new itself.
func TestWhatIsNotSettled(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	s := New(Options{Paths: []string{dir}})
	look := func(what string, files int, again bool) {
		t.Helper()
		seen := s.scan()
		s.assemble(seen)
		if len(seen.order) != files || seen.again > 0 != again {
			t.Errorf("%s: %d files, another look in %v; want %d, %v", what, len(seen.order), seen.again, files, again)
		}
	}
	write := func(text string, age time.Duration) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	const account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a}\n"
	look("an empty folder", 0, false)
	s.sent = true
	write(account, -time.Hour) // another machine's clock
	look("of the future", 1, false)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	look("gone just now", 1, true)
	s.files[path].missing = time.Now().Add(-settleEmpty)
	look("gone for a while", 0, false)
	// The clock may pass 25 ms between writing and looking: write until it does not.
	for again := time.Duration(0); again == 0; {
		delete(s.files, path)
		write(account, 0)
		seen := s.scan()
		if again = seen.again; again > 0 && len(seen.order) != 0 {
			t.Error("a file that was written just now is used")
		}
	}
	write(account, time.Second)
	look("written a while ago", 1, false)
	write("", settleEmpty/4)
	look("emptied just now", 1, true)
	if len(s.objects) != 1 {
		t.Errorf("objects are %v, want the one that was there", s.objects)
	}
	write("", time.Second)
	look("emptied a while ago", 1, false)
	if len(s.objects) != 0 {
		t.Errorf("objects are %v, want none", s.objects)
	}
}
