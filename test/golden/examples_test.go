package golden

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/weftmesh/weft/control/model"
)

// TestExamples: what the examples' proxies get is accepted by both engines, with
// each of the files that their READMEs apply.
func TestExamples(t *testing.T) {
	base, err := filepath.Glob("../../examples/*/*.yaml")
	if err != nil || len(base) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	folders := map[string][]string{}
	for _, f := range base {
		folders[filepath.Dir(f)] = append(folders[filepath.Dir(f)], f)
	}
	for dir, files := range folders {
		more, _ := filepath.Glob(filepath.Join(dir, "*", "*.yaml"))
		for _, extra := range append([]string{""}, more...) {
			t.Run(filepath.Base(dir)+"/"+strings.TrimSuffix(filepath.Base(extra), ".yaml"), func(t *testing.T) {
				example(t, files, extra)
			})
		}
	}
}

func example(t *testing.T, files []string, extra string) {
	t.Helper()
	// What is applied comes first: of two objects of one name the first counts.
	a := &archive{}
	if extra != "" {
		files = append([]string{extra}, files...)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		a.inputs = append(a.inputs, txtar.File{Name: f, Data: raw})
	}
	envoy, _ := exec.LookPath(os.Getenv("WEFT_ENVOY"))
	s := a.snapshot(t)
	for _, w := range s.Workloads {
		if w.Key.Kind != model.KindWorkload {
			continue
		}
		a.spec.Workload = w.Namespace + "/" + w.Name
		r, _ := a.translate(t, "go")
		accept(t, r)
		if envoy != "" {
			r, _ = a.translate(t, "envoy")
			validate(t, envoy, r)
		}
	}
	for _, g := range s.Gateways {
		a.spec = proxySpec{Workload: g.Key.Namespace + "/gateway", Gateway: true, Labels: g.Selector}
		r, findings := a.translate(t, "go")
		accept(t, r)
		for _, f := range findings {
			if f.Severity == model.Error {
				t.Error(f)
			}
		}
		if envoy != "" {
			r, _ = a.translate(t, "envoy")
			validate(t, envoy, r)
		}
	}
}
