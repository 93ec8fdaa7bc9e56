// Package dataplane holds the flags of the Go data plane, which `weft proxy` and
// `weft-proxy` have in common. It only turns flags into proxy.Options.
package dataplane

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/weftmesh/weft/host/rundir"
	"github.com/weftmesh/weft/proxy"
	"github.com/weftmesh/weft/proxy/dns"
	"github.com/weftmesh/weft/proxy/istio"
	"github.com/weftmesh/weft/wire"
)

// Flags are the flags, after parsing. Fields that others need too are exported.
type Flags struct {
	// Bootstrap is a path; XDS and Hand are unix sockets.
	Bootstrap, XDS, Hand string
	// Merged, Health, Prometheus and DNS are ports; 0: not served.
	Merged, Health, Prometheus, DNS uint16
	// Relay is a port too, which is served only beside a hand socket.
	Relay uint16
	// NoDNS answers no questions about names.
	NoDNS bool

	level, inside, io string
	istio, domain     string
	pilot             pilotFlags
	mark, concurrency uint32
	hostListeners     bool
	over              proxy.Handover
	baseID            uint32
	drain, parents    uint32 // seconds
}

// UsageError is a mistake in the flags.
type UsageError struct{ Err error }

// Error says what is wrong.
func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *UsageError) Unwrap() error { return e.Err }

func usage(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }

// Add defines the flags.
func (p *Flags) Add(f *pflag.FlagSet) {
	f.StringVarP(&p.Bootstrap, "config", "c", "", "the bootstrap")
	f.StringVar(&p.istio, "istio", "", "join istiod's mesh as a sidecar or router, with pilot-agent's environment and files; -c may be left out")
	f.Uint32Var(&p.mark, "mark", 0, "SO_MARK of everything that the proxy sends, for redirect rules that leave it out by that")
	f.StringVar(&p.io, "io", proxy.IOLoop, "what carries connections: loop (event loops, on Linux) or goroutine")
	f.StringVarP(&p.level, "log-level", "l", "info", "debug, info, warn or error; Envoy's other levels are understood")
	f.StringVar(&p.XDS, "xds-socket", "", "unix socket of the control plane, for what the engine does not fetch itself")
	f.StringVar(&p.Hand, "hand-socket", "", "unix socket of a supervisor that makes sockets outside this network namespace")
	f.StringVar(&p.inside, "inside", "", "networks that are reached without the hand socket, comma separated")
	f.BoolVar(&p.hostListeners, "host-listeners", false, "listen on the host's loopback, through the hand socket")
	f.BoolVar(&p.NoDNS, "no-dns", false, "answer no DNS questions")
	f.Uint16Var(&p.Merged, "port-merged", wire.PortMerged, "port of merged metrics; 0: none")
	f.Uint16Var(&p.Health, "port-health", wire.PortHealth, "port of readiness; 0: none")
	f.Uint16Var(&p.Prometheus, "port-prometheus", wire.PortPrometheus, "port of the proxy's own metrics; 0: none")
	f.Uint16Var(&p.DNS, "port-dns", wire.PortDNS, "port of the resolver")
	f.Uint16Var(&p.Relay, "port-relay", 0, "port to which traffic is redirected that leaves the mesh's network past the proxy; 0: none")
	// Those with -s are Envoy's.
	f.Uint32Var(&p.baseID, "base-id", 0, "take over from the running proxy of the same number, without cutting a connection")
	f.StringVar(&p.over.Path, "socket-path", "", "the unix socket where proxies meet that take over from each other (default: made of --base-id)")
	f.DurationVar(&p.over.DrainTime, "drain-time", 0, "how long the proxy goes on after another has taken over (default: as long as it has connections)")
	f.Uint32Var(&p.drain, "drain-time-s", 0, "--drain-time in seconds")
	f.Uint32Var(&p.parents, "parent-shutdown-time-s", 0, "how long the proxy that this one takes over from goes on, in seconds (default: as that was told)")
	p.addEnvoys(f)
	p.addPilots(f)
	for _, name := range []string{"hand-socket", "inside", "host-listeners", "no-dns", "port-relay"} {
		_ = f.MarkHidden(name) // weft up sets them
	}
}

