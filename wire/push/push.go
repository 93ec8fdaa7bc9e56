// Package push is a reporter of Metric Discovery: it pushes numbers to a control plane as often as they are wanted, and
// nothing while nobody wants them. The supervisor and proxies report by it.
//
// A stream that ends is opened again, with growing pauses; what was not sent meanwhile is not made up for.
package push

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/base/backoff"
	"github.com/weftmesh/weft/wire/metricpb"
)

// Reporter pushes numbers.
type Reporter struct {
	// Name is who reports. Names are the numbers that it has: it is asked when one of them is wanted.
	Name  string
	Names []string
	// Samples makes the numbers of the moment. It is called at intervals, the first time when reports begin (again):
	// what is a rate then has no value yet.
	Samples func(begin bool) []*metricpb.Sample
	Log     *slog.Logger
}

const (
	quickest = 100 * time.Millisecond
	// keptFor is how many intervals a number counts.
	keptFor = 6
)

// Run reports until ctx ends, whose error it returns. conn may be one that is not connected yet.
func (r *Reporter) Run(ctx context.Context, conn grpc.ClientConnInterface) error {
	b := backoff.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
	for {
		begun := time.Now()
		err := r.stream(ctx, conn)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(begun) > 10*time.Second {
			b.Reset()
		}
		r.Log.Debug("numbers are not reported", "error", err)
		if err := b.Wait(ctx); err != nil {
			return err
		}
	}
}

func (r *Reporter) stream(ctx context.Context, conn grpc.ClientConnInterface) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := metricpb.NewMetricDiscoveryClient(conn).Push(ctx, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	if err := s.Send(&metricpb.Report{Reporter: r.Name}); err != nil {
		return err
	}
	wanted := make(chan time.Duration)
	gone := make(chan error, 1)
	go func() {
		for {
			w, err := s.Recv()
			if err != nil {
				gone <- err
				return
			}
			for _, f := range w.GetFaults() {
				r.Log.Warn("a number was not taken", "error", f.GetMessage())
			}
			select {
			case wanted <- r.interval(w):
			case <-ctx.Done():
				gone <- ctx.Err()
				return
			}
		}
	}()
	return r.send(s, wanted, gone)
}

// interval is how often this reporter's numbers are wanted; 0: not.
func (r *Reporter) interval(w *metricpb.Wanted) time.Duration {
	if !slices.ContainsFunc(w.GetNames(), func(n string) bool { return slices.Contains(r.Names, n) }) {
		return 0
	}
	return max(w.GetInterval().AsDuration(), quickest)
}

func (r *Reporter) send(s grpc.BidiStreamingClient[metricpb.Report, metricpb.Wanted], wanted <-chan time.Duration, gone <-chan error) error {
	ticker := time.NewTicker(time.Hour)
	defer ticker.Stop()
	every := time.Duration(0)
	for {
		select {
		case err := <-gone:
			return err
		case d := <-wanted:
			if d != every {
				if every = d; every > 0 {
					ticker.Reset(every)
					r.Samples(true)
				}
			}
		case <-ticker.C:
			if every == 0 {
				ticker.Reset(time.Hour)
				continue
			}
			list := r.Samples(false)
			for _, x := range list {
				x.Ttl = durationpb.New(keptFor * every)
			}
			if len(list) == 0 {
				continue
			}
			if err := s.Send(&metricpb.Report{Samples: list}); err != nil {
				return err
			}
		}
	}
}
