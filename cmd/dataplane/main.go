package dataplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/weftmesh/weft/proxy"
	"github.com/weftmesh/weft/proxy/codec"
)

// codeUsage is the exit code of wrong flags, as of weft.
const codeUsage = 2

// Main is the whole of a binary that is a data plane alone: it reads flags, runs until it is told to end,
// and exits. Protocols are carried beside those that are built in. version may be empty: the module's.
func Main(version string, protocols ...*codec.Protocol) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err, done := Helper(ctx, os.Args[1:], os.Stdout)
	if !done {
		err = runMain(ctx, os.Args[1:], versionString(version), protocols)
	}
	stop()
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, pflag.ErrHelp) {
		return
	}
	fmt.Fprintln(os.Stderr, "error: "+err.Error())
	var u *UsageError
	if errors.As(err, &u) {
		os.Exit(codeUsage)
	}
	os.Exit(1)
}

func runMain(ctx context.Context, args []string, version string, protocols []*codec.Protocol) error {
	f := pflag.NewFlagSet("weft-proxy", pflag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprint(os.Stderr, `Weft-proxy is the data plane of Weft alone: it reads an Envoy v3 bootstrap (YAML or JSON)
and serves what it says. What it does not support it refuses by the field's name.

Usage:
  weft-proxy -c BOOTSTRAP [flags]
  weft-proxy proxy sidecar|router [flags]   in a pod, with pilot-agent's environment and files
  weft-proxy istio-iptables [flags]         redirect the pod's traffic to the proxy, by nftables
  weft-proxy request METHOD PATH            ask the running proxy
  weft-proxy wait                           until the running proxy is ready

Flags:
`, f.FlagUsages())
	}
	var p Flags
	p.Add(f)
	showVersion := f.Bool("version", false, "show the version")
	args, err := p.Pilot(args)
	if err != nil {
		return err
	}
	switch err := f.Parse(args); {
	case err != nil && !errors.Is(err, pflag.ErrHelp):
		return &UsageError{Err: fmt.Errorf("%w (see `weft-proxy --help`)", err)}
	case err != nil:
		return err
	case *showVersion:
		fmt.Println(version)
		return nil
	case f.NArg() > 0:
		return &UsageError{Err: fmt.Errorf("unexpected argument %q (see `weft-proxy --help`)", f.Arg(0))}
	}
	o, err := p.Options(f, version)
	if err != nil {
		return err
	}
	o.Protocols = protocols
	return proxy.Run(ctx, o)
}

func versionString(version string) string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}
