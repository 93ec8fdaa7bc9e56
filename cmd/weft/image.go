package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/cli"
	"github.com/weftmesh/weft/kube/image"
)

// imageFlags are those of `weft image`.
type imageFlags struct {
	weft, proxy, dir, repository, tag string
}

func imageCommand() *cobra.Command {
	var f imageFlags
	c := &cobra.Command{
		Use:   "image",
		Short: "Write container images of weft and weft-proxy, without a builder",
		Long: `Image writes two OCI archives, weft.tar and weft-proxy.tar: a program that needs no libraries, an
ordinary user, and the public certificate authorities; nothing else. The same programs make the
same bytes.

Nodes take them by ` + "`ctr -n k8s.io images import`" + `, or they are copied into a registry, e.g. by
skopeo or crane.`,
		Example: "  make images\n  weft image --dir images --repository registry.example.com/mesh",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	c.Flags().StringVar(&f.weft, "weft", "", "the program weft (default: this one)")
	c.Flags().StringVar(&f.proxy, "weft-proxy", "", "the program weft-proxy (default: the one beside this one)")
	c.Flags().StringVar(&f.dir, "dir", ".", "folder for the archives")
	c.Flags().StringVar(&f.repository, "repository", defaultRepository, "what the images' names begin with")
	c.Flags().StringVar(&f.tag, "tag", "", "tag of the images (default: the version)")
	return c
}

// defaultRepository is of images that were put on the nodes.
const defaultRepository = "localhost"

func (f *imageFlags) run(c *cobra.Command) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	tag := cmp.Or(f.tag, imageTag())
	if err := os.MkdirAll(f.dir, 0o755); err != nil { //nolint:gosec // what is in it is no secret
		return err
	}
	for _, i := range []struct {
		name, from string
		user       int
		more       []image.File
	}{
		{"weft", cmp.Or(f.weft, self), image.NonRoot, nil},
		// Pods of Istio's templates call it by pilot-agent's name.
		{"weft-proxy", cmp.Or(f.proxy, filepath.Join(filepath.Dir(self), "weft-proxy")), image.Proxy, []image.File{{Path: "/usr/local/bin/pilot-agent", Link: "weft-proxy"}}},
	} {
		at := "/usr/local/bin/" + i.name
		program, err := image.Executable(i.from, at)
		if errors.Is(err, os.ErrNotExist) {
			return &cli.Error{Code: cli.CodeUsage, Err: fmt.Errorf("%w: say with --%s where it is, or use make images", err, i.name)}
		}
		if err != nil {
			return err
		}
		s := image.Spec{
			Name: f.repository + "/" + i.name + ":" + tag, Entrypoint: []string{at}, User: fmt.Sprintf("%d:%[1]d", i.user),
			Files: append(i.more, program), Architecture: runtime.GOARCH,
			Labels: map[string]string{"org.opencontainers.image.title": i.name, "org.opencontainers.image.version": tag, "org.opencontainers.image.licenses": "Apache-2.0"},
		}
		path := filepath.Join(f.dir, i.name+".tar")
		if err := writeImage(path, s); err != nil {
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "%s: %s\n", path, s.Name)
	}
	return nil
}

func writeImage(path string, s image.Spec) error {
	w, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(image.Write(w, s), w.Close())
}

// imageTag is the tag of images of this version.
func imageTag() string { return versionTag(versionString()) }
