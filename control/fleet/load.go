package fleet

import (
	"context"
	"errors"
	"io"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointpb "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	lrspb "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/control/model"
)

const (
	// reportMost is the longest time between two reports of what a proxy uses.
	reportMost = time.Minute
	// reportIdle is the time of proxies that are not on demand, whose use matters to nobody.
	reportIdle = 24 * time.Hour
)

// Loads takes reports of load (LRS): by them the fleet knows which clusters proxies on
// demand use.
func (f *Fleet) Loads() lrspb.LoadReportingServiceServer { return loads{fleet: f, find: f.proven} }

// PlaintextLoads is Loads for the listener of Plaintext.
func (f *Fleet) PlaintextLoads() lrspb.LoadReportingServiceServer {
	return loads{fleet: f, find: f.provenOrClaimed}
}

type loads struct {
	lrspb.UnimplementedLoadReportingServiceServer
	fleet *Fleet
	find  func(context.Context, *corev3.Node) (*session, error)
}

// StreamLoadStats serves one stream until the proxy leaves.
func (l loads) StreamLoadStats(s lrspb.LoadReportingService_StreamLoadStatsServer) error {
	first, err := s.Recv()
	if err != nil {
		return err
	}
	who, err := l.find(s.Context(), first.GetNode())
	if err != nil {
		return err
	}
	answer := &lrspb.LoadStatsResponse{LoadReportingInterval: durationpb.New(reportIdle)}
	if l.fleet.usageMatters(who.identity) {
		answer.SendAllClusters = true
		answer.LoadReportingInterval = durationpb.New(min(reportMost, max(time.Second, l.fleet.idle/4)))
	}
	if err := s.Send(answer); err != nil {
		return err
	}
	for {
		r, err := s.Recv()
		switch {
		case errors.Is(err, io.EOF), status.Code(err) == codes.Canceled:
			return nil
		case err != nil:
			return err
		}
		var names []string
		for _, c := range r.GetClusterStats() {
			if inUse(c) {
				names = append(names, c.GetClusterName())
			}
		}
		if len(names) > 0 {
			l.fleet.busy(who.identity, names, time.Now())
		}
	}
}

// usageMatters tells whether a proxy is on demand, or will be when it has come.
func (f *Fleet) usageMatters(id model.Key) bool {
	list := f.of(id)
	if len(list) == 0 {
		return f.onDemand
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range list {
		if p.used != nil {
			return true
		}
	}
	return false
}

// inUse tells whether something went over a cluster, or still goes.
func inUse(c *endpointpb.ClusterStats) bool {
	n := c.GetTotalDroppedRequests()
	for _, l := range c.GetUpstreamLocalityStats() {
		n += l.GetTotalIssuedRequests() + l.GetTotalRequestsInProgress() + l.GetTotalSuccessfulRequests() + l.GetTotalErrorRequests() +
			l.GetTotalNewConnections() + l.GetTotalFailConnections()
	}
	return n > 0
}
