package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/cli"
	"github.com/weftmesh/weft/control/finding"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/offline"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/source/file"
	"github.com/weftmesh/weft/host/rundir"
	"github.com/weftmesh/weft/wire"
)

// analyzeFlags are those of `weft analyze`.
type analyzeFlags struct {
	offline.Options
	mesh, socket, namespace, out, least, fail, explain string
	suppress                                           []string
	all, recursive, codes                              bool
}

func analyzeCommand() *cobra.Command {
	var a analyzeFlags
	c := &cobra.Command{
		Use:   "analyze [FILE|DIR|-]…",
		Short: "Find what is wrong with configuration, in files or in a running mesh",
		Long: `Analyze finds what is wrong with configuration: each document by itself, objects that do not
fit together, and what shows when proxies are configured. Of files and folders it reads all
kinds that Weft knows, and of Kubernetes also what runs and how it is injected (Pods,
Deployments, Namespaces, webhooks, CustomResourceDefinitions). Nothing runs and nothing is
asked over a network. Without files it asks the running mesh.

Each finding has a code of Weft's and, where istioctl analyze says the same, Istio's beside it.
A finding is left out with --suppress, or by the annotation galley.istio.io/analyze-suppress of
its object: codes with commas, or *.

The exit code is ` + fmt.Sprint(cli.CodeFindings) + ` when a finding is as bad as --failure-threshold, or worse.`,
		Example: `  weft analyze examples/bookstore
  kubectl get all,virtualservices,destinationrules,gateways -A -o yaml | weft analyze -
  weft analyze . -o json --failure-threshold warning
  weft analyze . --suppress 'IST0102=Namespace *' --suppress WEFT0127
  weft analyze --explain WEFT0208
  weft analyze --mesh bookstore`,
		RunE: func(c *cobra.Command, args []string) error { return a.run(c, args) },
	}
	f := c.Flags()
	f.StringVar(&a.mesh, "mesh", "", "name of the running mesh (default: the only one)")
	f.StringVar(&a.socket, "console", "", "console of a running control plane, instead of a mesh's")
	f.StringVarP(&a.namespace, "namespace", "n", "", "only findings about objects of this namespace, and of those that have none")
	f.BoolVarP(&a.all, "all-namespaces", "A", false, "findings of all namespaces (the default)")
	f.BoolVarP(&a.recursive, "recursive", "R", true, "read what is below folders too, as weft up does")
	f.StringVarP(&a.out, "output", "o", "text", "output: text, json, yaml or sarif")
	f.StringVar(&a.least, "severity", "info", "the lowest severity that is shown: info, warning or error")
	f.StringVar(&a.fail, "failure-threshold", "error", "the lowest severity for which the exit code says so: info, warning or error")
	f.StringArrayVarP(&a.suppress, "suppress", "S", nil, "leave out findings: CODE, or CODE=Kind namespace/name with * for any text (may be repeated)")
	f.StringVar(&a.Engine, "engine", scope.EngineGo, "engine of proxies whose workloads name none: go or envoy")
	f.StringVar(&a.Mode, "config-mode", wire.ModeEager, "eager or on-demand, for workloads without the annotation "+wire.ModeKey)
	f.BoolVar(&a.codes, "codes", false, "list all codes: severity, meaning, what to do, Istio's code")
	f.StringVar(&a.explain, "explain", "", "say what a code means: Weft's or Istio's")
	for name, words := range map[string][]string{
		"output": {"text", "json", "yaml", "sarif"}, "severity": severities, "failure-threshold": severities, "engine": {scope.EngineGo, scope.EngineEnvoy},
		"config-mode": {wire.ModeEager, wire.ModeOnDemand},
	} {
		_ = c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
	c.MarkFlagsMutuallyExclusive("namespace", "all-namespaces")
	return c
}

var severities = []string{"info", "warning", "error"}

func (a *analyzeFlags) run(c *cobra.Command, args []string) error {
	if a.codes || a.explain != "" {
		return a.tellCodes(c)
	}
	filter, err := a.filter()
	if err != nil {
		return usage(err)
	}
	if len(args) == 0 {
		list, err := (&cli.Env{Runs: rundir.DefaultRoot()}).Findings(c.Context(), a.mesh, a.socket)
		if err != nil {
			return err
		}
		return a.show(c, finding.NewReport(list, filter), "the running mesh is in order")
	}
	if a.mesh != "" || a.socket != "" {
		return usage(errors.New("files are analyzed by themselves: leave out --mesh and --console, or the files"))
	}
	if err := a.Check(); err != nil {
		return usage(err)
	}
	if a.Paths, err = a.paths(args); err != nil {
		return err
	}
	a.Stdin, a.Analysis = c.InOrStdin(), true
	m, err := offline.Load(a.Options)
	if err != nil {
		return err
	}
	filter.Annotations = func(k model.Key) map[string]string {
		if o := m.Snapshot.Objects.Get(k); o != nil {
			return o.Head().Annotations
		}
		return nil
	}
	return a.show(c, finding.NewReport(m.Findings(), filter), strings.Join(args, ", ")+": in order")
}

// filter reads the flags that say what is shown.
func (a *analyzeFlags) filter() (f finding.Filter, err error) {
	f.Namespace = a.namespace
	if err := f.Least.UnmarshalText([]byte(a.least)); err != nil {
		return f, fmt.Errorf("--severity: %w", err)
	}
	if err := f.Fail.UnmarshalText([]byte(a.fail)); err != nil {
		return f, fmt.Errorf("--failure-threshold: %w", err)
	}
	for _, s := range a.suppress {
		x, err := finding.ParseSuppression(s)
		if err != nil {
			return f, fmt.Errorf("--suppress %w", err)
		}
		f.Suppress = append(f.Suppress, x)
	}
	return f, nil
}

// paths are the arguments, with folders taken apart where only their own files count.
func (a *analyzeFlags) paths(args []string) ([]string, error) {
	if a.recursive {
		return args, nil
	}
	var out []string
	for _, arg := range args {
		info, err := os.Stat(arg)
		if arg == file.Stdin || err == nil && !info.IsDir() {
			out = append(out, arg)
			continue
		}
		entries, err := os.ReadDir(arg)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if ext := filepath.Ext(e.Name()); e.Type()&fs.ModeDir == 0 && (ext == ".yaml" || ext == ".yml") {
				out = append(out, filepath.Join(arg, e.Name()))
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no YAML in %s: name a file, or a folder with files *.yaml or *.yml", strings.Join(args, ", "))
	}
	return out, nil
}

// show writes a report, and returns an error when it has failed.
func (a *analyzeFlags) show(c *cobra.Command, r *finding.Report, fine string) error {
	out := c.OutOrStdout()
	switch a.out {
	case "text", "table":
		colour := cli.Colour(out)
		r.Text(out, func(s model.Severity) string { return cli.SeverityStyle(s).Paint(s.String(), colour) })
		if len(r.Findings) == 0 {
			fmt.Fprintln(out, fine)
		}
		if r.Suppressed > 0 {
			fmt.Fprintf(c.ErrOrStderr(), "%d suppressed\n", r.Suppressed)
		}
	case "json":
		if err := writeJSON(c, r); err != nil {
			return err
		}
	case "yaml":
		raw, err := yaml.Marshal(r)
		if err != nil {
			return fmt.Errorf("output: %w", err)
		}
		if _, err := out.Write(raw); err != nil {
			return err
		}
	case "sarif":
		if err := r.SARIF(out, versionString()); err != nil {
			return err
		}
	default:
		return usage(fmt.Errorf("-o %s: want text, json, yaml or sarif", a.out))
	}
	if r.Failed {
		return &cli.Error{Code: cli.CodeFindings, Err: fmt.Errorf("%s (`weft analyze --explain CODE` says more)", r.Counts)}
	}
	return nil
}

func writeJSON(c *cobra.Command, v any) error {
	enc := json.NewEncoder(c.OutOrStdout())
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// tellCodes lists codes, or says what one means.
func (a *analyzeFlags) tellCodes(c *cobra.Command) error {
	list := finding.All()
	if a.explain != "" {
		if list = finding.Find(a.explain); len(list) == 0 {
			if why := finding.Absent[strings.ToUpper(a.explain)]; why != "" {
				fmt.Fprintf(c.OutOrStdout(), "%s: Weft has no equal: %s\n", strings.ToUpper(a.explain), why)
				return nil
			}
			return usage(fmt.Errorf("--explain: there is no code %q: `weft analyze --codes` lists them", a.explain))
		}
	}
	switch {
	case a.out == "json":
		return writeJSON(c, list)
	case a.out == "markdown" && a.explain == "":
		return finding.Page(c.OutOrStdout())
	case a.out != "text":
		return usage(fmt.Errorf("-o %s: codes come as text, json or (all) markdown", a.out))
	case a.explain == "":
		t := &cli.Table{Head: []string{"CODE", "SEVERITY", "ISTIO", "MEANING", "REMEDY"}}
		for _, x := range list {
			t.Row(x.ID, x.Severity.String(), finding.Equals(x), x.Meaning, x.Remedy)
		}
		t.Write(c.OutOrStdout(), cli.Colour(c.OutOrStdout()))
		return nil
	}
	for _, x := range list {
		fmt.Fprintf(c.OutOrStdout(), "%s (%s): %s\nWhat to do: %s\n", x.ID, x.Severity, x.Meaning, x.Remedy)
		if e := finding.Equals(x); e != "" {
			fmt.Fprintf(c.OutOrStdout(), "istioctl analyze says: %s\n", e)
		}
	}
	return nil
}
