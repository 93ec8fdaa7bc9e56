package file

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/fswatch"
)

// TestGlancesAreLooks edits a folder at random and compares what a source tells that
// reads what a notice names with one that looks at everything each time: the same
// deltas, good and bad documents, duplicates alike.
func TestGlancesAreLooks(t *testing.T) {
	dir := t.TempDir()
	one, all := New(Options{Paths: []string{dir}}), New(Options{Paths: []string{dir}})
	rnd := rand.New(rand.NewPCG(1, 2))
	document := func() string {
		name := fmt.Sprintf("e%d", rnd.IntN(12))
		switch rnd.IntN(12) {
		case 0:
			return "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: " + name + "}\nspec: {hosts: 7}\n" // bad
		case 1:
			return "kind: [\n" // of which nobody knows what it is
		case 2:
			name = "twice"
		}
		hosts := name + ".example"
		if rnd.IntN(8) == 0 {
			hosts += ", more-" + hosts
		}
		return fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: %s}\nspec:\n  hosts: [%s]\n  resolution: STATIC\n"+
			"%s  ports: [{number: 80, name: http, protocol: HTTP}]\n  endpoints: [{address: 10.0.0.%d}]\n", name, hosts, strings.Repeat("# a comment\n", rnd.IntN(2)), 1+rnd.IntN(9))
	}
	clock := time.Now().Add(-time.Hour)
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		clock = clock.Add(time.Second)
		if err := os.Chtimes(path, clock, clock); err != nil {
			t.Fatal(err)
		}
	}
	texts := map[string][]string{}
	for i := range 6 {
		path := filepath.Join(dir, fmt.Sprintf("f%d.yaml", i))
		texts[path] = []string{strings.ReplaceAll(document(), "twice", fmt.Sprint("n", i)), document()}
		write(path, strings.Join(texts[path], "---\n"))
	}
	quick := 0
	for step := range 400 {
		n := fswatch.Notice{Paths: map[string]bool{}}
		for range 1 + rnd.IntN(2) {
			path := filepath.Join(dir, fmt.Sprintf("f%d.yaml", rnd.IntN(7)))
			switch {
			case rnd.IntN(30) == 0:
				if os.Remove(path) == nil {
					delete(texts, path)
					for _, s := range []*Source{one, all} { // gone for long enough
						if e := s.files[path]; e != nil {
							e.missing = time.Now().Add(-time.Hour)
						}
					}
				}
			case len(texts[path]) > 0 && rnd.IntN(10) > 0:
				texts[path][rnd.IntN(len(texts[path]))] = document()
				write(path, strings.Join(texts[path], "---\n"))
			default:
				texts[path] = append(texts[path], document())
				write(path, strings.Join(texts[path], "---\n"))
			}
			n.Paths[path] = true
		}
		n.All = step == 0 || rnd.IntN(20) == 0
		seen := one.look(n)
		if len(seen.replaced) > 0 {
			quick++
		}
		got, told := one.assemble(seen)
		want, news := all.assemble(all.scan())
		if d := cmp.Diff(tell(want, news), tell(got, told)); d != "" {
			t.Fatalf("step %d, notice %v, -all +one:\n%s", step, n, d)
		}
		if d := cmp.Diff(inForce(all), inForce(one)); d != "" {
			t.Fatalf("step %d, notice %v, in force, -all +one:\n%s", step, n, d)
		}
	}
	if quick < 100 {
		t.Errorf("only %d glances were enough: the test shows little", quick)
	}
}

func tell(d model.Delta, news bool) (out []string) {
	if !news {
		return nil
	}
	out = append(out, "why "+d.Why)
	for _, o := range d.Upserts {
		out = append(out, fmt.Sprintf("%v %x %v", o.Head().Key, o.Head().Hash, o.Head().Origin))
	}
	for _, k := range d.Deletes {
		out = append(out, "gone "+k.String())
	}
	for _, f := range d.Findings {
		out = append(out, f.String())
	}
	return out
}

func inForce(s *Source) map[string]string {
	out := map[string]string{}
	for k, sl := range s.objects {
		out[k.String()] = sl.file
	}
	for k, o := range s.emitted {
		out["emitted "+k.String()] = fmt.Sprintf("%x %v", o.Head().Hash, o.Head().Origin)
	}
	return out
}
