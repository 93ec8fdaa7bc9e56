// Package agent is what stands beside a data plane that is not Weft's own: a
// stock Envoy, or none at all. It brings what Istio's filters and agent would:
//
//   - certificates, by SDS, from the mesh's authority;
//   - the mesh's names, by DNS;
//   - Istio's standard metrics, made of Envoy's gRPC access logs, merged with
//     Envoy's own and the program's, and readiness;
//   - a way out of the mesh's network for what Envoy sends elsewhere;
//   - what gRPC needs that speaks xDS itself (proxy/proxyless).
//
// The engine is a child process; when it ends, the agent does, and whoever keeps
// the agent running starts both again. Configuration goes from the control plane
// to the engine directly: the agent never sees it.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	capb "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/proxy/dns"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/istio"
	"github.com/weftmesh/weft/proxy/proxyless"
	"github.com/weftmesh/weft/proxy/relay"
	"github.com/weftmesh/weft/proxy/sds"
	"github.com/weftmesh/weft/proxy/telemetry"
	"github.com/weftmesh/weft/proxy/transport"
	"github.com/weftmesh/weft/proxy/xds"
	"github.com/weftmesh/weft/wire"
	"github.com/weftmesh/weft/wire/weftpb"
)

// Options of an agent.
type Options struct {
	// Node and Metadata say who the workload is.
	Node     wire.NodeID
	Metadata wire.NodeMetadata
	// XDSSocket and Token lead to the control plane.
	XDSSocket, Token string
	// HandSocket, when set, makes sockets outside the mesh's network; Inside are
	// the mesh's own networks.
	HandSocket string
	Inside     []netip.Prefix
	// Envoy, when set, is the engine to run; otherwise there is none.
	Envoy *Envoy
	// GRPC, when set, is where programs whose gRPC needs no proxy find what they need.
	GRPC *proxyless.Files
	// Istio, when set, is istiod in the control plane's place: there are no names to
	// answer, and no way out.
	Istio *istio.Agent
	Ports Ports
	// DNS answers on loopback.
	DNS     bool
	Version string
	Level   *slog.LevelVar
	Log     *slog.Logger
}

// Ports of the agent; 0: not listened on.
type Ports struct{ Admin, Merged, Health, Prometheus, DNS, Relay uint16 }

// agent is a running one.
type agent struct {
	Options
	names    *dns.Names
	resolver *dns.Resolver
	peers    *telemetry.Directory
	metrics  *telemetry.Metrics
	client   *xds.Client
	grpc     *proxyless.Agent           // nil: not asked for
	trust    atomic.Pointer[sds.Server] // is told whom to trust; nil: nobody

	mu    sync.Mutex
	hosts map[string]dns.Host
}

