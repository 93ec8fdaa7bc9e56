package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/weftmesh/weft/cli"
	"github.com/weftmesh/weft/cmd/dataplane"
	"github.com/weftmesh/weft/host"
	"github.com/weftmesh/weft/proxy"
	"github.com/weftmesh/weft/proxy/agent"
	"github.com/weftmesh/weft/proxy/proxyless"
	"github.com/weftmesh/weft/wire"
)

// proxyFlags are those of `weft proxy`: the data plane's, and those of an agent
// beside a stock Envoy.
type proxyFlags struct {
	dataplane.Flags
	engine, envoy, node, sds, als string
	grpc                          string
	adminPort                     uint16
}

func proxyCommand() *cobra.Command {
	var p proxyFlags
	c := &cobra.Command{
		Use:   "proxy -c BOOTSTRAP | proxy sidecar | proxy router",
		Short: "Run the data plane: sidecar or gateway",
		Long: `Proxy reads an Envoy v3 bootstrap (YAML or JSON) and serves what it says: static resources, and
what an xDS server sends. What it does not support it refuses by the field's name.

--engine envoy runs a stock Envoy on the same bootstrap, and beside it what Envoy lacks:
certificates, DNS, Istio's metrics.

` + "`proxy sidecar`" + ` and ` + "`proxy router`" + ` say the same as --istio, as pilot-agent is called in pods.

--engine none runs no data plane. With --grpc it stands beside programs whose gRPC speaks xDS
itself: it keeps certificates fresh in files, leads to the control plane, and writes gRPC's
bootstrap, which programs find by GRPC_XDS_BOOTSTRAP. With --istio it does so in istiod's mesh,
at pilot-agent's paths.`,
		Example: "  weft proxy -c bootstrap.yaml\n  GRPC_XDS_BOOTSTRAP=/run/app/grpc-bootstrap.json weft proxy --engine none --istio sidecar",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				if err := p.Kind(args[0]); err != nil {
					return usage(err)
				}
			}
			// Istio's templates ask for an agent alone so.
			if os.Getenv("DISABLE_ENVOY") == "true" && !c.Flags().Changed("engine") {
				p.engine = host.EngineNone
			}
			return p.run(c.Context(), c.Flags())
		},
	}
	f := c.Flags()
	p.Add(f)
	f.StringVar(&p.engine, "engine", "go", "go, envoy, or none")
	f.StringVar(&p.envoy, "envoy", "", "path of the Envoy binary")
	f.StringVar(&p.node, "node", "", "node id, for --engine none")
	f.StringVar(&p.grpc, "grpc", "", "folder for what programs need whose gRPC speaks xDS itself, for --engine none")
	f.Uint16Var(&p.adminPort, "port-admin", wire.PortAdmin, "port of the agent's API on loopback; 0: any")
	f.StringVar(&p.sds, "sds-socket", "", "unix socket on which to serve certificates to Envoy")
	f.StringVar(&p.als, "als-socket", "", "unix socket on which to take Envoy's access logs")
	for _, name := range []string{"sds-socket", "als-socket", "port-admin"} {
		_ = f.MarkHidden(name) // weft up sets them
	}
	_ = c.MarkFlagFilename("config", "yaml", "yml", "json")
	c.AddCommand(featuresCommand())
	return c
}

func (p *proxyFlags) run(ctx context.Context, f *pflag.FlagSet) error {
	var err error
	switch p.engine {
	case host.EngineGo:
		var o proxy.Options
		if o, err = p.Options(f, versionString()); err == nil {
			return proxy.Run(ctx, o)
		}
	case host.EngineEnvoy, host.EngineNone:
		err = p.runAgent(ctx, f)
	default:
		err = &dataplane.UsageError{Err: fmt.Errorf("--engine %q: want go, envoy or none", p.engine)}
	}
	var u *dataplane.UsageError
	if errors.As(err, &u) {
		return &cli.Error{Code: cli.CodeUsage, Err: err}
	}
	return err
}

func (p *proxyFlags) runAgent(ctx context.Context, f *pflag.FlagSet) error {
	if p.TakesOver(f) {
		return &dataplane.UsageError{Err: fmt.Errorf("--base-id and --socket-path need --engine go: engine %s is not taken over from; start a new one beside it, or restart it", p.engine)}
	}
	log, level, err := p.Logger()
	if err != nil {
		return err
	}
	inside, err := p.Inside()
	if err != nil {
		return err
	}
	o := agent.Options{
		XDSSocket: p.XDS, Token: os.Getenv("WEFT_TOKEN"), HandSocket: p.Hand, Inside: inside, DNS: !p.NoDNS, Version: versionString(),
		Level: level, Log: log,
		Ports: agent.Ports{Admin: p.adminPort, Merged: p.Merged, Health: p.Health, Prometheus: p.Prometheus, DNS: p.DNS, Relay: p.Relay},
	}
	if p.engine == host.EngineNone {
		if err := p.alone(&o); err != nil {
			return err
		}
		return agent.Run(ctx, o)
	}
	if p.Bootstrap == "" {
		return &dataplane.UsageError{Err: errors.New("proxy needs -c: an Envoy v3 bootstrap")}
	}
	binary, err := agent.Find(p.envoy)
	if err != nil {
		return err
	}
	o.Envoy = agent.NewEnvoy(binary, p.Bootstrap, p.sds, p.als, strings.ToLower(level.Level().String()))
	if n := p.Processors(); n > 0 {
		o.Envoy.Concurrency = n
	}
	o.Envoy.Drain = p.DrainTime()
	if err := o.ReadBootstrap(); err != nil {
		return err
	}
	return agent.Run(ctx, o)
}

// alone completes the options of an agent without a data plane.
func (p *proxyFlags) alone(o *agent.Options) error {
	var err error
	if o.Istio, err = p.Istio(); err != nil {
		return err
	}
	if o.Istio != nil {
		o.Node, o.DNS, o.Ports.Relay = o.Istio.Node, false, 0
		o.GRPC = &proxyless.Files{
			Bootstrap:    cmp.Or(os.Getenv("GRPC_XDS_BOOTSTRAP"), "etc/istio/proxy/"+wire.GRPCBootstrapFile),
			Certificates: cmp.Or(os.Getenv("OUTPUT_CERTS"), "var/lib/istio/data"),
			Socket:       "etc/istio/proxy/XDS",
		}
		return nil
	}
	if o.Node, err = wire.ParseNodeID(p.node); err != nil {
		return &dataplane.UsageError{Err: fmt.Errorf("--node: %w", err)}
	}
	o.Metadata = wire.NodeMetadata{Name: o.Node.Name, Namespace: o.Node.Namespace, InstanceIPs: o.Node.IP}
	if p.grpc != "" {
		files := proxyless.In(p.grpc)
		o.GRPC = &files
	}
	return nil
}
