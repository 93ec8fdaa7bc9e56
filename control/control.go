// Package control is the control plane: configuration and registries in, xDS
// and certificates out. This page wires its stages in the order in which a
// change passes them; it holds no logic of its own.
package control

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	lrspb "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
	capb "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/base/watch"
	"github.com/weftmesh/weft/control/attach"
	"github.com/weftmesh/weft/control/check"
	"github.com/weftmesh/weft/control/cluster"
	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/control/fleet"
	"github.com/weftmesh/weft/control/habit"
	"github.com/weftmesh/weft/control/identity"
	offered "github.com/weftmesh/weft/control/mcp"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/serve"
	"github.com/weftmesh/weft/control/snapshot"
	"github.com/weftmesh/weft/control/source"
	"github.com/weftmesh/weft/control/source/apiserver"
	"github.com/weftmesh/weft/control/source/fence"
	"github.com/weftmesh/weft/control/source/file"
	"github.com/weftmesh/weft/control/source/jwks"
	"github.com/weftmesh/weft/control/source/mcp"
	"github.com/weftmesh/weft/control/source/module"
	"github.com/weftmesh/weft/control/source/process"
	"github.com/weftmesh/weft/control/source/quarantine"
	"github.com/weftmesh/weft/control/source/reflection"
	"github.com/weftmesh/weft/control/source/registration"
	"github.com/weftmesh/weft/control/source/registry"
	"github.com/weftmesh/weft/control/source/registry/consul"
	"github.com/weftmesh/weft/control/source/registry/etcd"
	"github.com/weftmesh/weft/control/source/registry/eureka"
	"github.com/weftmesh/weft/control/source/registry/nacos"
	"github.com/weftmesh/weft/control/source/registry/zookeeper"
	"github.com/weftmesh/weft/control/source/trust"
	"github.com/weftmesh/weft/control/store"
	"github.com/weftmesh/weft/wire"
)

// Options of a control plane.
type Options struct {
	// Config are folders or files of YAML, servers of MCP over xDS ("xds://host:port"), and API servers of Kubernetes
	// ("kubernetes://"). Overlay is the folder of what users
	// apply; it wins. ProcessState is the file in which a supervisor says what runs.
	Config       []string
	Overlay      string
	ProcessState string
	// XDSSocket and ConsoleSocket ("": weft-control.sock) are unix sockets. Plaintext, when set, is a
	// host:port for xDS in plain text: proxies are there who they say they are, get
	// no Secrets, and no certificates are signed. Monitoring, when set, is a
	// host:port for metrics and profiles.
	XDSSocket, Plaintext, ConsoleSocket, Monitoring string
	// Secure is where xDS and certificates are offered over TLS.
	Secure Secure
	// InCluster is the namespace of the Kubernetes cluster that the control plane runs in: the root is in a Secret
	// there, and what others need is written; "": it runs elsewhere. See control/cluster.
	InCluster string
	// Webhook is where API servers ask, over TLS, and who answers at which path.
	Webhook Webhook
	// Replicas are the control planes of the mesh that share global quotas, each as the others reach its xDS in plain text (host:port); this
	// one is the first. Fewer than two: there are no others.
	Replicas []string
	// ServeMCP, when set, is where others are offered what was found, by MCP over xDS, as Listening of control/mcp reads it.
	ServeMCP string
	// StateDir keeps the root certificate, which addresses services have, and what proxies
	// on demand used; "": weft-control, in the folder that the program runs in.
	StateDir string
	// CertTTL overrides the mesh's lifetime of workload certificates.
	CertTTL time.Duration
	// ConfigMode is wire.ModeEager or wire.ModeOnDemand, for workloads that name none.
	ConfigMode string
	// IdleAfter is after how long without use a proxy on demand loses what it asked
	// for; 0: an hour.
	IdleAfter time.Duration
	// Families are the IP families of allocated addresses; nil: 4 and 6. VIPRange is where
	// these are; zero: the default. CaptureRange is wire.CaptureAll ("" too) or
	// wire.CaptureVIP, with which every service gets one.
	Families     []int
	VIPRange     wire.VIPRange
	CaptureRange string
	Version      string
	// Sources are further ones, which the program adds; those of Weft win.
	Sources []source.Source
	Log     *slog.Logger
}

// drainBound is how long open streams may take to end.
const drainBound = time.Second

