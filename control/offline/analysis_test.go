package offline_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/weftmesh/weft/control/finding"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/offline"
)

var update = flag.Bool("update", false, "rewrite the expectations")

// TestAnalysis analyzes the files of each archive as one mesh and compares what is
// found with the archive's file "want". Together they have every message of Istio's
// that Weft has an equal of.
func TestAnalysis(t *testing.T) {
	paths, err := filepath.Glob("testdata/analysis/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no test data", err)
	}
	all := ""
	for _, p := range paths {
		t.Run(filepath.Base(p), func(t *testing.T) {
			ar, err := txtar.ParseFile(p)
			if err != nil {
				t.Fatal(err)
			}
			dir, want := t.TempDir(), ""
			var files []txtar.File
			for _, f := range ar.Files {
				if f.Name == "want" {
					want = string(f.Data)
					continue
				}
				files = append(files, f)
				if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got := strings.ReplaceAll(analyzed(t, dir), dir+string(filepath.Separator), "")
			all += got
			if *update {
				ar.Files = append(files, txtar.File{Name: "want", Data: []byte(got)})
				if err := os.WriteFile(p, txtar.Format(ar), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); d != "" {
				t.Errorf("(-want, +got):\n%s", d)
			}
		})
	}
	for _, c := range finding.All() {
		for _, e := range c.Istio {
			if !regexp.MustCompile(`\b` + e.Code + `\b`).MatchString(all) {
				t.Errorf("no archive has %s", e.Code)
			}
		}
	}
}

func analyzed(t *testing.T, dir string) string {
	t.Helper()
	m, err := offline.Load(offline.Options{Paths: []string{dir}, Analysis: true})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	finding.NewReport(m.Findings(), finding.Filter{Annotations: func(k model.Key) map[string]string {
		if o := m.Snapshot.Objects.Get(k); o != nil {
			return o.Head().Annotations
		}
		return nil
	}}).Text(&out, nil)
	return out.String()
}
