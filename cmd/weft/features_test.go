package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/weftmesh/weft/control/finding"
	"github.com/weftmesh/weft/proxy"
)

// TestEnvoyAPIPage: docs/ENVOY_API.md says what the code does; `make docs` writes it.
func TestEnvoyAPIPage(t *testing.T) {
	f, err := proxy.Supported()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := writeFeatures(&b, f); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "ENVOY_API.md"))
	if err != nil || !bytes.Equal(page, b.Bytes()) {
		t.Errorf("docs/ENVOY_API.md is out of date (%v): run `make docs`", err)
	}
}

// TestFindingsPage: docs/FINDINGS.md has all codes; `make docs` writes it.
func TestFindingsPage(t *testing.T) {
	var b bytes.Buffer
	if err := finding.Page(&b); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "FINDINGS.md"))
	if err != nil || !bytes.Equal(page, b.Bytes()) {
		t.Errorf("docs/FINDINGS.md is out of date (%v): run `make docs`", err)
	}
}
