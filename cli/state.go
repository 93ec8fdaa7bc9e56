package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/control/console"
)

// Live says which control plane a command of another package asks: --mesh, or the
// console socket of one that runs by itself.
type Live struct {
	env     *Env
	console string
}

// LiveFlags adds --mesh and --console to a command.
func (e *Env) LiveFlags(c *cobra.Command) *Live {
	l := &Live{env: e}
	e.meshFlag(c)
	c.Flags().StringVar(&l.console, "console", "", "console socket of a control plane that runs by itself (weft control --console-socket)")
	_ = c.MarkFlagFilename("console", "sock")
	return l
}

// Chosen tells whether a control plane was named.
func (l *Live) Chosen() bool { return l.console != "" || l.env.mesh != "" }

// State is all that the control plane has been told. Its error has an exit code.
func (l *Live) State(ctx context.Context) (st console.State, err error) {
	s := dialUnix(l.console)
	if l.console == "" {
		if s, err = l.env.console(); err != nil {
			return st, err
		}
	}
	return st, s.get(ctx, "/v1/state", nil, &st)
}
