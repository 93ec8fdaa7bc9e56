package metric

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/wire/metricpb"
)

// Interval is how often numbers are wanted.
const Interval = 500 * time.Millisecond

// Service is the server of Metric Discovery. Whoever reaches it may push numbers of anything: it is for reporters that
// the mesh's operator trusts.
type Service struct {
	metricpb.UnimplementedMetricDiscoveryServer
	store *Store
	log   *slog.Logger
}

// NewService returns a server that keeps what it is told in the store.
func NewService(s *Store, log *slog.Logger) *Service {
	return &Service{store: s, log: log.With("component", "limiter/metric")}
}

// Push implements metricpb.MetricDiscoveryServer.
func (s *Service) Push(stream grpc.BidiStreamingServer[metricpb.Report, metricpb.Wanted]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	faults := make(chan []*metricpb.Fault, 1)
	told := make(chan error, 1)
	go func() {
		told <- s.tell(ctx, stream, faults)
		cancel()
	}()
	for {
		r, err := stream.Recv()
		if err != nil {
			cancel()
			<-told
			return err
		}
		if list := s.take(r); len(list) > 0 {
			select {
			case faults <- list:
			default: // the reporter has not read of the last ones yet
			}
		}
	}
}

// tell says what is wanted, at once and when it changes, and what was wrong.
func (s *Service) tell(ctx context.Context, stream grpc.BidiStreamingServer[metricpb.Report, metricpb.Wanted], faults <-chan []*metricpb.Fault) error {
	var wrong []*metricpb.Fault
	for {
		names, changed := s.store.Wanted()
		if err := stream.Send(&metricpb.Wanted{Names: names, Interval: durationpb.New(Interval), Faults: wrong}); err != nil {
			return err
		}
		wrong = nil
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case wrong = <-faults:
		}
	}
}

// take keeps a report's samples, and says which could not be.
func (s *Service) take(r *metricpb.Report) (faults []*metricpb.Fault) {
	for i, x := range r.GetSamples() {
		if err := s.one(x); err != nil {
			faults = append(faults, &metricpb.Fault{Sample: uint32(i), Message: err.Error()}) //nolint:gosec // messages are bounded
		}
	}
	return faults
}

func (s *Service) one(x *metricpb.Sample) error {
	if !Name(x.GetName()) {
		return fmt.Errorf("name: %q is no name of a value", x.GetName())
	}
	of := Subject{Namespace: x.GetNamespace(), Workload: x.GetWorkload()}
	switch {
	case (x.GetWorkload() == "") == (x.GetService() == ""):
		return fmt.Errorf("workload: write one of workload and service")
	case x.GetService() != "":
		of = Subject{Service: x.GetService(), Set: x.GetSet()}
	}
	return s.store.Set(of, x.GetName(), x.GetValue(), x.GetTtl().AsDuration())
}

// Name tells whether a text is a name that expressions can have.
func Name(s string) bool {
	if s == "" || len(s) > 200 || s[0] == '.' || s[len(s)-1] == '.' {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '_', c == '-', c == '/', c == ':', c == '.':
		default:
			return false
		}
	}
	return true
}
