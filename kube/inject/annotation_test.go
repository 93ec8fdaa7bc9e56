package inject

import (
	"slices"
	"testing"

	"istio.io/api/annotation"
)

// TestEveryAnnotation: each that Istio has for pods is carried out, or said to have no
// effect.
func TestEveryAnnotation(t *testing.T) {
	seen := 0
	for _, a := range annotation.AllResourceAnnotations() {
		if !slices.Contains(a.Resources, annotation.Pod) && !slices.Contains(a.Resources, annotation.Any) {
			continue
		}
		if a.Name == annotation.GalleyAnalyzeSuppress.Name {
			continue // of analyzers
		}
		seen++
		if _, ok := effects[a.Name]; !ok {
			t.Errorf("%s: nothing is known of it: %s", a.Name, a.Description)
		}
	}
	if seen < 40 {
		t.Errorf("only %d annotations are for pods", seen)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{"a":{"mountPath":"/x"}}`, "80:/m,81", "127.0.0.1/8,10.0.0.0/8")
	f.Add("", "", "*")
	f.Fuzz(func(t *testing.T, volumes, targets, nets string) {
		_ = isMounts(volumes)
		_ = isVolumes(volumes)
		list, err := parseTargets(targets)
		if err == nil && len(list) == 0 {
			t.Error("no targets and no error")
		}
		for name, e := range effects {
			if e.check != nil {
				_ = e.check(nets)
				_ = e.check(targets)
			}
			if e.none != "" && e.check != nil {
				t.Errorf("%s is checked and has no effect", name)
			}
		}
		if s := labelValue(volumes); len(s) > maxLabel {
			t.Errorf("%q is too long", s)
		}
		_, _ = parseProxyConfig(volumes)
	})
}
