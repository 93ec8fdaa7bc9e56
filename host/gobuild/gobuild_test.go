package gobuild_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/host/gobuild"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		argv string
		want *gobuild.Run
	}{
		{"go run ./reviews", &gobuild.Run{Packages: []string{"./reviews"}}},
		{"go run . -port 80", &gobuild.Run{Packages: []string{"."}, Args: []string{"-port", "80"}}},
		{"/usr/local/go/bin/go run -race -tags a,b -ldflags=-s main.go other.go x", &gobuild.Run{
			Flags: []string{"-race", "-tags", "a,b", "-ldflags=-s"}, Packages: []string{"main.go", "other.go"}, Args: []string{"x"},
		}},
		{"go run example.com/cmd@latest", nil},
		{"go run ./...", nil},
		{"go run -exec sudo .", nil},
		{"go run -unknown .", nil},
		{"go run -race", nil},
		{"go build .", nil},
		{"go run", nil},
		{"redis-server", nil},
	} {
		got, ok := gobuild.Parse("/d", strings.Fields(tc.argv))
		if tc.want == nil {
			if ok {
				t.Errorf("%s: understood as %+v", tc.argv, got)
			}
			continue
		}
		tc.want.Dir = "/d"
		if tc.want.Args == nil {
			tc.want.Args = []string{}
		}
		if diff := cmp.Diff(*tc.want, got); diff != "" || !ok {
			t.Errorf("%s: (-want +got)\n%s", tc.argv, diff)
		}
	}
}

func TestBuild(t *testing.T) {
	src := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(src, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module example.com/x\n\ngo 1.24\n")
	write("main.go", "package main\n\nfunc main() { println(\"built\") }\n")
	b := gobuild.New(filepath.Join(t.TempDir(), "bin"))
	r, ok := gobuild.Parse(src, []string{"go", "run", "."})
	if !ok {
		t.Fatal("not understood")
	}
	var wg sync.WaitGroup
	paths := make([]string, 3)
	for i := range paths {
		wg.Go(func() {
			var err error
			if paths[i], err = b.Build(t.Context(), r, io.Discard); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if paths[0] != paths[1] || paths[1] != paths[2] {
		t.Errorf("not shared: %q", paths)
	}
	out, err := exec.Command(paths[0]).CombinedOutput()
	if string(out) != "built\n" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
	if want := filepath.Base(src); filepath.Base(paths[0]) != want {
		t.Errorf("is called %s, want %s", filepath.Base(paths[0]), want)
	}

	write("bad.go", "package main\n\nvar x int = \"text\"\n")
	var said strings.Builder
	r.Flags = []string{"-trimpath"} // another program: the first is still fresh
	_, err = b.Build(t.Context(), r, &said)
	var be *gobuild.Error
	if !errors.As(err, &be) || !strings.Contains(err.Error(), "bad.go:3") || !strings.Contains(said.String(), "bad.go:3") {
		t.Errorf("%v; said %q", err, said.String())
	}
}

func FuzzParse(f *testing.F) {
	f.Add("go run -tags x . a")
	f.Fuzz(func(t *testing.T, line string) {
		argv := strings.Fields(line)
		r, ok := gobuild.Parse("/d", argv)
		if ok && len(r.Packages) == 0 {
			t.Errorf("%q: no package", line)
		}
		if ok && len(r.Flags)+len(r.Packages)+len(r.Args) != len(argv)-2 {
			t.Errorf("%q: words got lost: %+v", line, r)
		}
	})
}
