package finding_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/weftmesh/weft/control/finding"
	"github.com/weftmesh/weft/control/model"
)

// TestAllCodes: the table has every code that a package of the control plane declares,
// each once and in order, and no other.
func TestAllCodes(t *testing.T) {
	declared := map[string]string{}
	walk := func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") || filepath.Base(filepath.Dir(p)) == "finding" {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if s, _ := strconv.Unquote(lit.Value); strings.HasPrefix(s, "WEFT") && len(s) == 8 {
					declared[s] = p
				}
			}
			return true
		})
		return nil
	}
	for _, dir := range []string{"..", "../../kube"} {
		if err := filepath.WalkDir(dir, walk); err != nil {
			t.Fatal(err)
		}
	}
	if len(declared) < 80 {
		t.Fatalf("only %d codes found: is the control plane elsewhere?", len(declared))
	}
	last := ""
	for _, c := range finding.All() {
		if c.ID <= last {
			t.Errorf("%s comes after %s", c.ID, last)
		}
		last = c.ID
		if declared[c.ID] == "" {
			t.Errorf("no package makes %s", c.ID)
		}
		delete(declared, c.ID)
		if c.Meaning == "" || c.Remedy == "" {
			t.Errorf("%s: no meaning or no remedy", c.ID)
		}
	}
	for id, p := range declared {
		t.Errorf("%s of %s is in no table: add it to codes.go", id, p)
	}
}

// istio are all codes of istioctl analyze that are in use (its messages.yaml).
const istio = "0001 0002 0101 0102 0103 0106 0107 0108 0109 0110 0111 0112 0116 0118 0123 0125 0126 0127 0128 0129 0130 0131 0132 0133 0134 0135 0136 0137 " +
	"0138 0139 0140 0141 0142 0143 0144 0145 0146 0147 0148 0149 0150 0151 0152 0153 0154 0155 0156 0157 0158 0159 0160 0161 0162 0163 0164 0165 0166 0167 " +
	"0168 0169 0170 0171 0172 0173 0174 0175 0176 0177"

// TestEveryMessageOfIstio: each has an equal, or a reason why it has none.
func TestEveryMessageOfIstio(t *testing.T) {
	known := strings.Fields(istio)
	for _, n := range known {
		code := "IST" + n
		if (len(finding.Find(code)) > 0) == (finding.Absent[code] != "") {
			t.Errorf("%s: %d codes are its equals, absent because %q", code, len(finding.Find(code)), finding.Absent[code])
		}
	}
	for _, c := range finding.All() {
		for _, e := range c.Istio {
			if !slices.Contains(known, strings.TrimPrefix(e.Code, "IST")) {
				t.Errorf("%s: Istio has no %s", c.ID, e.Code)
			}
		}
	}
}

func of(code string, kind model.Kind) model.Finding {
	return model.Finding{Code: code, Object: model.Key{Kind: kind, Namespace: "shop", Name: "web"}}
}

func TestIstio(t *testing.T) {
	for f, want := range map[model.Finding]string{
		of("WEFT0208", model.KindVirtualService): "IST0109", of("WEFT0208", model.KindSidecar): "IST0111", of("WEFT0208", model.KindService): "",
		of("WEFT0245", model.KindPod): "IST0147", of("WEFT0245", model.KindDeployment): "IST0146", of("WEFT0202", model.KindVirtualService): "IST0101", of("WEFT9999", ""): "",
	} {
		if got := finding.Istio(f); got != want {
			t.Errorf("%s of a %s: got %q, want %q", f.Code, f.Object.Kind, got, want)
		}
	}
}

func TestSuppression(t *testing.T) {
	f := of("WEFT0208", model.KindVirtualService)
	for s, want := range map[string]bool{
		"WEFT0208": true, "ist0109": true, "IST0111": false, "*": true, "WEFT0208=VirtualService shop/web": true, "IST0109=VirtualService web.shop": true,
		"WEFT0208=VirtualService shop/*": true, "WEFT0208=* shop/web": true, "WEFT0208=VirtualService other/web": false, "WEFT0201=VirtualService shop/web": false,
	} {
		x, err := finding.ParseSuppression(s)
		if err != nil || x.Covers(f) != want {
			t.Errorf("%q: %v %v, want %v", s, x.Covers(f), err, want)
		}
	}
	for _, s := range []string{"", "WEFT9999", "IST9999=Pod a/b", "WEFT0208=", "WEFT0208=[", "=Pod a/b"} {
		if _, err := finding.ParseSuppression(s); err == nil {
			t.Errorf("%q was read", s)
		}
	}
	for value, want := range map[string]bool{"": false, "*": true, "IST0101, IST0109": true, "WEFT0208": true, "IST0101": false} {
		if got := finding.Annotated(map[string]string{finding.Annotation: value}, f); got != want {
			t.Errorf("annotation %q: %v, want %v", value, got, want)
		}
	}
}