// Run runs the agent, and the engine, until ctx ends or the engine does.
func Run(ctx context.Context, o Options) error {
	conn, err := xds.Connect(o.target())
	if err != nil {
		return err
	}
	defer conn.Close()
	o.Metadata.Agent = true
	a := &agent{Options: o, names: dns.NewNames(), hosts: map[string]dns.Host{}}
	a.client = xds.New(xds.Options{
		Conn: conn, Handler: a.update, Logger: o.Log,
		Node: &corev3.Node{Id: o.Node.String(), Metadata: o.Metadata.Struct()},
	})
	if o.Istio == nil {
		a.client.SubscribeAll(wire.TypeHost)
	}
	a.peers = telemetry.NewDirectory(func(address string) { a.client.Subscribe(wire.TypeWorkload, address) })
	a.metrics = telemetry.New(telemetry.Local(o.Metadata), a.peers)
	a.resolver = a.newResolver()

	g, ctx := errgroup.WithContext(ctx)
	if o.Istio == nil {
		g.Go(func() error { return a.client.Run(ctx) })
	}
	if o.GRPC != nil {
		if err := a.proxyless(ctx, g, conn); err != nil {
			return err
		}
	}
	if o.DNS {
		g.Go(func() error { return a.dnsServer().Run(ctx) })
	}
	if o.Ports.Relay != 0 && o.HandSocket != "" {
		r := &relay.Server{Addresses: dns.Loopback(o.Ports.Relay), Dialer: a.dialer(), Log: o.Log}
		if err := r.Open(ctx); err != nil {
			return err
		}
		g.Go(func() error { return r.Run(ctx) })
	}
	if o.Envoy != nil {
		if err := a.engine(ctx, g, conn); err != nil {
			return err
		}
	}
	g.Go(func() error { return a.admin().Run(ctx) })
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// target is the control plane.
func (o *Options) target() xds.Target {
	if o.Istio != nil {
		return o.Istio.XDS.Target((&net.Dialer{}).DialContext)
	}
	return xds.Target{Network: "unix", Address: o.XDSSocket, Metadata: map[string]string{"authorization": "Bearer " + o.Token}}
}

// engine starts what an Envoy needs, and Envoy.
func (a *agent) engine(ctx context.Context, g *errgroup.Group, conn grpc.ClientConnInterface) error {
	secrets := sds.NewServer()
	if a.Istio == nil {
		a.trust.Store(secrets)
		a.client.Subscribe(wire.TypeSecret, wire.SecretRoot)
	}
	ca, err := sds.NewClient(sds.Options{
		CA: capb.NewIstioCertificateServiceClient(conn), Publish: secrets.Publish, Logger: a.Log,
	})
	if err != nil {
		return err
	}
	secretSocket, err := sds.ListenUnix(a.Envoy.SDSSocket)
	if err != nil {
		return err
	}
	logSocket, err := sds.ListenUnix(a.Envoy.ALSSocket)
	if err != nil {
		secretSocket.Close()
		return err
	}
	g.Go(func() error { return ca.Run(ctx) })
	g.Go(func() error { return secrets.Serve(ctx, secretSocket) })
	g.Go(func() error { return a.accessLogs(ctx, logSocket) })
	g.Go(func() error { return a.Envoy.run(ctx, a.Log) })
	return nil
}

// update takes names and workloads from the control plane.
func (a *agent) update(u xds.Update) []xds.Rejection {
	var rejected []xds.Rejection
	switch u.Type {
	case wire.TypeHost:
		rejected = a.updateHosts(u)
	case wire.TypeWorkload:
		for _, r := range u.Set {
			var w weftpb.Workload
			if r.Body == nil {
				continue
			}
			if err := r.Body.UnmarshalTo(&w); err != nil {
				rejected = append(rejected, xds.Rejection{Name: r.Name, Err: err})
				continue
			}
			a.peers.Learn(r.Name, telemetry.WorkloadRef(&w))
		}
		for _, name := range u.Removed {
			a.peers.Learn(name, filter.WorkloadRef{})
		}
	case wire.TypeSecret:
		rejected = a.updateTrust(u)
	}
	return rejected
}

// updateTrust takes whom to trust, which the control plane says whenever it changes.
func (a *agent) updateTrust(u xds.Update) (rejected []xds.Rejection) {
	for _, r := range u.Set {
		var m tlsv3.Secret
		if r.Body == nil || r.Name != wire.SecretRoot {
			continue
		}
		if err := r.Body.UnmarshalTo(&m); err != nil {
			rejected = append(rejected, xds.Rejection{Name: r.Name, Err: err})
			continue
		}
		if s := a.trust.Load(); s != nil {
			s.Trust(m.GetValidationContext())
		}
	}
	return rejected
}

func (a *agent) updateHosts(u xds.Update) (rejected []xds.Rejection) {
	a.mu.Lock()
	defer a.mu.Unlock()
	set := map[string]dns.Host{}
	for _, r := range u.Set {
		var h weftpb.Host
		if r.Body == nil {
			continue
		}
		if err := r.Body.UnmarshalTo(&h); err != nil {
			rejected = append(rejected, xds.Rejection{Name: r.Name, Err: err})
			continue
		}
		a.hosts[r.Name] = dns.FromWire(&h)
		set[r.Name] = a.hosts[r.Name]
	}
	for _, name := range u.Removed {
		delete(a.hosts, name)
	}
	a.names.Take(xds.Names{Client: a.client, TypeURL: wire.TypeHost}, a.hosts, set, u.Removed)
	return rejected
}

func (a *agent) newResolver() *dns.Resolver {
	return dns.NewResolver(dns.Options{
		Names: a.names, Domain: a.Node.Domain, HandSocket: a.HandSocket,
	})
}

func (a *agent) dnsServer() *dns.Server {
	return &dns.Server{Resolver: a.resolver, Addresses: dns.Loopback(a.Ports.DNS), Log: a.Log}
}

// everywhere is a port on all addresses of both families.
func everywhere(port uint16) []string {
	if port == 0 {
		return nil
	}
	return []string{fmt.Sprintf(":%d", port)}
}

// dialer reaches the mesh directly and the rest by the hand socket.
func (a *agent) dialer() transport.Dialer {
	direct := transport.Direct{Mark: wire.RelayMark}
	if a.HandSocket == "" {
		return direct
	}
	return transport.Split{
		Inside: direct, Outside: transport.Outside{Client: wire.HandClient{Path: a.HandSocket}}, Mesh: a.Inside,
	}
}
