package file_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/file"
)

var update = flag.Bool("update", false, "rewrite the expectations")

// TestCorpus decodes every document of testdata. Those in bad have findings,
// those in good have none but Info, and become the objects that are written there.
func TestCorpus(t *testing.T) {
	paths, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no test data", err)
	}
	documents := map[string]int{}
	for _, p := range paths {
		good := filepath.Base(filepath.Dir(p)) == "good"
		ar, err := txtar.ParseFile(p)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{}
		for _, f := range ar.Files {
			want[f.Name] = string(f.Data)
		}
		var out []txtar.File
		for _, f := range ar.Files {
			if !strings.HasSuffix(f.Name, ".yaml") {
				continue
			}
			name := strings.TrimSuffix(f.Name, ".yaml")
			t.Run(filepath.Base(filepath.Dir(p))+"/"+filepath.Base(p)+"/"+name, func(t *testing.T) {
				objects, findings := file.Decode(f.Data, f.Name)
				documents[filepath.Base(filepath.Dir(p))] += strings.Count("\n"+string(f.Data), "\nkind:") + strings.Count(string(f.Data), "{apiVersion:")
				got := report(findings)
				if good {
					if slices.ContainsFunc(findings, func(f model.Finding) bool { return f.Severity > model.Info }) {
						t.Errorf("a good document has findings:\n%s", got)
					}
					got += dump(objects)
				} else if len(findings) == 0 {
					t.Error("a bad document has no findings")
				}
				out = append(out, f, txtar.File{Name: name + ".want", Data: []byte(got)})
				if d := cmp.Diff(want[name+".want"], got); d != "" && !*update {
					t.Errorf("(-want, +got):\n%s", d)
				}
			})
		}
		if *update {
			ar.Files = out
			if err := os.WriteFile(p, txtar.Format(ar), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for kind, n := range documents {
		t.Logf("%s: %d documents", kind, n)
		if n < 40 {
			t.Errorf("%s: only %d documents", kind, n)
		}
	}
}

func report(findings []model.Finding) string {
	var b strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&b, "%s %s %s\n", f.Severity, f.Code, f)
	}
	return b.String()
}

// dump writes what is not zero in objects, but for lines and hashes.
func dump(objects []model.Object) string {
	var b strings.Builder
	for _, o := range objects {
		v := reflect.ValueOf(o).Elem()
		b.WriteString(v.Type().Name() + " ")
		write(&b, v, 0)
		b.WriteString("\n")
	}
	return b.String()
}

func write(b *strings.Builder, v reflect.Value, depth int) {
	if s, ok := v.Interface().(fmt.Stringer); ok && v.Kind() != reflect.Pointer {
		b.WriteString(s.String())
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		b.WriteString("&")
		write(b, v.Elem(), depth)
	case reflect.Slice:
		b.WriteString("[")
		for i := range v.Len() {
			if i > 0 {
				b.WriteString(", ")
			}
			write(b, v.Index(i), depth)
		}
		b.WriteString("]")
	case reflect.Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, c reflect.Value) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(c)) })
		b.WriteString("{")
		for i, k := range keys {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(b, "%v: ", k)
			write(b, v.MapIndex(k), depth)
		}
		b.WriteString("}")
	case reflect.Struct:
		b.WriteString("{")
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			if v.Field(i).IsZero() || name == "Hash" && depth == 1 || name == "Lines" || name == "Dir" || name == "Source" {
				continue
			}
			if depth == 0 {
				b.WriteString("\n ")
			}
			b.WriteString(" " + name + ":")
			write(b, v.Field(i), depth+1)
		}
		if depth == 0 {
			b.WriteString("\n")
		} else {
			b.WriteString(" ")
		}
		b.WriteString("}")
	case reflect.String:
		fmt.Fprintf(b, "%q", v.String())
	default:
		fmt.Fprint(b, v.Interface())
	}
}
