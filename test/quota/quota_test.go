// Package quota drives the control plane's quotas with the filters of twenty proxies, over real connections, at ten
// times of what they may: what gets through, and what does around a restart of the control plane.
//
// A busy machine can take requests away and never add any: below, the bounds are loose, unless WEFT_SOAK is set, which
// is for a quiet machine.
package quota

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/control/limiter/quota"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
	agent "github.com/weftmesh/weft/proxy/http/quota"
	"github.com/weftmesh/weft/wire/weftpb"
)

const (
	proxies = 20
	id      = "default/a/spec.descriptors[0]"
)

// plan is how much, and how exact.
type plan struct {
	rate   float64
	during time.Duration
	// low and high are shares of what should get through; around a restart in ten seconds.
	low, high, restartLow, restartHigh float64
}

func planned() plan {
	if os.Getenv("WEFT_SOAK") != "" {
		return plan{1000, 30 * time.Second, 0.97, 1.03, 0.90, 1.10}
	}
	// Above: what the bucket holds, a second's, may come along.
	return plan{200, 3 * time.Second, 0.3, 1.5, 0.2, 1.5}
}

// control is the part of a control plane that counts.
type control struct {
	server *grpc.Server
	cancel context.CancelFunc
	done   sync.WaitGroup
}

func start(t *testing.T, address string, rate float64) (*control, string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return startOn(l, rate), l.Addr().String()
}

// startOn starts one that shares with others, where any are named: this one first.
func startOn(l net.Listener, rate float64, replicas ...string) *control {
	book := quota.NewBook()
	sl := &model.SmartLimiter{Rules: []model.LimitRule{{Strategy: model.LimitGlobal, Interval: time.Second}}}
	book.Follow([]*model.Limits{{Limiter: sl, Quotas: []model.LimitQuota{{Active: true, Quota: rate, ID: id}}}})
	leases := quota.NewLeases(book)
	ctx, cancel := context.WithCancel(context.Background())
	c := &control{server: grpc.NewServer(), cancel: cancel}
	weftpb.RegisterQuotasServer(c.server, leases)
	peers := quota.NewPeers(book, replicas, slog.New(slog.DiscardHandler))
	c.done.Go(func() { _ = leases.Run(ctx) })
	c.done.Go(func() { _ = peers.Run(ctx) })
	c.done.Go(func() { _ = c.server.Serve(l) })
	return c
}

func (c *control) stop() {
	c.server.Stop()
	c.cancel()
	c.done.Wait()
}

// crowd is some proxies that ask for more than they may.
type crowd struct{ through, asked atomic.Int64 }

// proxy is one that goes to the first of some control planes that is there.
func (c *crowd) proxy(ctx context.Context, rate float64, addresses ...string) error {
	where := manual.NewBuilderWithScheme("replicas")
	var list []resolver.Address
	for _, a := range addresses {
		list = append(list, resolver.Address{Addr: a})
	}
	where.InitialState(resolver.State{Addresses: list})
	conn, err := grpc.NewClient("replicas:///all", grpc.WithResolvers(where), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, MaxDelay: 2 * time.Second}, MinConnectTimeout: time.Second}))
	if err != nil {
		return err
	}
	defer conn.Close()
	a := agent.NewAgent("test", slog.New(slog.DiscardHandler))
	route, factory, err := filtered(a, rate)
	if err != nil {
		return err
	}
	var leasing sync.WaitGroup
	defer leasing.Wait()
	leasing.Go(func() { _ = a.Run(ctx, conn) })
	s := filtertest.New()
	s.Routes = map[string]any{agent.Name: route}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for last, owed := time.Now(), 0.0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := time.Now()
		owed += now.Sub(last).Seconds() * 10 * rate / proxies
		last = now
		for ; owed >= 1; owed-- {
			s.StreamInfo.Start, s.Replies = now, s.Replies[:0]
			x := factory.New(s)
			if c.asked.Add(1); x.RequestHeaders(s, s.Req, true) == filter.Continue {
				c.through.Add(1)
			}
			x.Done(s)
		}
	}
}

