package file_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/file"
)

// TestLastGoodOfEveryKind: of each object in the corpus of good documents, whatever its
// kind, the last good version stays when the document gets an unknown field, and the
// objects beside it are not touched.
func TestLastGoodOfEveryKind(t *testing.T) {
	paths, err := filepath.Glob("testdata/good/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no test data", err)
	}
	kinds := map[model.Kind]bool{}
	for _, p := range paths {
		ar, err := txtar.ParseFile(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range ar.Files {
			if !strings.HasSuffix(f.Name, ".yaml") || strings.Contains(string(f.Data), "kind: List") {
				continue
			}
			for doc := range strings.SplitSeq("\n"+string(f.Data), "\n---\n") {
				good, findings := file.Decode([]byte(doc), "x.yaml")
				if len(good) == 0 || kinds[good[0].Head().Key.Kind] || !strings.Contains(doc, "\nkind:") {
					continue
				}
				for _, x := range findings {
					if x.Severity == model.Error {
						t.Fatalf("%s: %s", p, x)
					}
				}
				kinds[good[0].Head().Key.Kind] = true
				t.Run(string(good[0].Head().Key.Kind), func(t *testing.T) { keeps(t, doc, good) })
			}
		}
	}
	if len(kinds) < 20 {
		t.Errorf("only %d kinds: %v", len(kinds), kinds)
	}
}

const beside = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: beside, namespace: beside}\n"

// keeps runs a source on a document beside another, and then makes it bad.
func keeps(t *testing.T, doc string, good []model.Object) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		tmp := filepath.Join(t.TempDir(), "tmp")
		if err := errors.Join(os.WriteFile(tmp, []byte(text), 0o600), os.Rename(tmp, filepath.Join(dir, name))); err != nil {
			t.Fatal(err)
		}
	}
	write("beside.yaml", beside)
	write("x.yaml", doc)
	ctx, cancel := context.WithCancel(t.Context())
	out, ended := make(chan model.Delta), make(chan error, 1)
	go func() { ended <- file.New(file.Options{Paths: []string{dir}}).Run(ctx, out) }()
	t.Cleanup(func() { cancel(); <-ended })
	if first := <-out; len(first.Upserts) != len(good)+1 {
		t.Fatalf("at first there are %d objects, want %d", len(first.Upserts), len(good)+1)
	}
	write("x.yaml", "unknownField: {}\n"+strings.TrimPrefix(doc, "\n"))
	for {
		d := <-out
		if len(d.Upserts)+len(d.Deletes) > 0 {
			t.Fatalf("a bad version changes %d objects and deletes %v", len(d.Upserts), d.Deletes)
		}
		bad, kept := false, false
		for _, f := range d.Findings {
			bad = bad || f.Field == "unknownField" && f.Severity == model.Error
			kept = kept || f.Code == "WEFT0114" && f.Object == good[0].Head().Key || f.Code == "WEFT0114" && f.Object.Name == good[0].Head().Key.Name
		}
		if bad && kept {
			return
		}
	}
}
