// Package proxy is the data plane: it reads an Envoy v3 bootstrap, follows a
// control plane by delta ADS, and moves the traffic. This page wires the stages
// in the order in which configuration and then connections go through them:
//
//	xds → config → listener → filters → route → cluster → transport
//
// It holds no logic of its own beyond that; filters.go lists what may stand in
// a filter chain.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/base/overload"
	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/cluster/health"
	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/config"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http"
	"github.com/weftmesh/weft/proxy/http/client"
	"github.com/weftmesh/weft/proxy/http/quota"
	"github.com/weftmesh/weft/proxy/istio"
	"github.com/weftmesh/weft/proxy/listener"
	"github.com/weftmesh/weft/proxy/redis"
	"github.com/weftmesh/weft/proxy/relay"
	"github.com/weftmesh/weft/proxy/route"
	"github.com/weftmesh/weft/proxy/sds"
	"github.com/weftmesh/weft/proxy/tcp"
	"github.com/weftmesh/weft/proxy/transport"
	"github.com/weftmesh/weft/proxy/xds"
	"github.com/weftmesh/weft/wire"
)

// Options of a Proxy. Only Bootstrap is needed.
type Options struct {
	// Bootstrap is the path of an Envoy v3 bootstrap, YAML or JSON.
	Bootstrap string
	// Istio, when set, is how istiod is reached and where the certificate comes from;
	// without a Bootstrap it makes one.
	Istio *istio.Agent
	// Mark, when not 0, is the SO_MARK of everything that the proxy sends.
	Mark int
	// XDSSocket, when not empty, replaces the address of the control plane.
	XDSSocket string
	// HandSocket is the supervisor's, which makes sockets outside of this
	// network namespace; "": the proxy makes all of its own.
	HandSocket string
	// Inside are the networks that are reached without HandSocket; with none
	// of them everything is.
	Inside []netip.Prefix
	// HostListeners binds listeners on the host's loopback too (gateways).
	HostListeners bool
	// DNS is where the mesh's names are answered; none: the system's resolver
	// is used, and nothing is answered. NameServers answer what the mesh does
	// not know; none: the host's, or those of /etc/resolv.conf.
	DNS, NameServers []string
	// Relay is where connections arrive that programs make past the proxy, to be carried
	// outside by HandSocket; none: nothing is.
	Relay []string
	// ClusterDomain is "cluster.local" when empty.
	ClusterDomain string

	// Merged, Health and Prometheus are the addresses of those endpoints;
	// AdminSocket is a unix socket beside the bootstrap's admin address.
	Merged, Health, Prometheus []string
	AdminSocket                string
	// Programs are the URLs of the programs' own metrics, for Merged.
	Programs []string
	// PIDs are the processes that the proxy's cost consists of; nil: this one.
	PIDs func() []int

	// SPIFFE is the name to ask the authority for; "": it knows. CertTTL 0: 24 h.
	SPIFFE  string
	CertTTL time.Duration

	// Protocols are carried beside those that are built in, see proxy/codec.
	Protocols []*codec.Protocol

	// IO is what carries connections: IOLoop (the default where there are event
	// loops) or IOGoroutine.
	IO string

	// Handover lets a new process take over without cutting anything.
	Handover Handover
	// DrainTime is how long connections may go on after ctx ended; 0: 3 s.
	DrainTime time.Duration
	Version   string
	Log       *slog.Logger
	// Level lets the admin API change the log level.
	Level *slog.LevelVar
}

// Proxy is a data plane.
type Proxy struct {
	opt  Options
	boot *config.Bootstrap
}

const defaultDrainTime = 3 * time.Second

// Values of Options.IO.
const (
	IOLoop      = "loop"
	IOGoroutine = "goroutine"
)

// New reads and checks the bootstrap.
func New(opt Options) (*Proxy, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.DrainTime == 0 {
		opt.DrainTime = defaultDrainTime
	}
	switch opt.IO {
	case "", IOLoop, IOGoroutine:
	default:
		return nil, fmt.Errorf("I/O host %q is not known: want %q or %q", opt.IO, IOLoop, IOGoroutine)
	}
	if opt.ClusterDomain == "" {
		opt.ClusterDomain = "cluster.local"
	}
	boot, err := bootstrap(&opt)
	if err != nil {
		return nil, err
	}
	if boot.Refused != nil {
		opt.Log.Error("what EnvoyFilters have added to the bootstrap cannot be carried out: the proxy begins without", "error", boot.Refused)
	}
	opt.yield(boot)
	if boot.ADS != nil && opt.XDSSocket != "" {
		boot.ADS.Network, boot.ADS.Address = "unix", opt.XDSSocket
	}
	return &Proxy{opt: opt, boot: boot}, nil
}

