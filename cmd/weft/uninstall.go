package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/weftmesh/weft/control/source/file"
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
