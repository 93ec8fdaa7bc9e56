package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/control/console"
)

func (e *Env) tokenCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "token",
		Short: "Invite other machines into the mesh",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(e.tokenCreateCommand())
	return c
}

func (e *Env) tokenCreateCommand() *cobra.Command {
	var account, namespace, socket string
	var ttl time.Duration
	c := &cobra.Command{
		Use:   "create [WORKLOADGROUP]",
		Short: "Make a token by which a machine joins (weft join)",
		Long: `Create prints a token for "weft join" on another machine. With a WorkloadGroup the machine's
service becomes a workload of it; without one the machine gets the identity of a service account, calls
others, and is called by nobody.

The token says who its bearer becomes and how to know the mesh again; it can be used until it ends. Where
the control plane has other replicas with the same root, it holds at all of them.`,
		Example: "  weft token create vms/reviews --ttl 30m",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			q := console.TokenRequest{Namespace: namespace, ServiceAccount: account, TTL: int64(ttl / time.Second)}
			if len(args) == 1 {
				q.Group = args[0]
				if ns, name, ok := strings.Cut(args[0], "/"); ok {
					q.Namespace, q.Group = ns, name
				}
			}
			t, err := e.createToken(c, q, socket)
			if err != nil {
				return err
			}
			return e.printToken(c, t)
		},
	}
	f := c.Flags()
	f.StringVarP(&namespace, "namespace", "n", "default", "namespace")
	f.StringVar(&account, "service-account", "", "who the machine is (default: the group's, else default)")
	f.DurationVar(&ttl, "ttl", console.DefaultTokenTTL, "how long the token can be used, at most 720h")
	f.StringVar(&socket, "console-socket", "", "that of a `weft control` which no mesh of this machine has started")
	e.meshFlag(c)
	e.outputFlag(c)
	return c
}

// createToken asks the control plane of the mesh, or the one at a socket.
func (e *Env) createToken(c *cobra.Command, q console.TokenRequest, path string) (t console.Token, err error) {
	s := dialUnix(path)
	if path == "" {
		if s, err = e.console(); err != nil {
			return t, err
		}
	}
	body, err := json.Marshal(q)
	if err != nil {
		return t, fmt.Errorf("request: %w", err)
	}
	r, err := s.do(c.Context(), http.MethodPost, "/v1/tokens", nil, bytes.NewReader(body))
	return t, s.decode(r, err, &t)
}

// printToken writes the token alone to standard output, for scripts, and what it is for beside it.
func (e *Env) printToken(c *cobra.Command, t console.Token) error {
	if e.output != "table" {
		return e.print(c, t, nil)
	}
	who := "service account " + t.Namespace + "/" + t.ServiceAccount
	if t.Group != "" {
		who = "WorkloadGroup " + t.Namespace + "/" + t.Group + ", " + who
	}
	fmt.Fprintf(c.ErrOrStderr(), "for %s, until %s; on the other machine: weft join HOST:PORT --token …\n", who, t.Expires.Local().Format(time.DateTime))
	_, err := fmt.Fprintln(c.OutOrStdout(), t.Token)
	return err
}