// bootstrap reads the bootstrap, or makes it.
func bootstrap(opt *Options) (*config.Bootstrap, error) {
	if opt.Istio == nil || opt.Bootstrap != "" {
		b, err := config.LoadBootstrap(opt.Bootstrap)
		if err != nil {
			return nil, err
		}
		return b, opt.join(b)
	}
	raw, err := opt.Istio.Bootstrap(true)
	if err != nil {
		return nil, err
	}
	b, err := config.ParseBootstrap(raw)
	if err != nil {
		return nil, fmt.Errorf("BUG: the bootstrap that was made: %w", err)
	}
	return b, opt.join(b)
}

// yield leaves out those of the proxy's own endpoints whose ports a static
// listener has: pilot-agent's bootstrap serves them by listeners.
func (o *Options) yield(b *config.Bootstrap) {
	taken := map[string]bool{}
	for _, l := range b.Proto.GetStaticResources().GetListeners() {
		taken[fmt.Sprint(l.GetAddress().GetSocketAddress().GetPortValue())] = true
	}
	if o.Istio == nil && foreign(b) { // an agent beside this proxy serves them
		o.Merged, o.Health, o.Prometheus = nil, nil, nil
		return
	}
	for _, list := range []*[]string{&o.Merged, &o.Health, &o.Prometheus} {
		*list = slices.DeleteFunc(slices.Clone(*list), func(address string) bool {
			_, port, err := net.SplitHostPort(address)
			return err == nil && taken[port]
		})
	}
}

// join lets a bootstrap's control plane be istiod.
func (o *Options) join(b *config.Bootstrap) error {
	if o.Mark != 0 {
		b.Mark = o.Mark
	}
	if o.Istio == nil {
		return nil
	}
	if b.ADS == nil {
		return errors.New("the bootstrap has no ads_config: there is nothing to ask istiod for")
	}
	t := o.Istio.XDS.Target(config.DialMarked(b.Mark))
	t.StateOfTheWorld, t.EveryNode = b.ADS.StateOfTheWorld, b.ADS.EveryNode
	b.ADS = &t
	if o.SPIFFE == "" {
		o.SPIFFE = o.Istio.SPIFFE
	}
	if o.CertTTL == 0 {
		o.CertTTL = o.Istio.TTL
	}
	if o.Istio.Drain != 0 {
		o.DrainTime = o.Istio.Drain
	}
	return nil
}

// runtime is a running proxy: the stages, and who runs them.
type runtime struct {
	opt   Options
	boot  *config.Bootstrap
	log   *slog.Logger
	start time.Time

	group *errgroup.Group
	// life ends after connections were drained.
	life context.Context //nolint:containedctx // bounds what configuration starts later: log writers, exporters
	quit context.CancelFunc

	secrets     *transport.SecretStore
	dialer      transport.Dialer
	clusters    *cluster.Manager
	listeners   *listener.Manager
	httpStats   *http.Stats
	filterStats *filter.Stats
	failing     atomic.Bool // health checks, as the admin API says
	store       *config.Store
	files       *sds.Files
	remotes     remotes
	conn        *grpc.ClientConn // to the control plane; nil: none
	ads         *xds.Client      // nil: none
	names       *names
	relay       *relay.Server
	observe     *observe
	quotas      *quota.Agent
	overload    *overload.Manager
	checks      health.Logs
	sinks       sinks

	gen generations
	// sawListeners: the control plane has told its listeners once.
	sawListeners atomic.Bool
	// told: ctx of Run has ended.
	told func() bool
	// leaving: others have been told that the workload goes.
	leaving atomic.Bool
}

// Run is New and Proxy.Run in one.
func Run(ctx context.Context, opt Options) error {
	p, err := New(opt)
	if err != nil {
		return err
	}
	return p.Run(ctx)
}

