// Package control is the control plane: configuration and registries in, xDS
// and certificates out. This page wires its stages in the order in which a
// change passes them; it holds no logic of its own.
package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	capb "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/control/check"
	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/control/fleet"
	"github.com/weftmesh/weft/control/identity"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/serve"
	"github.com/weftmesh/weft/control/snapshot"
	"github.com/weftmesh/weft/control/source"
	"github.com/weftmesh/weft/control/source/file"
	"github.com/weftmesh/weft/control/source/process"
	"github.com/weftmesh/weft/control/store"
)

// Options of a control plane.
type Options struct {
	// Config are folders or files of YAML. Overlay is the folder of what users
	// apply; it wins. ProcessState is the file in which a supervisor says what runs.
	Config       []string
	Overlay      string
	ProcessState string
	// XDSSocket and ConsoleSocket are unix sockets; XDSAddress, when set, is a
	// host:port for xDS in plain text beside the socket.
	XDSSocket, XDSAddress, ConsoleSocket string
	// StateDir keeps the root certificate.
	StateDir string
	// CertTTL overrides the mesh's lifetime of workload certificates.
	CertTTL time.Duration
	// Families are the IP families of allocated addresses; nil: 4 and 6.
	Families []int
	Version  string
	Log      *slog.Logger
}

// drainBound is how long open streams may take to end.
const drainBound = time.Second

// Run runs a control plane until ctx ends.
func Run(ctx context.Context, o Options) error {
	// Sources: the earlier one wins.
	files := file.New(file.Options{Paths: o.Config, Overlay: o.Overlay, Log: o.Log})
	sources := []source.Source{files}
	if o.ProcessState != "" {
		sources = append(sources, process.New(o.ProcessState, o.Log))
	}
	// Snapshot: merge, check, publish.
	publisher := snapshot.New(snapshot.Options{Sources: names(sources), Check: check.Check, Families: o.Families, Log: o.Log})
	snapshots := publisher.Cell()
	// Scope and translate, per proxy.
	proxies := fleet.New(snapshots, o.Log)
	// Serve.
	ca, err := identity.Load(o.StateDir)
	if err != nil {
		return err
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	proxies.Register(metrics)
	certificates := identity.NewService(ca, caller(proxies), ttl(o, snapshots), o.Log)
	certificates.Register(metrics)
	server := grpc.NewServer(
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	discoverypb.RegisterAggregatedDiscoveryServiceServer(server, serve.New(proxies, o.Log))
	capb.RegisterIstioCertificateServiceServer(server, certificates)
	// Console: for people and the supervisor.
	con := console.New(console.Options{
		Socket: o.ConsoleSocket, Snapshots: snapshots, Proxies: proxies, Metrics: metrics, Version: o.Version, Log: o.Log,
		Store: store.New(o.Overlay, file.NewDecoder(), func(k model.Key) model.Object { return console.Find(snapshots.Load(), k) }),
	})

	listeners, err := listen(ctx, o)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range sources {
		g.Go(func() error { return s.Run(ctx, publisher.In()) })
	}
	g.Go(func() error { return publisher.Run(ctx) })
	g.Go(func() error { return proxies.Run(ctx) })
	g.Go(func() error { return con.Run(ctx) })
	for _, l := range listeners {
		g.Go(func() error {
			// Stopped before it has begun is no fault.
			if err := server.Serve(l); !errors.Is(err, grpc.ErrServerStopped) {
				return err
			}
			return nil
		})
	}
	g.Go(func() error {
		<-ctx.Done()
		stop := time.AfterFunc(drainBound, server.Stop)
		defer stop.Stop()
		server.GracefulStop()
		return nil
	})
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func names(sources []source.Source) []string {
	out := make([]string, len(sources))
	for i, s := range sources {
		out[i] = s.Name()
	}
	return out
}

// listen opens all sockets, or none.
func listen(ctx context.Context, o Options) (out []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range out {
				l.Close()
			}
		}
	}()
	if o.XDSSocket != "" {
		l, err := console.Listen(ctx, o.XDSSocket)
		if err != nil {
			return out, err
		}
		out = append(out, l)
	}
	if o.XDSAddress != "" {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", o.XDSAddress)
		if err != nil {
			return out, fmt.Errorf("xDS on %s: %w", o.XDSAddress, err)
		}
		out = append(out, l)
	}
	if len(out) == 0 {
		return nil, errors.New("the control plane has nowhere to listen: give an xDS socket or address")
	}
	return out, nil
}

// caller names who asks for a certificate.
func caller(f *fleet.Fleet) identity.Authenticator {
	return func(ctx context.Context) (string, error) {
		w, err := f.Authenticate(ctx)
		if err != nil {
			return "", err
		}
		return w.SPIFFE(), nil
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
