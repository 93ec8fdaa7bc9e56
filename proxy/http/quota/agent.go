package quota

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/base/backoff"
	"github.com/weftmesh/weft/wire/weftpb"
)

const (
	// tick is how often demand is measured, pause the least time between two messages.
	tick  = 100 * time.Millisecond
	pause = 10 * time.Millisecond
	// ahead is for how long the proxy wants to have tokens.
	ahead = 0.25
	// smooth is the weight of a tick in what is smoothed: about two seconds count.
	smooth = 0.05
	// idleAfter is after how many ticks without a request tokens are given back.
	idleAfter = 10
	// maxLeases bounds the leases of values that requests choose.
	maxLeases = 10_000
)

// Agent leases tokens from the control plane for all filters of a proxy. Make one with NewAgent; until Run has a stream,
// and whenever it has none, each quota goes on at the proxy's share of late.
type Agent struct {
	node string
	log  *slog.Logger

	connected atomic.Bool
	waking    chan struct{}
	started   chan struct{} // closed with the first lease
	once      sync.Once

	mu     sync.Mutex
	leases map[place]*lease
}

type place struct{ id, key string }

// NewAgent returns an agent; node is who asks, for people.
func NewAgent(node string, log *slog.Logger) *Agent {
	return &Agent{
		node: node, log: log.With("component", "quota"), waking: make(chan struct{}, 1), started: make(chan struct{}),
		leases: map[place]*lease{},
	}
}

func (a *Agent) wake() {
	select {
	case a.waking <- struct{}{}:
	default:
	}
}

// lease returns the lease of a quota, which is made when it is first asked for; nil: there are too many.
func (a *Agent) lease(id, key string, limit float64, interval time.Duration) *lease {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := place{id, key}
	l := a.leases[p]
	if l == nil {
		if len(a.leases) >= maxLeases {
			return nil
		}
		l = &lease{id: id, key: key}
		// Until the control plane has answered, which takes a moment.
		l.credit.Store(int64(max(1, math.Floor(limit/100))))
		setFloat(&l.share, limit/interval.Seconds()/100)
		a.leases[p] = l
	}
	setFloat(&l.limit, limit)
	l.interval.Store(int64(interval))
	a.once.Do(func() { close(a.started) })
	a.wake()
	return l
}

// Run keeps a stream to the control plane while there are leases, until ctx ends.
func (a *Agent) Run(ctx context.Context, conn grpc.ClientConnInterface) error {
	select {
	case <-ctx.Done():
		return nil
	case <-a.started:
	}
	wait := backoff.Backoff{Min: 50 * time.Millisecond, Max: time.Second}
	var away time.Time // since when there is no stream; zero: there never was one
	for {
		begun := time.Now()
		err := a.stream(ctx, weftpb.NewQuotasClient(conn), away)
		if a.connected.Swap(false) {
			away = time.Now()
			wait.Reset()
		}
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, io.EOF) && time.Since(begun) > time.Second {
			a.log.Info("quotas go on at the proxy's share: the stream has ended", "error", err)
		}
		if wait.Wait(ctx) != nil {
			return nil
		}
	}
}

// stream serves one stream.
func (a *Agent) stream(ctx context.Context, client weftpb.QuotasClient, away time.Time) error {
	ctx, cancel := context.WithCancel(ctx)
	s, err := client.Lease(ctx)
	if err != nil {
		cancel()
		return err
	}
	gone := make(chan struct{})
	var received error
	go func() {
		defer close(gone)
		for {
			m, err := s.Recv()
			if err != nil {
				received = err
				return
			}
			a.connected.Store(true)
			for _, g := range m.GetGrants() {
				a.take(g)
			}
		}
	}()
	defer func() {
		cancel()
		<-gone
	}()
	for _, l := range a.all() {
		l.subscribed = false
	}
	if err := s.Send(&weftpb.LeaseRequest{Node: a.node, Asks: a.asks(away, true)}); err != nil {
		return err
	}
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	rest := time.NewTimer(pause)
	defer rest.Stop()
	for {
		whole := false
		select {
		case <-ticker.C:
			a.measure()
			whole = true
		case <-a.waking:
		case <-gone:
			return received
		case <-ctx.Done():
			return ctx.Err()
		}
		if asks := a.asks(time.Time{}, whole); len(asks) > 0 {
			if err := s.Send(&weftpb.LeaseRequest{Asks: asks}); err != nil {
				return err
			}
			// Those who come meanwhile go along next time.
			rest.Reset(pause)
			select {
			case <-rest.C:
			case <-gone:
				return received
			}
		}
	}
}

