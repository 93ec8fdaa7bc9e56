// Weft is a service mesh in one binary: control plane, data plane, and what it
// takes to run both on one machine. This command reads flags and runs the parts.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/cli"
	"github.com/weftmesh/weft/host/hub"
	"github.com/weftmesh/weft/host/rundir"
)

func main() {
	// The hub is this program in namespaces of its own (host/hub); it is told
	// by its only argument and has no flags.
	if len(os.Args) == 2 && os.Args[1] == hub.Command {
		os.Exit(hub.Main())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := unknownCommand(root().ExecuteContext(ctx))
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, errSaid) {
		fmt.Fprintln(os.Stderr, "error: "+err.Error())
	}
	if code := cli.Code(err); code != 0 {
		stop()
		os.Exit(code)
	}
}

// errSaid is for a command whose output says already why its exit code is not 0.
var errSaid = errors.New("see above")

// unknownCommand gives cobra's error for a word that is no command, which has no
// type of its own, the exit code of wrong arguments.
func unknownCommand(err error) error {
	if err == nil || !strings.HasPrefix(err.Error(), "unknown command ") || cli.Code(err) == cli.CodeUsage {
		return err
	}
	what, like, has := strings.Cut(strings.TrimSpace(err.Error()), "\n\nDid you mean this?\n\t")
	hint := "see `weft --help`"
	if has {
		hint = "did you mean " + strings.Join(strings.Fields(like), ", ") + "? " + hint
	}
	return &cli.Error{Code: cli.CodeUsage, Err: fmt.Errorf("%s (%s)", what, hint)}
}

// version is set by the linker for releases; otherwise what the build knows.
var version = ""

func versionString() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

func root() *cobra.Command {
	c := &cobra.Command{
		Use:   "weft",
		Short: "A service mesh in one binary",
		Long: `Weft is a service mesh in one binary: Istio-compatible configuration in, xDS in the
middle, its own data plane or Envoy below.

Begin with a whole mesh on this machine:

  weft up examples/bookstore`,
		Version:       versionString(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &cli.Error{Code: cli.CodeUsage, Err: fmt.Errorf("%w (see `%s --help`)", err, c.CommandPath())}
	})
	c.AddGroup(&cobra.Group{ID: "mesh", Title: "Run a mesh:"}, &cobra.Group{ID: "use", Title: "Talk to a running mesh:"},
		&cobra.Group{ID: "kube", Title: "Run it on Kubernetes:"}, &cobra.Group{ID: "tell", Title: "Tell what configuration means:"},
		&cobra.Group{ID: "parts", Title: "Run a part by itself:"})
	add := func(group string, cs ...*cobra.Command) {
		for _, x := range cs {
			x.GroupID = group
			c.AddCommand(x)
		}
	}
	add("mesh", upCommand(), joinCommand(), leaveCommand())
	env := &cli.Env{Runs: rundir.DefaultRoot()}
	add("use", env.Commands()...)
	add("tell", translateCommand(), diffCommand(env), explainCommand(env), analyzeCommand(), pluginCommand())
	add("kube", installCommand(), checkCommand(), uninstallCommand(), injectCommand(), imageCommand(), crdsCommand())
	c.AddCommand(append(helperCommands(), grpcBootstrapCommand())...)
	add("parts", controlCommand(), proxyCommand())
	c.AddCommand(&cobra.Command{
		Use: "version", Short: "Show the version", Args: cobra.NoArgs,
		Run: func(c *cobra.Command, _ []string) { fmt.Fprintln(c.OutOrStdout(), versionString()) },
	})
	for _, x := range c.Commands() {
		usageErrors(x)
	}
	return c
}

// usageErrors gives wrong arguments the exit code of wrong flags, and says how
// the command is used.
func usageErrors(c *cobra.Command) {
	for _, x := range c.Commands() {
		usageErrors(x)
	}
	check := c.Args
	if check == nil {
		return
	}
	c.Args = func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return &cli.Error{Code: cli.CodeUsage, Err: fmt.Errorf("%w: usage is `%s`", plainly(c, args, err), c.UseLine())}
		}
		return nil
	}
}

// plainly says what cobra has to say of the number of arguments.
func plainly(c *cobra.Command, args []string, err error) error {
	said := func(starts ...string) bool {
		return slices.ContainsFunc(starts, func(s string) bool { return strings.HasPrefix(err.Error(), s) })
	}
	if !said("accepts ", "requires ", "unknown command ") {
		return err
	}
	takes := strings.Fields(c.Use)[1:]
	needs := slices.IndexFunc(append(takes, "["), func(s string) bool { return strings.HasPrefix(s, "[") || strings.HasPrefix(s, "-") })
	switch {
	case len(args) == 0 && slices.Contains(takes, "|"):
		return fmt.Errorf("%s needs to be told what", c.CommandPath())
	case len(args) < needs && !said("unknown "):
		return fmt.Errorf("%s needs %s", c.CommandPath(), strings.Join(takes[len(args):needs], " and "))
	case said("unknown "):
		return fmt.Errorf("%s takes no arguments: %q is one", c.CommandPath(), args[0])
	}
	return fmt.Errorf("%s does not take %d arguments", c.CommandPath(), len(args))
}

// logger writes to standard error: text in a terminal and elsewhere, since the
// supervisor shows it to people.
func logger(level string) (*slog.Logger, *slog.LevelVar, error) {
	v := &slog.LevelVar{}
	if err := v.UnmarshalText([]byte(strings.ToUpper(level))); err != nil {
		return nil, nil, &cli.Error{Code: cli.CodeUsage, Err: fmt.Errorf("--log-level %q: want debug, info, warn or error", level)}
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: v})), v, nil
}
