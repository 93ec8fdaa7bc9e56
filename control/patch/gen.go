//go:build ignore

// Gen writes envoy.binpb.gz: the descriptors of all of Envoy's v3 API, and of what xDS
// has beside it, by the versions that go.mod names. Run it from the module's folder when
// these change: go run control/patch/gen.go
package main

import (
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

var modules = []string{"github.com/envoyproxy/go-control-plane/envoy", "github.com/cncf/xds/go"}

// collector writes what is linked into it.
const collector = `package main

import (
	"compress/gzip"
	"os"
	"sort"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

%s)

func main() {
	set := &descriptorpb.FileDescriptorSet{}
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		set.File = append(set.File, protodesc.ToFileDescriptorProto(f))
		return true
	})
	sort.Slice(set.File, func(i, j int) bool { return set.File[i].GetName() < set.File[j].GetName() })
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(set)
	if err != nil {
		panic(err)
	}
	z, err := gzip.NewWriterLevel(os.Stdout, gzip.BestCompression)
	if err != nil {
		panic(err)
	}
	if _, err := z.Write(raw); err != nil {
		panic(err)
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
}
`

func main() {
	log.SetFlags(0)
	var imports []string
	for _, m := range modules {
		imports = append(imports, packages(m)...)
	}
	// Inside of the module, so that its versions hold.
	dir, err := os.MkdirTemp(".", ".descriptors-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a folder of our own
	src := filepath.Join(dir, "main.go")
	if err := os.WriteFile(src, fmt.Appendf(nil, collector, strings.Join(imports, "")), 0o600); err != nil {
		log.Fatal(err)
	}
	cmd := exec.Command("go", "run", src)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		log.Fatal("the collector: ", err)
	}
	if err := os.WriteFile("control/patch/envoy.binpb.gz", out, 0o644); err != nil { //nolint:gosec // part of the source
		log.Fatal(err)
	}
}

// packages are import lines of a module's packages of messages.
func packages(module string) (imports []string) {
	raw, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		log.Fatal("go list: ", err)
	}
	root := strings.TrimSpace(string(raw))
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(p, ".pb.go") {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(p))
		if err == nil && !strings.Contains("/"+rel+"/", "/v2/") && !strings.Contains("/"+rel+"/", "/v2alpha/") {
			imports = append(imports, fmt.Sprintf("\t_ %q\n", module+"/"+filepath.ToSlash(rel)))
		}
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	slices.Sort(imports)
	return slices.Compact(imports)
}