func filtered(a *agent.Agent, rate float64) (any, filter.HTTPFactory, error) {
	limit, err := anypb.New(&routev3.RateLimit{Actions: []*routev3.RateLimit_Action{{
		ActionSpecifier: &routev3.RateLimit_Action_GenericKey_{GenericKey: &routev3.RateLimit_Action_GenericKey{DescriptorValue: id}},
	}}})
	if err != nil {
		return nil, nil, err
	}
	m, err := anypb.New(&weftpb.QuotaRoute{Rules: []*weftpb.QuotaRule{{Id: id, RateLimit: limit, Limit: rate, Interval: durationpb.New(time.Second)}}})
	if err != nil {
		return nil, nil, err
	}
	ctx := &filter.ParseContext{FilterName: agent.Name, Stats: &filter.Stats{}}
	route, err := agent.Kind(a).ParseRoute(ctx, m)
	if err != nil {
		return nil, nil, err
	}
	empty, err := anypb.New(&weftpb.Quota{})
	if err != nil {
		return nil, nil, err
	}
	f, err := agent.Kind(a).Parse(ctx, empty)
	return route, f, err
}

// measure is how much of what it should be gets through.
func (c *crowd) measure(p plan, during time.Duration, meanwhile func()) (share float64, text string) {
	begin, before, asked := time.Now(), c.through.Load(), c.asked.Load()
	meanwhile()
	time.Sleep(during - time.Since(begin))
	took := time.Since(begin).Seconds()
	n := c.through.Load() - before
	share = float64(n) / (p.rate * took)
	return share, fmt.Sprintf("%d of %d requests in %.2f s: %.1f %% of %v/s", n, c.asked.Load()-asked, took, 100*share, p.rate)
}

func TestGlobalQuota(t *testing.T) {
	p := planned()
	server, address := start(t, "127.0.0.1:0", p.rate)
	ctx, cancel := context.WithCancel(t.Context())
	var c crowd
	var all sync.WaitGroup
	for range proxies {
		all.Go(func() {
			if err := c.proxy(ctx, p.rate, address); err != nil {
				t.Error(err)
			}
		})
	}
	defer func() {
		cancel()
		all.Wait()
		server.stop()
	}()
	c.past(t, p)
	share, text := c.measure(p, p.during, func() {})
	t.Log("steady: " + text)
	if share < p.low || share > p.high {
		t.Errorf("steady: %s, want %.0f to %.0f %%", text, 100*p.low, 100*p.high)
	}
	share, text = c.measure(p, min(10*time.Second, 2*p.during), func() {
		server.stop()
		time.Sleep(time.Second) // as long as a control plane takes to be there again
		server, _ = start(t, address, p.rate)
	})
	t.Log("around a restart: " + text)
	if share < p.restartLow || share > p.restartHigh {
		t.Errorf("around a restart: %s, want %.0f to %.0f %%", text, 100*p.restartLow, 100*p.restartHigh)
	}
}

// past waits until what the bucket holds is gone: it is not part of the rate.
func (c *crowd) past(t *testing.T, p plan) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); c.through.Load() < int64(p.rate*1.5); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d requests got through in a minute", c.through.Load())
		}
	}
}

// TestReplicas: two control planes share one quota. One of them is killed, and comes again.
func TestReplicas(t *testing.T) {
	p := planned()
	var list [2]net.Listener
	var addresses [2]string
	for i := range list {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		list[i], addresses[i] = l, l.Addr().String()
	}
	begin := func(i int, l net.Listener) *control { return startOn(l, p.rate, addresses[i], addresses[1-i]) }
	servers := [2]*control{begin(0, list[0]), begin(1, list[1])}
	ctx, cancel := context.WithCancel(t.Context())
	var c crowd
	var all sync.WaitGroup
	for i := range proxies {
		all.Go(func() {
			if err := c.proxy(ctx, p.rate, addresses[i%2], addresses[1-i%2]); err != nil {
				t.Error(err)
			}
		})
	}
	defer func() {
		cancel()
		all.Wait()
		servers[0].stop()
		servers[1].stop()
	}()
	c.past(t, p)
	for i := range servers {
		for _, phase := range []struct {
			name      string
			during    time.Duration
			low, high float64
			do        func()
		}{
			{"two replicas", p.during, p.low, p.high, func() {}},
			{"one is killed", min(10*time.Second, 2*p.during), p.restartLow, p.restartHigh, func() { servers[i].stop() }},
			{"one replica", p.during, p.low, p.high, func() {}},
			{"it comes again", min(10*time.Second, 2*p.during), p.restartLow, p.restartHigh, func() {
				l, err := net.Listen("tcp", addresses[i])
				if err != nil {
					t.Fatal(err)
				}
				servers[i] = begin(i, l)
			}},
		} {
			share, text := c.measure(p, phase.during, phase.do)
			t.Logf("%s: %s", phase.name, text)
			if share < phase.low || share > phase.high {
				t.Errorf("%s: %s, want %.0f to %.0f %%", phase.name, text, 100*phase.low, 100*phase.high)
			}
		}
	}
}
