package quota_test

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
	"github.com/weftmesh/weft/proxy/http/quota"
	"github.com/weftmesh/weft/wire/weftpb"
)

// bank grants what it is told to.
type bank struct {
	weftpb.UnimplementedQuotasServer
	tokens, credit atomic.Int64
	spent          atomic.Int64
	offline        atomic.Int64
}

func (b *bank) Lease(s grpc.BidiStreamingServer[weftpb.LeaseRequest, weftpb.LeaseResponse]) error {
	for {
		r, err := s.Recv()
		if err != nil {
			return err
		}
		out := &weftpb.LeaseResponse{}
		for _, a := range r.Asks {
			b.spent.Add(int64(a.Spent))
			b.offline.Add(int64(a.Offline))
			out.Grants = append(out.Grants, &weftpb.Grant{
				Id: a.Id, Key: a.Key, Tokens: float64(b.tokens.Swap(0)), Credit: float64(b.credit.Load()), Share: 1e6, Reset_: durationpb.New(3 * time.Second),
			})
		}
		if err := s.Send(out); err != nil {
			return err
		}
	}
}

func serve(t *testing.T, b *bank, l net.Listener) (stop func()) {
	t.Helper()
	server := grpc.NewServer()
	weftpb.RegisterQuotasServer(server, b)
	go func() { _ = server.Serve(l) }()
	return sync.OnceFunc(server.Stop)
}

// limited is a filter with one quota, and how to ask it.
func limited(t *testing.T, a *quota.Agent) func() (ok bool, h *filter.Headers) {
	t.Helper()
	rate, err := anypb.New(&routev3.RateLimit{Actions: []*routev3.RateLimit_Action{{
		ActionSpecifier: &routev3.RateLimit_Action_GenericKey_{GenericKey: &routev3.RateLimit_Action_GenericKey{DescriptorValue: "default/a/0"}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := anypb.New(&weftpb.QuotaRoute{Headers: true, Rules: []*weftpb.QuotaRule{{
		Id: "default/a/0", RateLimit: rate, Limit: 100, Interval: durationpb.New(time.Second), Refusal: []*weftpb.QuotaHeader{{Name: "Why", Value: "quota"}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	k := quota.Kind(a)
	ctx := &filter.ParseContext{FilterName: quota.Name, Stats: &filter.Stats{}}
	route, err := k.ParseRoute(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	empty, err := anypb.New(&weftpb.Quota{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := k.Parse(ctx, empty)
	if err != nil {
		t.Fatal(err)
	}
	return func() (bool, *filter.Headers) {
		s := filtertest.New()
		s.Routes = map[string]any{quota.Name: route}
		s.StreamInfo.Start = time.Now()
		x := f.New(s)
		verdict := x.RequestHeaders(s, s.Req, true)
		h := &filter.Headers{}
		x.ResponseHeaders(s, h, true)
		x.Done(s)
		return verdict == filter.Continue, h
	}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

func TestTokensAreTakenAndRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &bank{}
	b.tokens.Store(5)
	stop := serve(t, b, l)
	defer func() { stop() }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	a := quota.NewAgent("test", slog.New(slog.DiscardHandler))
	ask := limited(t, a)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx, conn) }()
	defer func() {
		cancel()
		<-ended
	}()
	eventually(t, "five tokens have come", func() bool { return b.tokens.Load() == 0 })
	// What it takes before the first word is on credit; in the end all that got through is accounted for.
	through := int64(0)
	var h *filter.Headers
	eventually(t, "a request is refused", func() bool {
		ok, got := ask()
		if ok {
			through++
		}
		h = got
		return !ok && through >= 5
	})
	if through > 5+2 {
		t.Errorf("%d requests got through, want 5 and at most 2 on credit", through)
	}
	if h.Get("x-ratelimit-limit") != "100" || h.Get("retry-after") != "3" || h.Get("why") != "quota" || h.Get("x-ratelimit-remaining") != "0" {
		t.Errorf("headers %v", h)
	}
	b.tokens.Store(1)
	eventually(t, "a token that comes later is taken", func() bool { ok, _ := ask(); return ok })

	// The control plane goes: the proxy goes on at its share, and says so when it is back.
	stop()
	eventually(t, "requests go on without a control plane", func() bool { ok, _ := ask(); return ok })
	for range 20 {
		ask()
	}
	l2, err := net.Listen("tcp", l.Addr().String())
	if err != nil {
		t.Skip("the port is taken meanwhile")
	}
	stop = serve(t, b, l2)
	eventually(t, "what was taken meanwhile is told", func() bool { return b.offline.Load()+b.spent.Load() > 0 })
}
