package oracle

import (
	"errors"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func corpus(t *testing.T) []Case {
	t.Helper()
	cases, err := Corpus("testdata")
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		t.Fatal("the corpus is empty")
	}
	return cases
}

// TestCasesBite: a case compared with itself has no difference, and has one after its
// edit; so the comparison sees what the case is about.
func TestCasesBite(t *testing.T) {
	for _, c := range corpus(t) {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			var forms [3]map[string]*Form
			var errs [3]error
			var wg sync.WaitGroup
			for i, c := range []Case{c, c, c.Edited()} {
				dir := t.TempDir()
				wg.Go(func() { forms[i], errs[i] = here(t.Context(), dir, c) })
			}
			wg.Wait()
			if err := errors.Join(errs[:]...); err != nil {
				t.Fatal(err)
			}
			differs := false
			for _, n := range Nodes {
				for _, d := range Compare(forms[0][n.Name], forms[1][n.Name]) {
					t.Errorf("compared with itself, %s: %s", n.Name, d)
				}
				differs = differs || len(Compare(forms[0][n.Name], forms[2][n.Name])) > 0
			}
			if !differs {
				t.Errorf("no difference after %q became %q", c.Old, c.New)
			}
		})
	}
}
