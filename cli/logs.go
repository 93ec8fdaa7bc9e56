package cli

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/wire"
)

func (e *Env) logsCommand() *cobra.Command {
	var follow, proxy bool
	var tail int
	c := &cobra.Command{
		Use:     "logs INSTANCE",
		Short:   "Show what programs, proxies and the control plane have written",
		Example: "  weft logs reviews-v1-0\n  weft logs -f --proxy web-0\n  weft logs control",
		Args:    cobra.ExactArgs(1),
		ValidArgsFunction: func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return append(e.instanceNames(c.Context()), "control"), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			s, err := e.supervisor()
			if err != nil {
				return err
			}
			q := url.Values{"tail": {strconv.Itoa(tail)}, "instance": {args[0]}}
			if follow {
				q.Set("follow", "true")
			}
			if proxy {
				q.Set("proxy", "true")
			}
			r, err := s.do(c.Context(), http.MethodGet, "/v1/logs", q, nil)
			if err != nil {
				return err
			}
			defer r.Close()
			n, err := io.Copy(c.OutOrStdout(), r)
			if err != nil && c.Context().Err() == nil {
				return fmt.Errorf("logs: %w", err)
			}
			if n == 0 {
				fmt.Fprintln(c.ErrOrStderr(), "no lines: it has written nothing yet")
			}
			return nil
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on until interrupted")
	c.Flags().BoolVar(&proxy, "proxy", false, "the log of the instance's proxy instead of the program's")
	c.Flags().IntVar(&tail, "tail", 100, "begin with this many lines")
	e.meshFlag(c)
	return c
}

// downBound is how long an orderly end may take.
const downBound = 30 * time.Second

// Cleaner ends and removes what a mesh without a supervisor left behind.
type Cleaner interface {
	// Clean returns what it removed, for people; nothing when all was clean.
	Clean(name string) ([]string, error)
}

func (e *Env) downCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "down",
		Short: "End the running mesh and remove everything it made",
		Long: `Down ends a running mesh as Ctrl-C would. When its supervisor was killed, it ends and removes
what is left: processes, namespaces, files.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			names := e.Runs.List()
			if e.mesh != "" {
				names = []string{e.mesh}
			} else if live := e.running(); len(live) > 1 {
				_, err := e.dir() // says that there are several
				return err
			}
			done := 0
			for _, name := range names {
				ended, err := e.end(c, name)
				if err != nil {
					return err
				}
				done += ended
			}
			if done == 0 {
				fmt.Fprintln(c.OutOrStdout(), "nothing to do: no mesh is running and nothing is left of one")
			}
			return nil
		},
	}
	e.meshFlag(c)
	return c
}

// end asks the supervisor, then removes what is left.
func (e *Env) end(c *cobra.Command, name string) (int, error) {
	out := c.OutOrStdout()
	dir := e.Runs.Dir(name)
	s := dialUnix(filepath.Join(dir, wire.SupervisorSocket))
	r, err := s.do(c.Context(), http.MethodPost, "/v1/down", nil, nil)
	if err == nil {
		r.Close()
		deadline := time.Now().Add(downBound)
		for {
			if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
				fmt.Fprintf(out, "mesh %s has ended\n", name)
				return 1, nil
			}
			if time.Now().After(deadline) {
				break
			}
			if err := pause(c.Context(), 50*time.Millisecond); err != nil {
				return 0, err
			}
		}
	}
	cleaner, ok := e.Runs.(Cleaner)
	if !ok {
		return 0, nil
	}
	removed, err := cleaner.Clean(name)
	for _, line := range removed {
		fmt.Fprintln(out, "removed "+line)
	}
	if err != nil {
		return 0, fmt.Errorf("mesh %s: %w", name, err)
	}
	return len(removed), nil
}
