package quota

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/wire/weftpb"
)

// Deal is how often waiting proxies are given what has been filled in.
const Deal = 50 * time.Millisecond

// Leases is the server of weft.wire.v1.Quotas.
type Leases struct {
	weftpb.UnimplementedQuotasServer
	book *Book
}

// NewLeases returns a server of a book.
func NewLeases(b *Book) *Leases { return &Leases{book: b} }

// Run deals until ctx ends. While nobody waits it does nothing: a control plane without
// quotas is not woken for them.
func (l *Leases) Run(ctx context.Context) error {
	tick := time.NewTicker(Deal)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if !l.book.deal() {
				tick.Stop()
			}
		case <-l.book.waits:
			tick.Reset(Deal)
		}
	}
}

// session is a proxy's stream.
type session struct {
	mu    sync.Mutex
	out   map[place]*weftpb.Grant
	ready chan struct{}
	held  map[place]bool // of the receiving goroutine
}

// Lease implements weftpb.QuotasServer.
func (l *Leases) Lease(stream grpc.BidiStreamingServer[weftpb.LeaseRequest, weftpb.LeaseResponse]) error {
	s := &session{out: map[place]*weftpb.Grant{}, ready: make(chan struct{}, 1), held: map[place]bool{}}
	ctx, cancel := context.WithCancel(stream.Context())
	sent := make(chan error, 1)
	go func() {
		sent <- s.send(ctx, stream)
		cancel()
	}()
	defer func() {
		cancel()
		<-sent
		l.book.leave(s)
	}()
	for {
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, a := range r.GetAsks() {
			l.book.ask(s, a)
		}
	}
}

// send sends grants as they come, those of a time together.
func (s *session) send(ctx context.Context, stream grpc.BidiStreamingServer[weftpb.LeaseRequest, weftpb.LeaseResponse]) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ready:
		}
		s.mu.Lock()
		m := &weftpb.LeaseResponse{Grants: make([]*weftpb.Grant, 0, len(s.out))}
		for _, g := range s.out {
			m.Grants = append(m.Grants, g)
		}
		clear(s.out)
		s.mu.Unlock()
		if err := stream.Send(m); err != nil {
			return err
		}
	}
}

// put adds a grant to what goes out next.
func (s *session) put(p place, g *weftpb.Grant) {
	s.mu.Lock()
	if old := s.out[p]; old != nil {
		g.Tokens += old.Tokens
	}
	s.out[p] = g
	s.mu.Unlock()
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

func (s *session) unknown(p place) { s.put(p, &weftpb.Grant{Id: p.id, Key: p.key, Unknown: true}) }

// grant is called with the book's mu held.
func (s *session) grant(p place, x *bucket, tokens float64) {
	s.put(p, &weftpb.Grant{
		Id: p.id, Key: p.key, Tokens: tokens, Credit: x.credit(s), Remaining: max(0, x.level), Reset_: durationpb.New(x.reset()),
		Share: x.shared(),
	})
}

// shared is one proxy's part.
func (x *bucket) shared() float64 {
	if x.keeper != nil && x.share > 0 {
		return x.share
	}
	return x.part * x.spec.rate() / max(1, x.proxies())
}

// proxies is how many hold the bucket, those of other replicas among them.
func (x *bucket) proxies() (n float64) {
	for _, h := range x.holders {
		n += h.weight
	}
	return n
}

// sane bounds what proxies say.
func sane(v float64) float64 {
	if math.IsNaN(v) {
		return 0
	}
	return min(max(v, -1e9), 1e9)
}

// ask takes in what a proxy says of a quota, and answers.
func (b *Book) ask(s *session, a *weftpb.Ask) {
	p := place{a.GetId(), a.GetKey()}
	b.mu.Lock()
	defer b.mu.Unlock()
	x := b.find(p)
	if x == nil {
		s.unknown(p)
		return
	}
	h := x.holders[s]
	if h == nil {
		h = &holder{}
		x.holders[s] = h
		x.order = append(x.order, s)
		s.held[p] = true
	}
	h.replica, h.weight = a.GetProxies() > 0, min(max(1, sane(a.GetProxies())), 1e6)
	now := b.now()
	if a.GetAway() != nil {
		x.back(now, max(0, sane(a.GetOffline())), a.GetAway().AsDuration())
	}
	x.level = min(x.spec.limit, x.level-sane(a.GetSpent()))
	h.want = min(max(0, sane(a.GetWant())), max(1, x.spec.limit))
	tokens := 0.0
	if h.want >= 1 && x.level >= 1 && !b.contended(x, s) {
		tokens = min(math.Floor(h.want), math.Floor(x.level))
		x.level -= tokens
		h.want -= tokens
	}
	s.grant(p, x, tokens)
	if h.want >= 1 && !b.dealing {
		b.dealing = true
		b.waits <- struct{}{}
	}
}

// contended tells whether somebody else waits, so that what is there is dealt.
func (b *Book) contended(x *bucket, s *session) bool {
	for other, h := range x.holders {
		if other != s && h.want >= 1 {
			return true
		}
	}
	return false
}

// leave forgets a proxy. What it holds is lost.
func (b *Book) leave(s *session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for p := range s.held {
		if x := b.buckets[p]; x != nil {
			delete(x.holders, s)
			if i := slices.Index(x.order, s); i >= 0 {
				x.order = slices.Delete(x.order, i, i+1)
			}
		}
	}
}
