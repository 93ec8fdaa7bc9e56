package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/cli"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/offline"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/wire"
)

// fileFlags are those of commands that read files instead of asking a mesh.
type fileFlags struct {
	offline.Options
}

func (f *fileFlags) add(c *cobra.Command, what string) {
	c.Flags().StringArrayVarP(&f.Paths, "filename", "f", nil, what+": a file, a folder, or - for standard input (may be repeated)")
	_ = c.MarkFlagFilename("filename", "yaml", "yml")
	c.Flags().StringVar(&f.Engine, "engine", scope.EngineGo, "engine of proxies whose workloads name none: go or envoy")
	_ = c.RegisterFlagCompletionFunc("engine", cobra.FixedCompletions([]string{scope.EngineGo, scope.EngineEnvoy}, cobra.ShellCompDirectiveNoFileComp))
	c.Flags().StringVar(&f.Mode, "config-mode", wire.ModeEager, "eager or on-demand, for workloads without the annotation "+wire.ModeKey)
	_ = c.RegisterFlagCompletionFunc("config-mode", cobra.FixedCompletions([]string{wire.ModeEager, wire.ModeOnDemand}, cobra.ShellCompDirectiveNoFileComp))
	captureFlags(c, &f.CaptureRange, &f.VIPRange)
	c.Flags().IntSliceVar(&f.Families, "families", []int{4}, "IP families of addresses that are made up: 4, 6, or 4,6")
}

// check tells whether the flags make sense.
func (f *fileFlags) check() error {
	if err := f.Check(); err != nil {
		return usage(err)
	}
	return nil
}

// load makes the mesh of the files.
func (f *fileFlags) load(c *cobra.Command) (*offline.Mesh, error) {
	if len(f.Paths) == 0 {
		return nil, usage(fmt.Errorf("%s needs -f: a file, a folder, or - for standard input", c.Name()))
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	f.Stdin = c.InOrStdin()
	return offline.Load(f.Options)
}

// find returns the proxies that a user's name means, and says how commands call them
// where it is written otherwise.
func find(c *cobra.Command, m *offline.Mesh, name string) ([]offline.Proxy, error) {
	found, err := m.Find(name)
	if err == nil && strings.Contains(name, "/") {
		namespace, own, _ := strings.Cut(name, "/")
		if namespace == "gateway" {
			own, namespace = found[0].ID.Name, found[0].Namespace()
		}
		fmt.Fprintf(c.ErrOrStderr(), "note: %s is written %s.%s in all commands\n", name, own, namespace)
	}
	return found, err
}

// encode writes a result as JSON or YAML.
func encode(c *cobra.Command, format string, v any) error {
	if format == "yaml" {
		raw, err := yaml.Marshal(v)
		if err != nil {
			return fmt.Errorf("output: %w", err)
		}
		_, err = c.OutOrStdout().Write(raw)
		return err
	}
	e := json.NewEncoder(c.OutOrStdout())
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// outputs are the forms of a result that encode and a writer of text know.
var outputs = []string{"text", "json", "yaml"}

func usage(err error) error { return &cli.Error{Code: cli.CodeUsage, Err: err} }

// errRefused is for a command that has said on standard error what is refused.
var errRefused = &cli.Error{Code: cli.CodeInvalid, Err: errors.New("not all objects could be used: see above")}

// tell writes Findings, each once, and returns errRefused when one is an error.
func tell(w io.Writer, list []model.Finding) error {
	var seen []model.Finding
	var err error
	for _, f := range list {
		if slices.Contains(seen, f) {
			continue
		}
		seen = append(seen, f)
		fmt.Fprintf(w, "%s: %s\n", f.Severity, f)
		if f.Severity == model.Error {
			err = errRefused
		}
	}
	return err
}
