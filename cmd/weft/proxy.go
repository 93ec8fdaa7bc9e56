package main

import (
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
	"github.com/weftmesh/weft/wire"
)

// proxyFlags are those of `weft proxy`: the data plane's, and those of an agent
// beside a stock Envoy.
type proxyFlags struct {
	dataplane.Flags
	engine, envoy, node, sds, als string
	relay                         uint16
}

func proxyCommand() *cobra.Command {
	var p proxyFlags
	c := &cobra.Command{
		Use:   "proxy -c BOOTSTRAP",
		Short: "Run the data plane: sidecar or gateway",
		Long: `Proxy reads an Envoy v3 bootstrap (YAML or JSON) and serves what it says: static resources, and
what an xDS server sends. What it does not support it refuses by the field's name.

--engine envoy runs a stock Envoy on the same bootstrap, and beside it what Envoy lacks:
certificates, DNS, Istio's metrics. --engine none runs only the latter.`,
		Example: "  weft proxy -c bootstrap.yaml",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return p.run(c.Context(), c.Flags()) },
	}
	f := c.Flags()
	p.Add(f)
	f.StringVar(&p.engine, "engine", "go", "go, envoy, or none")
	f.StringVar(&p.envoy, "envoy", "", "path of the Envoy binary")
	f.StringVar(&p.node, "node", "", "node id, for --engine none")
	f.StringVar(&p.sds, "sds-socket", "", "unix socket on which to serve certificates to Envoy")
	f.StringVar(&p.als, "als-socket", "", "unix socket on which to take Envoy's access logs")
	f.Uint16Var(&p.relay, "port-relay", wire.PortRelay, "port to which traffic that leaves the mesh is redirected")
	for _, name := range []string{"node", "sds-socket", "als-socket", "port-relay"} {
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
		Ports: agent.Ports{Admin: wire.PortAdmin, Merged: p.Merged, Health: p.Health, Prometheus: p.Prometheus, DNS: p.DNS, Relay: p.relay},
	}
	if p.engine == host.EngineNone {
		id, err := wire.ParseNodeID(p.node)
		if err != nil {
			return &dataplane.UsageError{Err: fmt.Errorf("--node: %w", err)}
		}
		o.Node, o.Metadata = id, wire.NodeMetadata{Name: id.Name, Namespace: id.Namespace}
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
	if err := o.ReadBootstrap(); err != nil {
		return err
	}
	return agent.Run(ctx, o)
}
