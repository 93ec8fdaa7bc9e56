package offline_test

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/control/finding"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/offline"
	"github.com/weftmesh/weft/test/istiodata"
)

// istioCase is one of the cases of Istio's analyzers: its input, what its analyzer
// finds, and in what we differ.
type istioCase struct {
	name, mesh string
	files      []string
	about      []string          // the codes of its analyzer
	want       []string          // "IST0101 Gateway default/web", sorted
	less, more map[string]string // what we do not find, what we find besides; why
}

// TestIstiosCases analyzes the test data of Istio's own analyzers and compares by
// meaning: the message about the object, which may be named as the other party of a
// conflict. Each difference has its reason in
// testdata/istio/cases.txt.
func TestIstiosCases(t *testing.T) {
	dir := filepath.Join(istiodata.Dir(t), "pkg/config/analysis/analyzers/testdata")
	for _, c := range readCases(t) {
		t.Run(c.name+"/"+c.files[0], func(t *testing.T) { c.run(t, dir) })
	}
}

func (c *istioCase) run(t *testing.T, dir string) {
	var paths []string
	for _, f := range c.files {
		paths = append(paths, filepath.Join(dir, f))
	}
	if c.mesh != "" {
		raw, err := os.ReadFile(filepath.Join(dir, c.mesh))
		if err != nil {
			t.Fatal(err)
		}
		p := filepath.Join(t.TempDir(), "mesh.yaml")
		if err := os.WriteFile(p, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, p)
	}
	m, err := offline.Load(offline.Options{Paths: paths, Analysis: true})
	if err != nil {
		t.Fatal(err)
	}
	found := m.Findings()
	for _, w := range c.want {
		code, object, _ := strings.Cut(w, " ")
		if finding.Absent[code] != "" {
			continue
		}
		has := slices.ContainsFunc(found, func(f model.Finding) bool {
			refused := f.Severity == model.Error && f.Code < "WEFT02" && title(f.Object) == object // and judged no further
			return refused || equals(code, f) && concerns(f, object)
		})
		if why := c.less[w]; has == (why != "") {
			t.Errorf("%s: found %v, said to be missing because %q", w, has, why)
		}
	}
	for _, f := range found {
		code := finding.Istio(f)
		w := code + " " + title(f.Object)
		if !slices.Contains(c.about, code) || code == "IST0101" || c.more[w] != "" || slices.ContainsFunc(c.want, func(w string) bool {
			c, object, _ := strings.Cut(w, " ")
			return equals(c, f) && concerns(f, object)
		}) {
			continue
		}
		t.Errorf("found besides: %s: %s", w, f)
	}
	if t.Failed() {
		for _, f := range found {
			t.Logf("%s %s %s", f.Code, finding.Istio(f), f)
		}
	}
}

// equals tells whether a Finding says what a message of Istio's does. A rule that is
// never reached is a match without effect as well.
func equals(code string, f model.Finding) bool {
	got := finding.Istio(f)
	return got == code || code == "IST0131" && got == "IST0130" || code == "IST0161" && f.Object.Kind == model.KindSecret
}

// title is the object as Istio's cases have it: kinds without their groups.
func title(k model.Key) string {
	kind, rest, _ := strings.Cut(k.Title(), " ")
	kind, _, _ = strings.Cut(kind, ".")
	return kind + " " + rest
}

// concerns tells whether a Finding is about an object, or names it as another party.
func concerns(f model.Finding, object string) bool {
	return title(f.Object) == object || strings.Contains(f.Message, object+" ") || f.Object.Kind == model.KindSecret
}

func readCases(t *testing.T) []*istioCase {
	t.Helper()
	file, err := os.Open("testdata/istio/cases.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var out []*istioCase
	for s := bufio.NewScanner(file); s.Scan(); {
		word, rest, _ := strings.Cut(strings.TrimSpace(s.Text()), " ")
		if word == "case" {
			out = append(out, &istioCase{name: rest, less: map[string]string{}, more: map[string]string{}})
			continue
		}
		if word == "" || word == "#" {
			continue
		}
		c := out[len(out)-1]
		switch word {
		case "files":
			c.files = strings.Fields(rest)
		case "mesh":
			c.mesh = rest
		case "about":
			c.about = strings.Fields(rest)
		case "less", "more":
			what, why, ok := strings.Cut(rest, ": ")
			if !ok {
				t.Fatalf("%s: no reason: %s", c.name, s.Text())
			}
			map[string]map[string]string{"less": c.less, "more": c.more}[word][what] = why
		default:
			c.want = append(c.want, word+" "+rest)
		}
	}
	if len(out) < 90 {
		t.Fatalf("only %d cases", len(out))
	}
	return out
}
