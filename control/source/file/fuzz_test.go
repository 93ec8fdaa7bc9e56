package file_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/file"
)

// FuzzDecode holds that no input panics, that every Finding says where, and
// that a bad document is told apart from a good one.
func FuzzDecode(f *testing.F) {
	paths, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			f.Fatal(err)
		}
		for _, a := range txtar.Parse(data).Files {
			if filepath.Ext(a.Name) == ".yaml" {
				f.Add(a.Data)
			}
		}
	}
	f.Add([]byte("a: &a [*a,*a,*a]\nkind: Service\napiVersion: v1\nmetadata: *a\n"))
	f.Add([]byte("kind: List\napiVersion: v1\nitems: [null, *x, 1]\n"))
	f.Add([]byte("\xff\xfe\x00"))
	f.Add([]byte("# weft:origin /x/y.yaml:12\nkind: Service\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		objects, findings := file.Decode(data, "dir/f.yaml")
		for _, o := range objects {
			if k := o.Head().Key; k.Kind == "" || k.Name == "" || o.Head().Hash == 0 || o.Head().Origin.Line == 0 {
				t.Errorf("object without key, hash or place: %+v", o.Head())
			}
		}
		for _, fd := range findings {
			if fd.Code == "" || fd.Message == "" || fd.Origin.File == "" || fd.Origin.Line <= 0 || fd.Severity > model.Error {
				t.Errorf("finding without code, message or place: %+v", fd)
			}
		}
	})
}
