package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/cli"
	"github.com/weftmesh/weft/control"
)

func controlCommand() *cobra.Command {
	var o control.Options
	var level string
	var v4 bool
	c := &cobra.Command{
		Use:   "control",
		Short: "Run the control plane: configuration in, xDS and certificates out",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			log, _, err := logger(level)
			if err != nil {
				return err
			}
			if len(o.Config) == 0 {
				return &cli.Error{Code: cli.CodeUsage, Err: errors.New("control needs --config: a folder of YAML")}
			}
			o.Log, o.Version = log, versionString()
			if v4 {
				o.Families = []int{4}
			}
			return control.Run(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringArrayVar(&o.Config, "config", nil, "folder or file of YAML (may be repeated)")
	f.StringVar(&o.Overlay, "overlay", "", "folder of applied objects, which win over --config")
	f.StringVar(&o.ProcessState, "process-state", "", "file in which a supervisor says what runs")
	f.StringVar(&o.XDSSocket, "xds-socket", "", "unix socket for xDS and certificate requests")
	f.StringVar(&o.XDSAddress, "xds-plaintext", "", "host:port for xDS in plain text")
	f.StringVar(&o.ConsoleSocket, "console-socket", "weft-control.sock", "unix socket of the control plane's own API")
	f.StringVar(&o.StateDir, "state-dir", "weft-control", "folder that keeps the root certificate")
	f.DurationVar(&o.CertTTL, "cert-ttl", time.Duration(0), "lifetime of workload certificates (default: the mesh's, 24h)")
	f.BoolVar(&v4, "ipv4-only", false, "allocate no IPv6 addresses")
	f.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	return c
}
