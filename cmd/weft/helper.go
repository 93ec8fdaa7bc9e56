package main

import (
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/weftmesh/weft/cmd/dataplane"
)

// helperCommands are those that containers run beside the proxy, of the agent's image too.
func helperCommands() (out []*cobra.Command) {
	for name, run := range dataplane.Helpers {
		out = append(out, &cobra.Command{
			Use: name, Hidden: true, DisableFlagParsing: true, Short: "What weft-proxy " + name + " does",
			RunE: func(c *cobra.Command, args []string) error {
				err := run(c.Context(), args, c.OutOrStdout())
				var u *dataplane.UsageError
				switch {
				case errors.Is(err, pflag.ErrHelp):
					return nil
				case errors.As(err, &u):
					return usage(err)
				}
				return err
			},
		})
	}
	return out
}
