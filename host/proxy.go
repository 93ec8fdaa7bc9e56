package host

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/host/capture"
	"github.com/weftmesh/weft/host/process"
	"github.com/weftmesh/weft/wire"
)

// Proxy is what is to be known about a proxy to write its command line.
type Proxy struct {
	Name, Namespace, App string
	Kind                 Kind
	// Engine is EngineGo or EngineEnvoy; EngineNone: no proxy at all, only the mesh's
	// DNS, the relay to the outside, and certificates and a bootstrap for gRPC that
	// speaks xDS itself.
	Engine  string
	Capture Capture
	// Settings are how it is run.
	Settings ProxySettings
	// Dir is a folder of the proxy's own.
	Dir string
	// Bootstrap is the path of its Envoy v3 bootstrap.
	Bootstrap  string
	XDSSocket  string
	HandSocket string
	// HandoverSocket is where a new process of this proxy finds the running one.
	HandoverSocket string
	// Executable is what to run; "": what all run.
	Executable string
	// GRPC is a folder for what gRPC without a proxy needs; "" but for EngineNone.
	GRPC string
	// SDSSocket and ALSSocket are served by the agent beside an Envoy; "" else.
	SDSSocket, ALSSocket string
	Token                string
	Addresses            []netip.Addr
	Ports                ProxyPorts
	// Relays: what the program sends past its sidecar to the outside comes to Ports.Relay,
	// whatever the engine.
	Relays bool
	// Mesh are the networks that are reached from inside; everything else goes
	// through the hand socket.
	Mesh []netip.Prefix
}

// ProxyPorts are the ports of one proxy: the well-known ones, or allotted ones
// in capture mode proxy.
type ProxyPorts struct {
	Admin, Outbound, Inbound, Merged, Health, Prometheus, DNS, Relay uint16
	// HTTPProxy is where programs find an HTTP proxy; 0: they need none.
	HTTPProxy uint16
}

func wellKnownPorts() ProxyPorts {
	return ProxyPorts{
		Admin: wire.PortAdmin, Outbound: wire.PortOutbound, Inbound: wire.PortInbound, Merged: wire.PortMerged,
		Health: wire.PortHealth, Prometheus: wire.PortPrometheus, DNS: wire.PortDNS, Relay: wire.PortRelay,
	}
}

func loopback4(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
}

// proxyInfo describes the replica's proxy.
func (r *replica) proxyInfo() Proxy {
	h := r.host
	h.mu.Lock()
	settings, executable := r.settings, r.executable
	h.mu.Unlock()
	p := Proxy{
		Relays: r.relays(),
		Name:   r.want.Name, Namespace: r.want.Namespace, App: r.want.App, Kind: r.want.Kind, Engine: r.want.Engine,
		Capture: h.capture, Dir: r.dir, Bootstrap: filepath.Join(r.dir, "bootstrap.yaml"),
		XDSSocket: h.o.Dir.Join(wire.XDSSocketFile), HandSocket: h.o.Dir.Join(wire.HandSocketFile),
		Settings: settings, Executable: executable, Token: r.token, Addresses: r.addresses, Ports: r.proxyPorts,
	}
	if h.hub != nil {
		p.Mesh = append([]netip.Prefix{h.layout.V4, h.layout.V6}, h.layout.Services...)
	}
	if p.Engine == EngineGo {
		p.HandoverSocket = r.handover()
	}
	if p.Engine == EngineNone {
		p.GRPC = r.dir
	}
	if p.Engine == EngineEnvoy {
		p.SDSSocket = filepath.Join(r.dir, "sds.sock")
		p.ALSSocket = filepath.Join(r.dir, "als.sock")
	}
	return p
}

func (r *replica) handover() string { return filepath.Join(r.dir, "next.sock") }

// writeBootstrap writes the file that the proxy begins with.
func (r *replica) writeBootstrap(p Proxy) error {
	h := r.host
	ips := make([]string, len(p.Addresses))
	for i, a := range p.Addresses {
		ips[i] = a.String()
	}
	kind, interception := wire.Sidecar, "REDIRECT"
	if p.Kind == KindGateway {
		kind = wire.Router
	}
	b := &wire.Bootstrap{
		Node: wire.NodeID{
			Type: kind, IP: ips[0], Name: p.Name, Namespace: p.Namespace, Domain: p.Namespace + ".svc.cluster.local",
		},
		Service: p.App + "." + p.Namespace,
		Metadata: wire.NodeMetadata{
			Name: p.Name, Namespace: p.Namespace, WorkloadName: p.App, ServiceAccount: r.want.ServiceAccount,
			ClusterID: h.o.ClusterID, MeshID: h.o.MeshID, Labels: r.want.Labels, InstanceIPs: strings.Join(ips, ","),
			Engine: p.Engine, ALSSocket: p.ALSSocket, NodeName: r.want.Labels[wire.NodeLabel],
		},
		Locality: wire.LocalityOf(r.want.Labels),
		More:     p.Settings.Metadata, Runtime: p.Settings.Runtime, Kept: p.Settings.Stats, Patches: p.Settings.Patches,
		Admin: loopback4(p.Ports.Admin), XDSSocket: p.XDSSocket, Token: p.Token, SDSSocket: p.SDSSocket, ALSSocket: p.ALSSocket,
	}
	if h.capture == CaptureProxy {
		interception = "NONE"
		if p.Ports.HTTPProxy != 0 {
			b.Metadata.HTTPProxyPort = strconv.Itoa(int(p.Ports.HTTPProxy))
		}
	} else {
		b.Mark = wire.ProxyMark
	}
	b.Metadata.Interception = interception
	if h.o.Amend != nil {
		h.o.Amend(p, b)
	}
	if err := writeYAML(p.Bootstrap, b); err != nil {
		return err
	}
	// A patch must not keep the proxy from starting: it begins with this one then.
	plain := *b
	plain.Patches = nil
	if len(b.Patches) > 0 {
		return writeYAML(p.Bootstrap+wire.Unpatched, &plain)
	}
	if err := os.Remove(p.Bootstrap + wire.Unpatched); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("bootstrap: %w", err)
	}
	return nil
}