// Options makes the options of a proxy.
func (p *Flags) Options(f *pflag.FlagSet, version string) (proxy.Options, error) {
	p.limitProcessors()
	agent, err := p.Istio()
	if err != nil {
		return proxy.Options{}, err
	}
	if agent != nil && !f.Changed("port-merged") {
		p.Merged = agent.StatusPort
	}
	if agent == nil && p.Bootstrap == "" {
		return proxy.Options{}, usage("proxy needs -c: an Envoy v3 bootstrap (or --istio)")
	}
	log, level, err := p.Logger()
	if err != nil {
		return proxy.Options{}, err
	}
	inside, err := p.Inside()
	if err != nil {
		return proxy.Options{}, err
	}
	if err := p.handover(f); err != nil {
		return proxy.Options{}, err
	}
	o := proxy.Options{
		Bootstrap: p.Bootstrap, Istio: agent, Mark: int(p.mark), IO: p.io, XDSSocket: p.XDS, HandSocket: p.Hand, Inside: inside, HostListeners: p.hostListeners,
		Merged: everywhere(p.Merged), Health: everywhere(p.Health), Prometheus: everywhere(p.Prometheus),
		Version: version, Log: log, Level: level, Handover: p.over,
	}
	if p.Hand != "" && p.Relay != 0 {
		o.Relay = dns.Loopback(p.Relay)
	}
	// Without a control plane of Weft's there are no names to answer.
	if !p.NoDNS && (p.XDS != "" || agent != nil && agent.Names()) {
		o.DNS = dns.Loopback(p.DNS)
	}
	return o, nil
}

// Istio reads what --istio asks for; nil: nothing.
func (p *Flags) Istio() (*istio.Agent, error) {
	switch kind := wire.NodeType(p.istio); kind {
	case "":
		return nil, nil
	case wire.Sidecar, wire.Router:
		environ := os.Environ()
		if p.domain != "" {
			environ = append(environ, "DNS_DOMAIN="+p.domain)
		}
		a, err := istio.Load(kind, "", environ)
		if err != nil {
			return nil, fmt.Errorf("--istio: %w", err)
		}
		return a, nil
	}
	return nil, usage("--istio %q: want %s or %s", p.istio, wire.Sidecar, wire.Router)
}

// Logger is the log that --log-level asks for, on standard error.
func (p *Flags) Logger() (*slog.Logger, *slog.LevelVar, error) {
	v := &slog.LevelVar{}
	level := cmp.Or(p.pilot.level, p.level)
	if l, ok := envoyLevels[level]; ok {
		level = l
	}
	if err := v.UnmarshalText([]byte(strings.ToUpper(level))); err != nil {
		return nil, nil, usage("--log-level %q: want debug, info, warn or error", p.level)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: v})), v, nil
}

// Inside are the networks of --inside.
func (p *Flags) Inside() (out []netip.Prefix, err error) {
	for part := range strings.SplitSeq(p.inside, ",") {
		if part == "" {
			continue
		}
		n, err := netip.ParsePrefix(part)
		if err != nil {
			return nil, usage("--inside: %w", err)
		}
		out = append(out, n)
	}
	return out, nil
}

// DrainTime is how long what is replaced goes on; 0: it is not said.
func (p *Flags) DrainTime() time.Duration { return p.over.DrainTime }

// TakesOver tells whether the flags of a hand-over are given.
func (p *Flags) TakesOver(f *pflag.FlagSet) bool { return f.Changed("base-id") || p.over.Path != "" }

// handover completes its flags.
func (p *Flags) handover(f *pflag.FlagSet) error {
	if f.Changed("drain-time-s") {
		if f.Changed("drain-time") {
			return &UsageError{errors.New("--drain-time and --drain-time-s say the same: give one of them")}
		}
		p.over.DrainTime = time.Duration(p.drain) * time.Second
	}
	p.over.ParentShutdown = time.Duration(p.parents) * time.Second
	if f.Changed("base-id") && p.over.Path == "" {
		root := rundir.DefaultRoot()
		if err := root.Make(); err != nil {
			return fmt.Errorf("--base-id: %w", err)
		}
		p.over.Path = root.Dir(fmt.Sprintf("proxy-%d.sock", p.baseID))
	}
	return nil
}

// everywhere is a port on all addresses of both families.
func everywhere(port uint16) []string {
	if port == 0 {
		return nil
	}
	return []string{fmt.Sprintf(":%d", port)}
}
