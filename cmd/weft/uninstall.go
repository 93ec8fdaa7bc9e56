package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/weftmesh/weft/cli"
	"github.com/weftmesh/weft/control/source/file"
	precheck "github.com/weftmesh/weft/kube/check"
	"github.com/weftmesh/weft/kube/install"
)

func uninstallCommand() *cobra.Command {
	var f clusterFlags
	var yes, purge bool
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove the mesh's control plane from a Kubernetes cluster",
		Long: `Uninstall removes what weft install has made and what the control plane has written. The definitions of
kinds stay, and with them all objects of these; so does the namespace with the Secret of the
root certificate: a mesh that is installed again has the same identities.

--purge removes these, too: all VirtualServices, DestinationRules and so on are gone then, of
the definitions that weft install has made.`,
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
			ctx, cancel := context.WithTimeout(c.Context(), timeout)
			defer cancel()
			i := &install.Installer{Client: client}
			r, err := i.Removal(ctx, install.Options{Namespace: f.namespace}, definitions, purge)
			if err != nil {
				return err
			}
			out := c.OutOrStdout()
			list(out, "will be removed", r.Remove)
			list(out, "will be kept (--purge removes them)", r.Keep)
			if len(r.Remove) == 0 {
				fmt.Fprintln(out, "There is nothing to remove.")
				return nil
			}
			if err := confirm(c, yes, "Remove it?"); err != nil {
				return err
			}
			return i.Remove(ctx, r.Remove, out)
		},
	}
	f.add(c)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVar(&purge, "purge", false, "remove the definitions of kinds with all their objects, and the root certificate, too")
	c.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long to wait")
	return c
}

// list names objects, those of one kind in a line.
func list(out io.Writer, what string, objects []*unstructured.Unstructured) {
	if len(objects) == 0 {
		return
	}
	fmt.Fprintf(out, "%d objects %s:\n", len(objects), what)
	var kinds []string
	names := map[string][]string{}
	for _, u := range objects {
		k := u.GetKind()
		if names[k] == nil {
			kinds = append(kinds, k)
		}
		names[k] = append(names[k], strings.TrimPrefix(install.Title(u), k+" "))
	}
	for _, k := range kinds {
		fmt.Fprintf(out, "  %s: %s\n", k, strings.Join(names[k], ", "))
	}
}

func checkCommand() *cobra.Command {
	var f clusterFlags
	var skip []string
	var pre bool
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
			return show(c.OutOrStdout(), results, true)
		},
	}
	f.add(c)
	c.Flags().BoolVar(&pre, "before", false, "only what has to be so before a mesh is installed")
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
