package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReferencePage: docs/REFERENCE.md has all fields; `make docs` writes it.
func TestReferencePage(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	want, err := reference("api/weft/v1alpha1")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"| `spec.readinessProbe.httpGet.httpHeaders[].name` | text |", "| `spec.command[]` | list of text | is the program", "## Deleted"} {
		if !strings.Contains(want, part) {
			t.Errorf("the page has no %q", part)
		}
	}
	page, err := os.ReadFile(filepath.Join("docs", "REFERENCE.md"))
	if err != nil || string(page) != want {
		t.Errorf("docs/REFERENCE.md is out of date (%v): run `make docs`", err)
	}
}