func (a *Agent) all() []*lease {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]*lease, 0, len(a.leases))
	for _, l := range a.leases {
		out = append(out, l)
	}
	return out
}

// measure finds out how much is wanted, and forgets leases of values that do not come any more.
func (a *Agent) measure() {
	for _, l := range a.all() {
		wished := l.wished.Swap(0)
		rate := float64(wished) / tick.Seconds()
		l.demand = max(rate, l.demand+(rate-l.demand)*4*smooth) // up at once, down slowly
		a.mu.Lock()
		l.granted += (l.got/tick.Seconds() - l.granted) * smooth
		l.got = 0
		a.mu.Unlock()
		if l.idle++; wished > 0 {
			l.idle = 0
			if g := l.granted; g > 0 && rate > g {
				// What it has had of late is its part: others want the rest.
				setFloat(&l.share, g)
			}
		}
		if l.key != "" && l.idle > 100*idleAfter {
			a.mu.Lock()
			delete(a.leases, place{l.id, l.key})
			a.mu.Unlock()
			l.free.Store(false)
		}
	}
}

// asks are what there is to say. away: of a stream that begins, since when there was none. Not whole: only about
// quotas of which nothing is on its way.
func (a *Agent) asks(away time.Time, whole bool) (out []*weftpb.Ask) {
	for _, l := range a.all() {
		first := !l.subscribed
		if !whole && !first && a.owes(l) {
			continue
		}
		woken := l.asked.Swap(false)
		have := l.tokens.Load()
		spent := int64(0)
		if have < 0 {
			spent = -have
			l.tokens.Add(spent)
			l.credit.Add(-min(spent, l.credit.Load())) // until more is heard of
			have = 0
		}
		want := max(0, math.Ceil(l.demand*ahead)-float64(have))
		if woken && want < 1 && have < 1 {
			want = 1
		}
		if back := have - int64(math.Ceil(l.demand*2*ahead)); l.idle > idleAfter && back > 0 {
			if left := l.tokens.Add(-back); left < 0 { // somebody was faster
				l.tokens.Add(-left)
				back += left
			}
			spent -= back
		}
		if !first && !woken && spent == 0 && want < 1 {
			continue
		}
		x := &weftpb.Ask{Id: l.id, Key: l.key, Want: want, Spent: float64(spent)}
		if alone := float64(l.alone.Swap(0)); first && !away.IsZero() {
			x.Offline, x.Away = alone, durationpb.New(time.Since(away))
		} else {
			x.Spent += alone
		}
		l.subscribed = true
		a.mu.Lock()
		l.owed = want
		a.mu.Unlock()
		out = append(out, x)
	}
	return out
}

// owes tells whether the control plane has not yet given all that was asked for.
func (a *Agent) owes(l *lease) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return l.owed >= 1
}

// take takes a grant in.
func (a *Agent) take(g *weftpb.Grant) {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.leases[place{g.GetId(), g.GetKey()}]
	if l == nil {
		return // what it was for has not come for long; its tokens are lost
	}
	l.free.Store(g.GetUnknown())
	if g.GetUnknown() {
		l.subscribed = false
		return
	}
	l.got += g.GetTokens()
	l.owed -= g.GetTokens()
	l.credit.Store(int64(g.GetCredit()))
	l.tokens.Add(int64(g.GetTokens()))
	if l.granted == 0 && g.GetShare() > 0 {
		setFloat(&l.share, g.GetShare())
	}
	setFloat(&l.remaining, g.GetRemaining())
	l.refilled.Store(time.Now().Add(g.GetReset_().AsDuration()).UnixNano())
}
