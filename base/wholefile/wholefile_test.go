package wholefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, text := range []string{"one", "two, which is longer", ""} {
		if err := Write(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != text {
			t.Fatalf("%q, %v; want %q", got, err, text)
		}
	}
	if i, err := os.Stat(path); err != nil || i.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", i.Mode(), err)
	}
	if err := Write(filepath.Join(path, "below a file"), nil, 0o600); err == nil {
		t.Error("a file below a file was written")
	}
	// A folder at the name: the rename fails, and nothing is left behind.
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(filepath.Join(dir, "d"), nil, 0o600); err == nil {
		t.Error("a folder was replaced")
	}
	if list, _ := os.ReadDir(dir); len(list) != 2 {
		t.Errorf("left behind: %v", list)
	}
}

// TestCreate: of many at once one makes the file, and all find it whole.
func TestCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := ""
	for i := range 20 {
		wg.Go(func() {
			text := "content of " + strconv.Itoa(i)
			err := Create(path, []byte(text), 0o600)
			got, _ := os.ReadFile(path)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && made == "":
				made = text
			case err == nil:
				t.Errorf("%q was made after %q", text, made)
			case !errors.Is(err, fs.ErrExist):
				t.Error(err)
			}
			if len(got) < len("content of 0") {
				t.Errorf("the file has %q", got)
			}
		})
	}
	wg.Wait()
	if got, err := os.ReadFile(path); err != nil || string(got) != made || made == "" {
		t.Errorf("%q, %v; want %q", got, err, made)
	}
	if list, _ := os.ReadDir(filepath.Dir(path)); len(list) != 1 {
		t.Errorf("left behind: %v", list)
	}
}
