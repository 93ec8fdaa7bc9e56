package quota

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"

	pause "github.com/weftmesh/weft/base/backoff"
	"github.com/weftmesh/weft/wire/weftpb"
)

const (
	// silence is how long a replica that was asked may say nothing before it counts as gone.
	silence = time.Second
	// seeing is how long a replica that starts takes, at most, to see the others.
	seeing = time.Second
)

// group is who shares a book's quotas. Its methods are called with the book's mu held; the zero group is one
// of nobody else.
type group struct {
	self  string
	peers []*peer
	begun time.Time // when this replica began to look for the others
	moved time.Time // when somebody came or went last
}

// peer is another replica.
type peer struct {
	address string
	live    bool
	// owed is what it was asked for and has not given, by place.
	owed map[place]float64
}

// weigh makes the order in which replicas keep a place: the same for all replicas.
func weigh(p place, address string) uint64 {
	return xxhash.Sum64String(p.id + "\x00" + p.key + "\x00" + address)
}

// place finds out who keeps a bucket now.
func (g *group) place(x *bucket, p place, now time.Time) {
	if len(g.peers) == 0 {
		return
	}
	fresh := x.made.Equal(now)
	var keeper *peer
	best, live := weigh(p, g.self), 1.0
	for _, o := range g.peers {
		if !o.live {
			continue
		}
		live++
		if w := weigh(p, o.address); w > best {
			keeper, best = o, w
		}
	}
	part := 1.0
	switch {
	case keeper != nil:
		part = 0
	case now.Sub(g.begun) < seeing:
		part = live / float64(1+len(g.peers)) // of those not seen yet, one may keep it
	}
	moves := fresh || x.keeper != keeper
	if x.keeper == keeper && x.part > 0 && keeper != nil {
		part = x.part // the keeper does not know the quota: granted says so
	}
	if part != x.part || moves {
		x.fill(now)
		x.part = part
	}
	if !moves {
		return
	}
	// What there is of it somebody else may have, too.
	switch x.keeper = keeper; {
	case keeper != nil:
		x.level, x.share = min(x.level, 0), 0
	case now.Sub(g.moved) < young:
		x.level = min(x.level, 1)
	}
}

// Peers has a book share its quotas with other replicas. Make one with NewPeers.
type Peers struct {
	book *Book
	log  *slog.Logger
}

// NewPeers returns the peers of a book. replicas are the addresses of all, each as the others reach its weft.wire.v1.Quotas
// in plain text; this replica's own is the first.
func NewPeers(b *Book, replicas []string, log *slog.Logger) *Peers {
	g := &group{}
	for i, a := range replicas {
		if i == 0 {
			g.self = a
		} else if a != g.self {
			g.peers = append(g.peers, &peer{address: a, owed: map[place]float64{}})
		}
	}
	now := b.now()
	g.begun, g.moved = now, now
	b.mu.Lock()
	b.group = g
	b.mu.Unlock()
	return &Peers{b, log.With("component", "quota/peers")}
}

