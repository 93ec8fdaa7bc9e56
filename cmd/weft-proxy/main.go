// Weft-proxy is the Go data plane alone, for sidecar images: what `weft proxy` is,
// without the control plane, the supervisor and the clients that those link in.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/weftmesh/weft/cmd/dataplane"
	"github.com/weftmesh/weft/proxy"
)

// version is set by -ldflags "-X main.version=…"; else the module's.
var version string

// codeUsage is the exit code of wrong flags, as of weft.
const codeUsage = 2

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, pflag.ErrHelp) {
		return
	}
	fmt.Fprintln(os.Stderr, "error: "+err.Error())
	stop()
	var u *dataplane.UsageError
	if errors.As(err, &u) {
		os.Exit(codeUsage)
	}
	os.Exit(1)
}

func run(ctx context.Context, args []string) error {
	f := pflag.NewFlagSet("weft-proxy", pflag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprint(os.Stderr, `Weft-proxy is the data plane of Weft alone: it reads an Envoy v3 bootstrap (YAML or JSON)
and serves what it says. What it does not support it refuses by the field's name.

Usage:
  weft-proxy -c BOOTSTRAP [flags]

Flags:
`, f.FlagUsages())
	}
	var p dataplane.Flags
	p.Add(f)
	showVersion := f.Bool("version", false, "show the version")
	switch err := f.Parse(args); {
	case err != nil && !errors.Is(err, pflag.ErrHelp):
		return &dataplane.UsageError{Err: fmt.Errorf("%w (see `weft-proxy --help`)", err)}
	case err != nil:
		return err
	case *showVersion:
		fmt.Println(versionString())
		return nil
	case f.NArg() > 0:
		return &dataplane.UsageError{Err: fmt.Errorf("unexpected argument %q (see `weft-proxy --help`)", f.Arg(0))}
	}
	o, err := p.Options(f, versionString())
	if err != nil {
		return err
	}
	return proxy.Run(ctx, o)
}

func versionString() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}
