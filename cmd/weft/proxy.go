package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/cli"
	"github.com/weftmesh/weft/host"
	"github.com/weftmesh/weft/proxy"
	"github.com/weftmesh/weft/proxy/agent"
	"github.com/weftmesh/weft/wire"
)

// proxyFlags are those of `weft proxy`.
type proxyFlags struct {
	bootstrap, engine, envoy, level        string
	node, xds, hand, inside, io            string
	sds, als                               string
	hostListeners, noDNS                   bool
	merged, health, prometheus, dns, relay uint16
	over                                   handoverFlags
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
		RunE: func(c *cobra.Command, _ []string) error {
			log, level, err := logger(p.level)
			if err != nil {
				return err
			}
			if err := p.over.check(c.Flags(), p.engine); err != nil {
				return err
			}
			return p.run(c.Context(), log, level)
		},
	}
	f := c.Flags()
	f.StringVarP(&p.bootstrap, "config", "c", "", "the bootstrap")
	f.StringVar(&p.engine, "engine", "go", "go, envoy, or none")
	f.StringVar(&p.envoy, "envoy", "", "path of the Envoy binary")
	f.StringVar(&p.io, "io", proxy.IOLoop, "what carries connections: loop (event loops, on Linux) or goroutine")
	f.StringVar(&p.level, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&p.node, "node", "", "node id, for --engine none")
	f.StringVar(&p.xds, "xds-socket", "", "unix socket of the control plane, for what the engine does not fetch itself")
	f.StringVar(&p.hand, "hand-socket", "", "unix socket of a supervisor that makes sockets outside this network namespace")
	f.StringVar(&p.inside, "inside", "", "networks that are reached without the hand socket, comma separated")
	f.StringVar(&p.sds, "sds-socket", "", "unix socket on which to serve certificates to Envoy")
	f.StringVar(&p.als, "als-socket", "", "unix socket on which to take Envoy's access logs")
	f.BoolVar(&p.hostListeners, "host-listeners", false, "listen on the host's loopback, through the hand socket")
	f.BoolVar(&p.noDNS, "no-dns", false, "answer no DNS questions")
	f.Uint16Var(&p.merged, "port-merged", wire.PortMerged, "port of merged metrics")
	f.Uint16Var(&p.health, "port-health", wire.PortHealth, "port of readiness")
	f.Uint16Var(&p.prometheus, "port-prometheus", wire.PortPrometheus, "port of the proxy's own metrics")
	f.Uint16Var(&p.dns, "port-dns", wire.PortDNS, "port of the resolver")
	f.Uint16Var(&p.relay, "port-relay", wire.PortRelay, "port to which traffic that leaves the mesh is redirected")
	p.over.add(f)
	for _, name := range []string{"node", "xds-socket", "hand-socket", "inside", "sds-socket", "als-socket", "host-listeners", "no-dns", "port-relay"} {
		_ = f.MarkHidden(name) // weft up sets them
	}
	_ = c.MarkFlagFilename("config", "yaml", "yml", "json")
	return c
}

func (p *proxyFlags) run(ctx context.Context, log *slog.Logger, level *slog.LevelVar) error {
	inside, err := prefixes(p.inside)
	if err != nil {
		return err
	}
	if p.bootstrap == "" && p.engine != host.EngineNone {
		return &cli.Error{Code: cli.CodeUsage, Err: errors.New("proxy needs -c: an Envoy v3 bootstrap")}
	}
	switch p.engine {
	case host.EngineGo:
		return p.runGo(ctx, inside, log, level)
	case host.EngineEnvoy, host.EngineNone:
		return p.runAgent(ctx, inside, log, level)
	}
	return &cli.Error{Code: cli.CodeUsage, Err: fmt.Errorf("--engine %q: want go, envoy or none", p.engine)}
}

func prefixes(s string) (out []netip.Prefix, err error) {
	for part := range strings.SplitSeq(s, ",") {
		if part == "" {
			continue
		}
		n, err := netip.ParsePrefix(part)
		if err != nil {
			return nil, &cli.Error{Code: cli.CodeUsage, Err: fmt.Errorf("--inside: %w", err)}
		}
		out = append(out, n)
	}
	return out, nil
}

func (p *proxyFlags) runAgent(ctx context.Context, inside []netip.Prefix, log *slog.Logger, level *slog.LevelVar) error {
	o := agent.Options{
		XDSSocket: p.xds, Token: os.Getenv("WEFT_TOKEN"), HandSocket: p.hand, Inside: inside, DNS: !p.noDNS, Version: versionString(),
		Level: level, Log: log,
		Ports: agent.Ports{Admin: wire.PortAdmin, Merged: p.merged, Health: p.health, Prometheus: p.prometheus, DNS: p.dns, Relay: p.relay},
	}
	if p.engine == host.EngineNone {
		id, err := wire.ParseNodeID(p.node)
		if err != nil {
			return &cli.Error{Code: cli.CodeUsage, Err: fmt.Errorf("--node: %w", err)}
		}
		o.Node, o.Metadata = id, wire.NodeMetadata{Name: id.Name, Namespace: id.Namespace}
		return agent.Run(ctx, o)
	}
	binary, err := agent.Find(p.envoy)
	if err != nil {
		return err
	}
	o.Envoy = agent.NewEnvoy(binary, p.bootstrap, p.sds, p.als, p.level)
	if err := o.ReadBootstrap(); err != nil {
		return err
	}
	return agent.Run(ctx, o)
}

func (p *proxyFlags) runGo(ctx context.Context, inside []netip.Prefix, log *slog.Logger, level *slog.LevelVar) error {
	o := proxy.Options{
		Bootstrap: p.bootstrap, IO: p.io, XDSSocket: p.xds, HandSocket: p.hand, Inside: inside, HostListeners: p.hostListeners,
		Merged: everywhere(p.merged), Health: everywhere(p.health), Prometheus: everywhere(p.prometheus),
		Version: versionString(), Log: log, Level: level, Handover: p.over.Handover,
	}
	// Without a control plane of Weft's there are no names to answer.
	if !p.noDNS && p.xds != "" {
		o.DNS = agent.Loopback(p.dns)
	}
	return proxy.Run(ctx, o)
}

// everywhere is a port on all addresses of both families.
func everywhere(port uint16) []string {
	if port == 0 {
		return nil
	}
	return []string{fmt.Sprintf(":%d", port)}
}