func writeYAML(path string, b *wire.Bootstrap) error {
	raw, err := b.YAML()
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	return nil
}

// proxyGrace is how long a proxy may take to stop; its program has stopped before.
const proxyGrace = 5 * time.Second

// probeTimeout is how long a proxy may take to say that it is ready.
const probeTimeout = 10 * time.Second

// proxyProgram is the replica's proxy as a program to keep running.
func (r *replica) proxyProgram() (process.Program, error) {
	info := r.proxyInfo()
	if info.Engine != EngineNone {
		if err := r.writeBootstrap(info); err != nil {
			return process.Program{}, err
		}
	}
	c := r.host.o.ProxyCommand(info)
	if len(c.Argv) == 0 {
		return process.Program{}, fmt.Errorf("BUG: host: no command for the proxy of %s", r.want.key())
	}
	p := process.Program{
		Name: r.want.Name + " (proxy)", Command: c.Argv, Env: append([]string{r.host.o.Dir.Mark()}, c.Env...), Dir: r.dir,
		Sidecar: true, Address: loopback4(0).Addr(), Grace: proxyGrace,
	}
	// A proxy that ends is noticed by itself. One that answers late, on a machine that is
	// busy, is still of use: its workload must not leave the endpoints for that.
	p.Probe = &process.Probe{HTTPPath: "/healthz/ready", Port: info.Ports.Health, Timeout: probeTimeout}
	return p, nil
}

// captureConfig says what is captured in the replica's namespace.
func (r *replica) captureConfig(virtual []capture.Virtual) (capture.Config, error) {
	l := r.host.layout
	c := capture.Config{DNS: true, Virtual: virtual}
	if r.want.Engine == EngineNone {
		c.RelayAll = true
		c.Mesh = append([]netip.Prefix{l.V4, l.V6}, l.Services...)
		return c, nil
	}
	if r.want.Kind == KindProcess {
		c.Inbound, c.Outbound = true, true
		c.Own = r.addresses
		r.host.mu.Lock()
		c.Loopback = slices.Clone(r.loopback)
		r.host.mu.Unlock()
	}
	switch {
	case r.relays():
		c.OutboundNets, c.RelayAll = l.Services, true
		c.Mesh = append([]netip.Prefix{l.V4, l.V6}, l.Services...)
	case r.want.Engine == EngineEnvoy:
		c.Relay, c.Mesh = true, []netip.Prefix{l.V4, l.V6}
	}
	return c, r.excludes(&c)
}

// relays tells whether what a program sends elsewhere than to services goes out beside
// its sidecar.
func (r *replica) relays() bool { return r.host.o.OnlyServices && r.want.Kind == KindProcess }

// Istio's annotations that exclude traffic from capture.
const (
	excludeInboundPorts  = "traffic.sidecar.istio.io/excludeInboundPorts"
	excludeOutboundPorts = "traffic.sidecar.istio.io/excludeOutboundPorts"
	excludeOutboundIPs   = "traffic.sidecar.istio.io/excludeOutboundIPRanges"
)

func (r *replica) excludes(c *capture.Config) (err error) {
	if c.SkipInbound, err = portList(r.want.Annotations, excludeInboundPorts); err != nil {
		return err
	}
	if c.SkipOutbound, err = portList(r.want.Annotations, excludeOutboundPorts); err != nil {
		return err
	}
	for _, s := range fields(r.want.Annotations[excludeOutboundIPs]) {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return fmt.Errorf("annotation %s: %q: want addresses like 10.0.0.0/8, comma separated", excludeOutboundIPs, s)
		}
		c.SkipOutboundNets = append(c.SkipOutboundNets, p.Masked())
	}
	return nil
}

func portList(annotations map[string]string, key string) (out []uint16, err error) {
	for _, s := range fields(annotations[key]) {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("annotation %s: %q: want ports, comma separated", key, s)
		}
		out = append(out, uint16(n))
	}
	return out, nil
}

func fields(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}
