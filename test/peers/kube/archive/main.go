// Command archive writes an image of a few files as an OCI archive: what test clusters run.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/weftmesh/weft/kube/image"
)

func main() {
	out := flag.String("o", "", "the archive")
	tag := flag.String("tag", "", "repository:tag of the image")
	entry := flag.String("entrypoint", "", "the program in it")
	flag.Parse()
	if err := run(*out, *tag, *entry, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "archive:", err)
		os.Exit(1)
	}
}

// run takes files as FILE=PATH.
func run(out, tag, entry string, files []string) error {
	s := image.Spec{Name: tag, Entrypoint: []string{entry}}
	for _, f := range files {
		from, to, ok := strings.Cut(f, "=")
		if !ok {
			return fmt.Errorf("%q: want FILE=PATH", f)
		}
		x, err := image.Executable(from, to)
		if err != nil {
			return err
		}
		s.Files = append(s.Files, x)
	}
	w, err := os.Create(out)
	if err != nil {
		return err
	}
	if err := image.Write(w, s); err != nil {
		_ = w.Close()
		return err
	}
	return w.Close()
}
