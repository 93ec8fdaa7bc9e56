package check_test

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/weftmesh/weft/control/check"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/snapshot"
	"github.com/weftmesh/weft/control/source/file"
)

var update = flag.Bool("update", false, "rewrite the expectations")

// TestCheck publishes the YAML files of each archive as one mesh and compares
// the findings with the archive's file "want".
func TestCheck(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no test data", err)
	}
	for _, p := range paths {
		t.Run(filepath.Base(p), func(t *testing.T) {
			ar, err := txtar.ParseFile(p)
			if err != nil {
				t.Fatal(err)
			}
			var objects []model.Object
			want := ""
			var files []txtar.File
			for _, f := range ar.Files {
				if f.Name == "want" {
					want = string(f.Data)
					continue
				}
				files = append(files, f)
				o, findings := file.Decode(f.Data, f.Name)
				objects = append(objects, o...)
				for _, fd := range findings {
					if fd.Severity == model.Error {
						t.Errorf("a document of the test is bad by itself: %s", fd)
					}
				}
			}
			got := ""
			for _, f := range publish(t, objects).Findings {
				got += f.Severity.String() + " " + f.Code + " " + f.String() + "\n"
			}
			if *update {
				ar.Files = append(files, txtar.File{Name: "want", Data: []byte(got)})
				if err := os.WriteFile(p, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); d != "" {
				t.Errorf("(-want, +got):\n%s", d)
			}
		})
	}
}

// publish makes the snapshot that the control plane would.
func publish(t *testing.T, objects []model.Object) *model.Snapshot {
	t.Helper()
	p := snapshot.New(snapshot.Options{Sources: []string{"test"}, Check: check.Check})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	changed := p.Cell().Changed()
	p.In() <- model.Delta{Source: "test", Full: true, Upserts: objects}
	<-changed
	cancel()
	<-done
	return p.Cell().Load()
}