// configured are the sources that the user names; the earlier one wins.
func configured(o Options) ([]source.Source, error) {
	var folders []string
	var servers []source.Source
	for _, c := range o.Config {
		var s source.Source
		var err error
		switch {
		case mcp.Is(c):
			s, err = mcp.New(c, file.NewDecoder(), o.Log)
		case apiserver.Is(c):
			s, err = apiserver.New(c, apiserver.Options{Decoder: file.NewDecoder(), Cluster: apiserver.DefaultCluster, Log: o.Log})
		default:
			folders = append(folders, c)
			continue
		}
		if err != nil {
			return nil, err
		}
		servers = append(servers, s)
	}
	sources := append([]source.Source{file.New(file.Options{Paths: folders, Overlay: o.Overlay, Log: o.Log})}, servers...)
	if o.ProcessState != "" {
		sources = append(sources, process.New(o.ProcessState, o.Log))
	}
	return append(sources, o.Sources...), nil
}

// registryMakers are the clients of registries.
func registryMakers() map[string]registry.Maker {
	return map[string]registry.Maker{
		model.ZooKeeper: zookeeper.New, model.Consul: consul.New, model.Etcd: etcd.New, model.Nacos: nacos.New, model.Eureka: eureka.New,
	}
}

// Run runs a control plane until ctx ends.
func Run(ctx context.Context, o Options) error {
	o.StateDir, o.ConsoleSocket = cmp.Or(o.StateDir, "weft-control"), cmp.Or(o.ConsoleSocket, "weft-control.sock")
	sources, err := configured(o)
	if err != nil {
		return err
	}
	// Snapshot: merge, check, publish.
	book := snapshot.OpenBook(o.StateDir, o.Log)
	publisher := snapshot.New(snapshot.Options{
		Sources: append(names(sources), jwks.Name, trust.Name, registry.Name, reflection.Name), Essential: []string{file.Name, apiserver.Name},
		Attach: attach.Attach, Check: new(check.Checker).Check, Log: o.Log,
		Addresses: snapshot.Addresses{Families: o.Families, Range: o.VIPRange, Captured: o.CaptureRange == wire.CaptureVIP, Book: book},
	})
	snapshots := publisher.Cell()
	// Scope and translate, per proxy.
	proxies := fleet.New(snapshots, o.ConfigMode, o.Log)
	habits := habit.Open(o.StateDir, o.Log)
	proxies.Remember(habits, o.IdleAfter)
	d := derive(snapshots, proxies, o)
	sources = append(sources, d.sources...)
	// Serve.
	home, ca, err := authority(ctx, o)
	if err != nil {
		return err
	}
	sources = append(sources, trust.New(trust.Options{Snapshots: snapshots, Own: ca.Root(), Dir: o.StateDir, Log: o.Log}))
	metrics := newMetrics(proxies)
	certificates := identity.NewService(ca, caller(proxies), ttl(o, snapshots), roots(snapshots), o.Log)
	certificates.Register(metrics)
	server, plain := newServer(), newServer()
	ads, plainADS := serve.New(proxies, o.Log), serve.New(proxies.Plaintext(), o.Log)
	discoverypb.RegisterAggregatedDiscoveryServiceServer(server, ads)
	capb.RegisterIstioCertificateServiceServer(server, certificates)
	lrspb.RegisterLoadReportingServiceServer(server, proxies.Loads())
	discoverypb.RegisterAggregatedDiscoveryServiceServer(plain, plainADS)
	lrspb.RegisterLoadReportingServiceServer(plain, proxies.PlaintextLoads())
	d.limits.register(server, plain)
	secure := &secureServer{o: o, ca: ca, certificates: certificates, proxies: proxies, snapshots: snapshots, limits: d.limits, home: home}
	if err := secure.check(); err != nil {
		return err
	}
	// Console: for people and the supervisor.
	con := console.New(console.Options{
		Socket: o.ConsoleSocket, Snapshots: snapshots, Proxies: proxies, Metrics: metrics, Log: o.Log,
		Said: publisher.Said, Registries: d.registries.Status, Version: o.Version, ConfigMode: o.ConfigMode, Families: o.Families,
		CaptureRange: o.CaptureRange, VIPRange: o.VIPRange.String(), Inviter: secure.invites(),
		Store: store.New(o.Overlay, file.NewDecoder(), func(k model.Key) model.Object { return console.Find(snapshots.Load(), k) }),
	})

	if err := report(home, con, proxies, snapshots, o); err != nil {
		return err
	}
	sockets, err := listen(ctx, o)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range sources {
		g.Go(func() error { return s.Run(ctx, publisher.In()) })
	}
	d.limits.run(ctx, g)
	for _, run := range []func(context.Context) error{publisher.Run, proxies.Run, habits.Run, book.Run, con.Run} {
		g.Go(func() error { return run(ctx) })
	}
	runHome(ctx, g, home)
	serveWebhook(ctx, g, o, ca, sockets.webhook)
	serveGRPC(ctx, g, grpcServer{server, ads}, sockets.xds)
	serveGRPC(ctx, g, grpcServer{plain, plainADS}, sockets.plaintext)
	if sockets.secure != nil {
		serveGRPC(ctx, g, secure.server(sockets.secure.Addr()), sockets.secure)
	}
	serveGRPC(ctx, g, newOffer(offered.New(snapshots), sockets, o.Log), sockets.mcp)
	if sockets.monitoring != nil {
		g.Go(func() error { return console.Serve(ctx, sockets.monitoring, con.Monitoring(), o.Log) })
	}
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// authority is the mesh's, and the cluster that keeps it; nil where a folder does.
func authority(ctx context.Context, o Options) (*cluster.Cluster, *identity.Authority, error) {
	if o.InCluster == "" {
		ca, err := identity.Load(o.StateDir)
		return nil, ca, err
	}
	address := apiserver.Scheme
	if i := slices.IndexFunc(o.Config, apiserver.Is); i >= 0 {
		address = o.Config[i]
	}
	home, err := cluster.New(address, o.InCluster, o.Log)
	if err != nil {
		return nil, nil, err
	}
	ca, err := home.Root(ctx)
	return home, ca, err
}

// runHome does what there is to do in the cluster, if there is one.
func runHome(ctx context.Context, g *errgroup.Group, home *cluster.Cluster) {
	if home != nil {
		g.Go(func() error { return home.Run(ctx) })
	}
}

// derived are the sources of what follows from a snapshot and comes with a later one.
type derived struct {
	sources    []source.Source
	limits     *limits
	registries *registry.Source
}

func derive(snapshots *watch.Cell[*model.Snapshot], proxies *fleet.Fleet, o Options) derived {
	d := derived{
		// What is in force of limits follows numbers that proxies, the supervisor and others push.
		limits: newLimits(snapshots, o),
		// Services of registries, which objects name.
		registries: registry.New(registry.Options{Snapshots: snapshots, Makers: registryMakers(), Dir: o.StateDir, Log: o.Log}),
	}
	// What proxies refuse of patches holds for all of their kind.
	refused := quarantine.New(snapshots, o.Log)
	proxies.Judge = refused
	// Workloads register themselves.
	registered := registration.New(snapshots, registration.Grace, o.Log)
	proxies.Registrar = registered
	d.sources = []source.Source{
		jwks.New(jwks.Options{Snapshots: snapshots, Dir: o.StateDir, Log: o.Log}), // keys of tokens
		refused,
		d.limits.source,
		module.New(snapshots, o.StateDir, o.Log), // of plug-ins
		fence.New(snapshots),                     // deadlines
		registered,
		d.registries,
		reflection.New(reflection.Options{Snapshots: snapshots, Dir: o.StateDir, Log: o.Log}), // what gRPC servers serve
	}
	return d
}

// newMetrics has those of the process and of the proxies.
func newMetrics(proxies *fleet.Fleet) *prometheus.Registry {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	proxies.Register(metrics)
	return metrics
}

func names(sources []source.Source) []string {
	out := make([]string, len(sources))
	for i, s := range sources {
		out[i] = s.Name()
	}
	return out
}

// caller names who asks for a certificate.
func caller(f *fleet.Fleet) identity.Authenticator {
	return func(ctx context.Context) (identity.Caller, error) {
		w, err := f.Authenticate(ctx)
		if err != nil {
			return identity.Caller{}, err
		}
		return identity.Caller{SPIFFE: w.SPIFFE(), Name: w.Namespace + "/" + w.Name}, nil
	}
}

// roots are the authorities that the mesh configuration adds to the mesh's own.
func roots(s fleet.Snapshots) func() []string {
	return func() []string {
		if snap := s.Load(); snap != nil && snap.Mesh != nil {
			return snap.MoreRoots()
		}
		return nil
	}
}

func ttl(o Options, s fleet.Snapshots) func() time.Duration {
	return func() time.Duration {
		if o.CertTTL > 0 {
			return o.CertTTL
		}
		if snap := s.Load(); snap != nil && snap.Mesh != nil {
			return snap.Mesh.CertTTL
		}
		return 0
	}
}
