package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/cli"
	"github.com/weftmesh/weft/control/source/file"
	precheck "github.com/weftmesh/weft/kube/check"
	"github.com/weftmesh/weft/kube/install"
)

func checkCommand() *cobra.Command {
	var f clusterFlags
	var skip []string
	var pre bool
	var out string
	c := &cobra.Command{
		Use:   "check",
		Short: "Check whether a cluster can have a mesh, or whether its mesh works",
		Long: `Check asks a Kubernetes cluster whether a mesh can be installed, and when one is, whether it works. It
changes nothing. The exit code is ` + fmt.Sprint(cli.CodeNotHealthy) + ` when a check fails.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := f.client()
			if err != nil {
				return err
			}
			definitions, err := install.Definitions(file.NewDecoder())
			if err != nil {
				return err
			}
			o := precheck.Options{Client: client, Install: install.Options{Namespace: f.namespace}, Definitions: definitions, Skip: skip}
			results := precheck.Before(c.Context(), o)
			if !pre && precheck.Installed(c.Context(), o) {
				results = append(results, precheck.After(c.Context(), o)...)
			}
			switch out {
			case "table":
				return show(c.OutOrStdout(), results, true)
			case "json", "yaml":
				return printed(c.OutOrStdout(), out, results)
			}
			return &cli.Error{Code: cli.CodeUsage, Err: fmt.Errorf("--output %q: want table, json or yaml", out)}
		},
	}
	f.add(c)
	c.Flags().BoolVar(&pre, "before", false, "only what has to be so before a mesh is installed")
	c.Flags().StringVarP(&out, "output", "o", "table", "output: table, json or yaml")
	c.Flags().StringSliceVar(&skip, "skip", nil, "checks that are left out, by name")
	_ = c.RegisterFlagCompletionFunc("skip", cobra.FixedCompletions(precheck.Names(), cobra.ShellCompDirectiveNoFileComp))
	return c
}

// show prints results, all or those that are not good; an error when one is bad.
func show(out io.Writer, results []precheck.Result, all bool) error {
	bad := 0
	for _, r := range results {
		if r.Verdict == precheck.Bad {
			bad++
		}
		if !all && r.Verdict == precheck.Good {
			continue
		}
		fmt.Fprintf(out, "%-8s %-22s %s\n", r.Verdict, r.Name, r.Message)
		if r.Remedy != "" {
			fmt.Fprintf(out, "%32s%s\n", "→ ", r.Remedy)
		}
	}
	if bad > 0 {
		return &cli.Error{Code: cli.CodeNotHealthy, Err: fmt.Errorf("%d checks failed", bad)}
	}
	return nil
}

// printed is what show says, for programs.
func printed(w io.Writer, form string, results []precheck.Result) error {
	var raw []byte
	var err error
	if form == "json" {
		raw, err = json.MarshalIndent(results, "", "  ")
		raw = append(raw, '\n')
	} else {
		raw, err = yaml.Marshal(results)
	}
	if err != nil {
		return err
	}
	if _, err := w.Write(raw); err != nil {
		return err
	}
	return show(io.Discard, results, true)
}
