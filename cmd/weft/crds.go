package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/cli"
	"github.com/weftmesh/weft/control/source/file"
	"github.com/weftmesh/weft/kube/crd"
)

func crdsCommand() *cobra.Command {
	var groups []string
	c := &cobra.Command{
		Use:   "crds",
		Short: "Print the CustomResourceDefinitions of the kinds that Weft reads",
		Long: `Crds prints, as YAML for kubectl, the definitions of all kinds that Weft reads from a Kubernetes
cluster: Istio's, the Gateway API's, Aeraki's, Slime's and its own. Their schemas are what
documents are checked against here too.

A cluster that has Istio's or the Gateway API's definitions keeps them: leave those groups out.`,
		Example: `  weft crds | kubectl apply --server-side -f -
  weft crds --group weft.dev --group metaprotocol.aeraki.io | kubectl apply --server-side -f -`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			list := crd.Of(file.NewDecoder())
			var known []string
			for i := range list {
				if g := list[i].Spec.Group; !slices.Contains(known, g) {
					known = append(known, g)
				}
			}
			slices.Sort(known)
			for _, g := range groups {
				if !slices.Contains(known, g) {
					return &cli.Error{Code: cli.CodeUsage, Err: fmt.Errorf("--group %q: want one of %s", g, strings.Join(known, ", "))}
				}
			}
			if len(groups) > 0 {
				list = slices.DeleteFunc(list, func(d crd.Definition) bool { return !slices.Contains(groups, d.Spec.Group) })
			}
			text, err := crd.YAML(list)
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(text)
			return err
		},
	}
	c.Flags().StringArrayVar(&groups, "group", nil, "only the kinds of this API group (may be repeated)")
	return c
}
