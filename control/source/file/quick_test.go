package file

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/fswatch"
)

// TestGlancesAreLooks edits a folder at random and compares what a source tells that
// reads what a notice names with one that looks at everything each time: the same
// deltas, good and bad documents, duplicates alike.
func TestGlancesAreLooks(t *testing.T) {
	t.Run("all kinds of faults", func(t *testing.T) { glances(t, 12, [3]int{10, 1}) })
	t.Run("few faults", func(t *testing.T) { glances(t, 2000, [3]int{100, 10, 10}) })
}

// glances has documents of so many names and faults, the fewer names the more, and wants
// so many files to be changed, added and removed by a glance.
func glances(t *testing.T, names int, want [3]int) {
	dir := t.TempDir()
	one, all := New(Options{Paths: []string{dir}}), New(Options{Paths: []string{dir}})
	rnd := rand.New(rand.NewPCG(1, 2))
	document := func(path string, i int) string {
		name := fmt.Sprintf("e%d", rnd.IntN(names))
		if rnd.IntN(4) > 0 {
			name = fmt.Sprintf("d%d-%d", i, xxhash.Sum64String(path)%1000)
		}
		switch rnd.IntN(names) {
		case 0:
			return "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: " + name + "}\nspec: {hosts: 7}\n" // bad
		case 1:
			return "kind: [\n" // of which nobody knows what it is
		case 2:
			name = "twice"
		}
		hosts := name + ".example"
		if rnd.IntN(names) == 0 {
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
	var paths []string
	for _, name := range []string{"f0.yaml", "f1.yaml", "f/2.yaml", "f/a/3.yaml", "f.d/4.yaml", "f0/5.yaml", "f6.yaml", ".hidden/7.yaml", "ignored/8.yaml"} {
		paths = append(paths, filepath.Join(dir, name))
		if err := os.MkdirAll(filepath.Dir(paths[len(paths)-1]), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, ignoring), "ignored\n")
	for i, path := range paths[:6] {
		texts[path] = []string{strings.ReplaceAll(document(path, 0), "twice", fmt.Sprint("n", i)), document(path, 1)}
		write(path, strings.Join(texts[path], "---\n"))
	}
	var did [3]int
	for step := range 500 {
		n := fswatch.Notice{Paths: map[string]bool{}}
		for range 1 + rnd.IntN(2) {
			path := paths[rnd.IntN(len(paths))]
			switch {
			case rnd.IntN(15) == 0:
				if os.Remove(path) == nil {
					delete(texts, path)
					for _, s := range []*Source{one, all} { // gone for long enough
						if e := s.files[path]; e != nil {
							e.missing = time.Now().Add(-time.Hour)
						}
					}
				}
			case len(texts[path]) > 0 && rnd.IntN(10) > 0:
				i := rnd.IntN(len(texts[path]))
				texts[path][i] = document(path, i)
				write(path, strings.Join(texts[path], "---\n"))
			default:
				texts[path] = append(texts[path], document(path, len(texts[path])))
				write(path, strings.Join(texts[path], "---\n"))
			}
			n.Paths[path] = true
		}
		n.All = step == 0 || rnd.IntN(20) == 0
		seen := one.look(n)
		probe := *one // what quick would say, without its effect
		probe.objects = maps.Clone(one.objects)
		if _, ok := probe.quick(seen.replaced); ok && seen.glance {
			for _, r := range seen.replaced {
				switch {
				case r.old == nil:
					did[1]++
				case r.now == nil:
					did[2]++
				default:
					did[0]++
				}
			}
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
	for i := range want {
		if did[i] < want[i] {
			t.Errorf("glances were enough for %v files changed, added, removed, want %v: the test shows little", did, want)
		}
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

// TestGoneForLongEnough: a file that is not there is left for a while, alone, and then
// takes its objects with it; no other file is looked at.
func TestGoneForLongEnough(t *testing.T) {
	dir := t.TempDir()
	paths := []string{filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")}
	for _, p := range paths {
		text := "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + strings.TrimSuffix(filepath.Base(p), ".yaml") + "}\n"
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := New(Options{Paths: []string{dir}})
	s.assemble(s.scan())
	if err := os.Remove(paths[0]); err != nil {
		t.Fatal(err)
	}
	n := fswatch.Notice{Paths: map[string]bool{paths[0]: false}}
	for range 2 {
		seen := s.look(n)
		if d, told := s.assemble(seen); told || !seen.glance || seen.again <= 0 || !cmp.Equal(seen.left, paths[:1]) || len(s.order) != 2 || s.order[1].path != paths[0] {
			t.Fatalf("a file that has just gone: told %v, glance %v, again in %v, left %v, delta %v", told, seen.glance, seen.again, seen.left, d)
		}
	}
	s.files[paths[0]].missing = time.Now().Add(-time.Hour)
	seen := s.look(n)
	d, told := s.assemble(seen)
	if !told || !seen.glance || seen.again != 0 || len(d.Deletes) != 1 || d.Deletes[0].Name != "a" || d.Why != "Namespace a removed" {
		t.Errorf("a file that has gone: told %v, glance %v, again in %v, delta %+v", told, seen.glance, seen.again, d)
	}
}