// Run moves traffic until ctx ends, and then until connections have drained.
func (p *Proxy) Run(ctx context.Context) error {
	ctx, quit := context.WithCancel(ctx)
	defer quit()
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	g, life := errgroup.WithContext(life)
	r := &runtime{
		opt: p.opt, boot: p.boot, log: p.opt.Log, start: time.Now(), group: g, life: life, quit: quit,
		secrets: transport.NewSecretStore(), httpStats: http.NewStats(), filterStats: &filter.Stats{},
		quotas: quota.NewAgent(p.boot.Node.GetId(), p.opt.Log),
		told:   func() bool { return ctx.Err() != nil },
	}
	err := r.meet(ctx)
	if err == nil {
		err = r.wire()
	}
	if err != nil {
		end()
		return errors.Join(err, ignoreCancelled(g.Wait()))
	}
	g.Go(func() error {
		select {
		case <-ctx.Done():
			r.drain()
		case bound := <-r.gen.retired:
			r.outlast(ctx, bound)
		case <-life.Done(): // some part failed
		}
		end()
		return nil
	})
	err = ignoreCancelled(g.Wait())
	r.checks.Close()
	if r.conn != nil {
		err = errors.Join(err, r.conn.Close())
	}
	return err
}

func ignoreCancelled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// wire connects the stages. What it starts runs in the group.
func (r *runtime) wire() error {
	// The control plane, and what goes over its connection.
	if t := r.boot.ADS; t != nil {
		conn, err := xds.Connect(*t)
		if err != nil {
			return err
		}
		r.conn = conn
	}
	for _, n := range r.boot.Notes {
		r.log.Info("bootstrap: " + n)
	}
	// transport: how sockets are made, and where names lead.
	r.dialer = r.newDialer()
	r.names = r.newNames()
	r.relay = r.newRelay()
	// cluster: endpoints, load balancing, pools.
	ejections, err := r.ejectionLog()
	if err != nil {
		return err
	}
	r.clusters = cluster.NewManager(r.life, cluster.Options{
		Dialer: r.dialer, Serve: func(nc net.Conn, high int) stream.Conn { return r.serve(nc, transport.Options{High: high}) }, Resolver: r.names.resolve, Log: r.log.With("component", "cluster"),
		LocalCluster: r.boot.LocalCluster, Place: r.boot.Place, Ejections: ejections, Runtime: r.boot.Runtime,
		Buckets: r.boot.Buckets,
		Inner: func(ctx context.Context, to cluster.Inner) (net.Conn, error) {
			return r.listeners.Connect(ctx, listener.Inner(to))
		},
	})
	// overload: when load is shed instead of carried.
	r.overload = overload.New(r.boot.Overload, r.log.With("component", "overload"))
	// listener: sockets, filter chains.
	r.listeners = listener.NewManager(listener.Options{
		Log: r.log.With("component", "listener"), Listen: r.listen(), ListenUDP: r.listenUDP, Hold: r.gen.hold, Serve: r.serve, DrainTime: r.opt.DrainTime, Overload: r.overload.State(),
		MaxConns: r.boot.Runtime.Key("overload.global_downstream_max_connections"),
	})
	// telemetry: metrics, and who peers are.
	r.observe = r.newObserve()
	// config: decodes into all of the above, joins, warms, swaps.
	dec := &config.Decoder{
		Life:      r.life,
		HTTPKinds: r.httpKinds(), NetworkKinds: r.networkKinds(), Protocols: protocols(r.opt.Protocols), Redis: redis.NewEngine(),
		Secrets: r.secrets, Clusters: r.clusters, Mark: r.boot.Mark, StateOfTheWorld: r.boot.ADS != nil && r.boot.ADS.StateOfTheWorld,
		AccessLog: r.accessLog, Tracer: r.tracer, DefaultTracing: r.boot.Tracing, HealthLog: r.checks.Open, TCPObservers: []tcp.Observer{r.observe.metrics},
		RouteOptions: route.Options{Hostname: hostname(), Env: environment}, Runtime: r.boot.Runtime, Overload: r.overload.State(), Failing: r.failing.Load,
		ServiceCluster: r.boot.Node.GetCluster(), Calls: client.New(r.clusters), Greeter: r.greeters(), LocalSecret: localSecret,
		HTTPStats: r.httpStats, FilterStats: r.filterStats, Added: r.observe.metrics.Added, Logger: r.log.With("component", "http"),
	}
	if r.boot.LocalCluster != "" {
		dec.Local = r.clusters
	}
	r.files = sds.NewFiles(r.setFile, r.log.With("component", "identity"))
	r.store = config.NewStore(config.Options{
		Decoder: dec, Clusters: r.clusters, Listeners: r.listeners.Update, Secrets: r.secrets,
		NeedIdentity: r.fetchIdentity, PushedRoots: r.rootsPushed(), Local: r.local, Others: r.names.handlers(r.observe), Log: r.log.With("component", "config"),
	})
	if err := r.store.Load(r.boot); err != nil {
		return fmt.Errorf("bootstrap %s: %w", r.opt.Bootstrap, err)
	}
	r.run(r.clusters.Run, r.store.Run, r.files.Run, r.trim, r.overload.Run, func(ctx context.Context) error {
		return r.boot.Runtime.Run(ctx, r.log.With("component", "runtime"))
	})
	if r.boot.LoadStats.Cluster != "" {
		r.run(r.reportLoad)
	}
	if err := r.sendStats(r.life); err != nil {
		return fmt.Errorf("bootstrap %s: %w", r.opt.Bootstrap, err)
	}
	// xds: brings resources to config.
	if r.conn != nil {
		r.follow()
		r.run(func(ctx context.Context) error { return r.quotas.Run(ctx, r.conn) }, r.reportNumbers)
	}
	// handover: begins where another process has been until now.
	r.restore()
	return r.begin()
}

