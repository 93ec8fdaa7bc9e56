package control

import (
	"context"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/control/limiter"
	"github.com/weftmesh/weft/control/limiter/metric"
	"github.com/weftmesh/weft/control/limiter/prometheus"
	"github.com/weftmesh/weft/control/limiter/quota"
	"github.com/weftmesh/weft/wire/metricpb"
	"github.com/weftmesh/weft/wire/weftpb"
)

// limits is what SmartLimiters need: who takes numbers in, who finds out what is in force, and who counts what proxies
// share.
type limits struct {
	snapshots limiter.Snapshots
	source    *limiter.Source
	pushed    *metric.Service
	polled    *prometheus.Poller
	book      *quota.Book
	leases    *quota.Leases
	rls       *quota.RLS
	peers     *quota.Peers
}

func newLimits(s limiter.Snapshots, o Options) *limits {
	numbers, book := metric.NewStore(), quota.NewBook()
	return &limits{
		snapshots: s, source: limiter.New(s, numbers, o.Log), pushed: metric.NewService(numbers, o.Log),
		polled: prometheus.New(s, numbers, o.Log), book: book, leases: quota.NewLeases(book), rls: quota.NewRLS(book),
		peers: quota.NewPeers(book, o.Replicas, o.Log),
	}
}

// register adds the services that others call.
func (l *limits) register(servers ...*grpc.Server) {
	for _, s := range servers {
		metricpb.RegisterMetricDiscoveryServer(s, l.pushed)
		weftpb.RegisterQuotasServer(s, l.leases)
		rlsv3.RegisterRateLimitServiceServer(s, l.rls)
	}
}

// run deals what is shared, by what is in force.
func (l *limits) run(ctx context.Context, g *errgroup.Group) {
	g.Go(func() error { return l.leases.Run(ctx) })
	g.Go(func() error { return l.polled.Run(ctx) })
	g.Go(func() error { return l.peers.Run(ctx) })
	g.Go(func() error {
		for {
			changed := l.snapshots.Changed()
			if snap := l.snapshots.Load(); snap != nil {
				l.book.Follow(snap.Limits)
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-changed:
			}
		}
	})
}
