package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"

	"github.com/weftmesh/weft/cli"
	"github.com/weftmesh/weft/host"
	"github.com/weftmesh/weft/host/rundir"
	"github.com/weftmesh/weft/proxy"
)

// handoverFlags let a new proxy take over from the running one. Those with -s are
// Envoy's.
type handoverFlags struct {
	proxy.Handover
	baseID         uint32
	drain, parents uint32 // seconds
}

func (h *handoverFlags) add(f *pflag.FlagSet) {
	f.Uint32Var(&h.baseID, "base-id", 0, "take over from the running proxy of the same number, without cutting a connection")
	f.StringVar(&h.Path, "socket-path", "", "the unix socket where proxies meet that take over from each other (default: made of --base-id)")
	f.DurationVar(&h.DrainTime, "drain-time", 0, "how long the proxy goes on after another has taken over (default: as long as it has connections)")
	f.Uint32Var(&h.drain, "drain-time-s", 0, "--drain-time in seconds")
	f.Uint32Var(&h.parents, "parent-shutdown-time-s", 0, "how long the proxy that this one takes over from goes on, in seconds (default: as that was told)")
}

// check completes the flags.
func (h *handoverFlags) check(f *pflag.FlagSet, engine string) error {
	usage := func(err error) error { return &cli.Error{Code: cli.CodeUsage, Err: err} }
	if f.Changed("drain-time-s") {
		if f.Changed("drain-time") {
			return usage(errors.New("--drain-time and --drain-time-s say the same: give one of them"))
		}
		h.DrainTime = time.Duration(h.drain) * time.Second
	}
	h.ParentShutdown = time.Duration(h.parents) * time.Second
	if f.Changed("base-id") && h.Path == "" {
		dir := rundir.DefaultRoot().Dir("")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("--base-id: %w", err)
		}
		h.Path = proxy.BaseID(dir, h.baseID)
	}
	if h.Path != "" && engine != host.EngineGo {
		return usage(fmt.Errorf("--base-id and --socket-path need --engine go: engine %s is not taken over from; start a new one beside it, or restart it", engine))
	}
	return nil
}