// serve makes a stream of a socket, on the chosen I/O host.
func (r *runtime) serve(nc net.Conn, o transport.Options) stream.Conn {
	o.Goroutine = r.opt.IO == IOGoroutine
	return transport.Serve(nc, o)
}

// run starts parts that end with life.
func (r *runtime) run(parts ...func(context.Context) error) {
	for _, f := range parts {
		r.group.Go(func() error { return f(r.life) })
	}
}

// follow subscribes to what the bootstrap asks for, and what config finds it needs.
func (r *runtime) follow() {
	r.ads = xds.New(xds.Options{
		Conn: r.conn, Node: r.boot.Node, StateOfTheWorld: r.boot.ADS.StateOfTheWorld, EveryNode: r.boot.ADS.EveryNode, Handler: r.apply, Logger: r.log.With("component", "xds"),
	})
	if r.boot.Clusters {
		r.ads.SubscribeAll(wire.TypeCluster)
	}
	if r.boot.Listeners {
		r.ads.SubscribeAll(wire.TypeListener)
	}
	r.names.follow(r.ads)
	if r.boot.Workloads {
		r.ads.SubscribeAll(wire.TypeIstioWorkload)
	}
	if !r.foreign() {
		r.observe.follow(r.ads)
	}
	r.store.Connect(r.ads)
	r.run(r.ads.Run)
	if r.opt.Istio != nil && r.opt.Istio.Probe != nil {
		r.run(func(ctx context.Context) error {
			return r.opt.Istio.Probe.Run(ctx, func(failure string) {
				if !r.leaving.Load() {
					r.ads.Health(failure)
				}
			})
		})
	}
}

// foreign tells whether the control plane is istiod, by how the node is described:
// it ends the stream of who asks for a type that it does not know.
func (r *runtime) foreign() bool { return foreign(r.boot) }

func foreign(b *config.Bootstrap) bool {
	return b.Metadata.IstioVersion != "" && b.Metadata.Engine == ""
}

// apply hands what the control plane tells to config.
func (r *runtime) apply(u xds.Update) []xds.Rejection {
	defer func() {
		if u.Type == wire.TypeListener {
			r.sawListeners.Store(true)
		}
	}()
	rejected := r.store.Apply(u)
	what := "update_success"
	if len(rejected) > 0 {
		what = "update_rejected"
	}
	switch u.Type {
	case wire.TypeCluster:
		r.filterStats.Counter("cluster_manager", "", "cds."+what).Add(1)
	case wire.TypeListener:
		r.filterStats.Counter("listener_manager", "", "lds."+what).Add(1)
	}
	return rejected
}

// farewell is how long a workload that has registered itself still takes new connections
// after it has said that it goes, until others have heard of it.
const farewell = time.Second

// leave says so of a workload that has registered itself.
func (r *runtime) leave() {
	if r.opt.Istio == nil || r.ads == nil || !r.opt.Istio.Registers() {
		return
	}
	r.leaving.Store(true)
	r.ads.Health("the proxy is ending")
	t := time.NewTimer(farewell)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.life.Done():
	}
}

// drain lets connections end by themselves, for a while.
func (r *runtime) drain() {
	r.leave()
	r.log.Info("draining", "for", r.opt.DrainTime)
	// Programs beside a sidecar may still call while they end.
	r.listeners.Drain(r.opt.Istio != nil && r.opt.Istio.Node.Type == wire.Sidecar)
	bound := time.NewTimer(r.opt.DrainTime)
	defer bound.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for r.listeners.Active() > 0 {
		select {
		case <-tick.C:
		case <-bound.C:
			return
		}
	}
}