// Run leases from the other replicas until ctx ends.
func (p *Peers) Run(ctx context.Context) error {
	g, own := errgroup.WithContext(ctx)
	for _, o := range p.book.group.peers {
		g.Go(func() error { return p.follow(own, o) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// follow keeps a stream to a replica while it is there.
func (p *Peers) follow(ctx context.Context, o *peer) error {
	conn, err := grpc.NewClient("passthrough:///"+o.address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: seeing}, MinConnectTimeout: seeing}))
	if err != nil {
		return fmt.Errorf("replica %s: %w", o.address, err)
	}
	defer conn.Close()
	for {
		conn.Connect()
		for s := conn.GetState(); s != connectivity.Ready; s = conn.GetState() {
			if !conn.WaitForStateChange(ctx, s) {
				return ctx.Err()
			}
			conn.Connect()
		}
		err := p.lease(ctx, conn, o)
		p.set(o, false)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p.log.Warn("a replica has gone; its quotas are kept by others", "replica", o.address, "error", err)
		// A replica that hangs is not asked all the time.
		wait := pause.Backoff{Min: silence, Max: silence}
		if err := wait.Wait(ctx); err != nil {
			return err
		}
	}
}

// set notes that a replica has come or gone.
func (p *Peers) set(o *peer, live bool) {
	b := p.book
	b.mu.Lock()
	defer b.mu.Unlock()
	if o.live == live {
		return
	}
	now := b.now()
	o.live, b.group.moved = live, now
	clear(o.owed)
	for at, x := range b.buckets {
		b.group.place(x, at, now)
	}
}

// lease is one stream.
func (p *Peers) lease(ctx context.Context, conn *grpc.ClientConn, o *peer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := weftpb.NewQuotasClient(conn).Lease(ctx)
	if err != nil {
		return err
	}
	if err := s.Send(&weftpb.LeaseRequest{Node: "control plane " + p.book.group.self}); err != nil {
		return err
	}
	heard, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		for {
			m, err := s.Recv()
			if err != nil {
				ended <- err
				return
			}
			select {
			case heard <- struct{}{}:
			default:
			}
			p.book.granted(o, m.GetGrants())
		}
	}()
	p.set(o, true)
	tick := time.NewTicker(Deal)
	defer tick.Stop()
	var asked time.Time // since when there is no answer
	for {
		select {
		case err := <-ended:
			return err
		case <-heard:
			asked = time.Time{}
		case now := <-tick.C:
			if !asked.IsZero() && now.Sub(asked) > silence {
				cancel()
				<-ended
				return fmt.Errorf("it has not answered for %v", silence)
			}
			asks := p.book.wants(o)
			if len(asks) == 0 {
				continue
			}
			if asked.IsZero() {
				asked = now
			}
			if err := s.Send(&weftpb.LeaseRequest{Asks: asks}); err != nil {
				return <-ended
			}
		}
	}
}

// forget drops a bucket. It is called with mu held.
func (b *Book) forget(p place) {
	delete(b.buckets, p)
	for _, o := range b.group.peers {
		delete(o.owed, p)
	}
}

// spare is what a replica that does not keep a quota has at hand.
func (x *bucket) spare() float64 { return max(1, math.Floor(x.spec.limit/50)) }

// wants is what to ask a replica for.
func (b *Book) wants(o *peer) (out []*weftpb.Ask) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for p, x := range b.buckets {
		if x.keeper != o {
			continue
		}
		need := x.spare() - x.level
		for _, h := range x.holders {
			need += h.want
		}
		need = min(need, x.spec.limit)
		owed, known := o.owed[p]
		ask := &weftpb.Ask{Id: p.id, Key: p.key, Want: max(0, math.Ceil(need)), Proxies: max(1, x.proxies())}
		if back := math.Floor(-need - x.spare()); back >= 1 {
			ask.Spent = -back
			x.level -= back
		}
		if known && ask.Spent == 0 && ask.Want <= max(0, owed) {
			continue
		}
		o.owed[p] = ask.Want
		out = append(out, ask)
	}
	return out
}

// granted takes in what a replica gives.
func (b *Book) granted(o *peer, list []*weftpb.Grant) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	for _, g := range list {
		p := place{g.GetId(), g.GetKey()}
		x := b.buckets[p]
		if x == nil || x.keeper != o {
			continue // it is another's by now; what was given is lost
		}
		x.fill(now)
		if g.GetUnknown() {
			// There it is not in force, or not yet: each counts its part.
			x.part = 1 / float64(1+len(b.group.peers))
			delete(o.owed, p)
			continue
		}
		x.part, x.share = 0, g.GetShare()
		x.level = min(x.spec.limit, x.level+sane(g.GetTokens()))
		o.owed[p] -= sane(g.GetTokens())
		b.dealOne(p, x)
	}
}
