// Package quota counts what proxies share: the limits of the strategy global. Weft's own proxies lease tokens over a
// stream (wire/quota.proto), so that no request of theirs waits for anybody; others ask about each request by Envoy's
// rate limit protocol (RLS v3). Both take from the same buckets.
//
// A bucket holds a quota's requests of one interval and fills evenly. What is taken is never more, over any time, than
// what the bucket held and what has been filled in, but for credit: a proxy that has no tokens may take a few requests
// before it is heard, one each where there is little. Debts are paid back before anybody gets more, so that credit
// moves requests and adds none. Together, credit is at most the greater of half of what the bucket holds and one for
// each proxy.
//
// Several control planes share (Peers): each quota, and each value by which one counts apart, is kept by one of those
// that are there, and the others lease from it as proxies do. What they have at hand for proxies that have none is a
// fiftieth of the quota, one at least: by so much may more be admitted at once. A replica that cannot see the others
// keeps all by itself; one that has just started keeps its part until it has had time to see them.
//
// Buckets are in memory. After a start they are empty when proxies come back that have gone on by themselves, and full
// otherwise.
package quota

import (
	"math"
	"sync"
	"time"

	"github.com/weftmesh/weft/control/model"
)

const (
	// most bounds the buckets: values that requests choose make new ones.
	most = 100_000
	// young is a bucket that proxies may know from before a start.
	young = 10 * time.Second
)

// spec is one quota.
type spec struct {
	limit    float64
	interval time.Duration
	shadow   bool
	headers  []model.LimitHeader
}

func (s *spec) rate() float64 { return s.limit / s.interval.Seconds() }

// place names a bucket: a quota, and the values by which it counts apart.
type place struct{ id, key string }

// Book keeps all buckets. Make one with NewBook; all methods may be called by any goroutine.
type Book struct {
	now func() time.Time

	mu      sync.Mutex
	quotas  map[string]*spec // by id
	custom  map[custom]string
	buckets map[place]*bucket
	turn    int // whose turn it is where there are fewer tokens than who want one
	// dealing: somebody has begun to wait, which waits has told, and deal has not found
	// since that nobody does.
	dealing bool
	waits   chan struct{}
	group   *group
}

// custom is a descriptor that somebody else makes.
type custom struct{ domain, key, value string }

// bucket is what there is of a quota.
type bucket struct {
	spec    *spec
	level   float64 // below zero: debts
	at      time.Time
	made    time.Time
	resumed time.Time // when the first proxy came back
	// keeper is the replica that keeps the quota; nil: this one. Then part is what of the quota is its own.
	keeper  *peer
	part    float64
	share   float64 // of one proxy, as the keeper says
	holders map[*session]*holder
	order   []*session
}

// holder is what a proxy wants of a bucket, and how much it may take before it is heard. A replica stands for several.
type holder struct {
	want, credit, weight float64
	replica              bool
}

// NewBook returns an empty book.
func NewBook() *Book {
	return &Book{now: time.Now, quotas: map[string]*spec{}, custom: map[custom]string{}, buckets: map[place]*bucket{}, waits: make(chan struct{}, 1), group: &group{}}
}

// Follow takes in what is in force. Buckets of quotas that are still there keep what they hold.
func (b *Book) Follow(list []*model.Limits) {
	b.mu.Lock()
	defer b.mu.Unlock()
	quotas := map[string]*spec{}
	clear(b.custom)
	for _, l := range list {
		for i := range l.Quotas {
			q, r := &l.Quotas[i], &l.Limiter.Rules[i]
			if !q.Active || r.Strategy != model.LimitGlobal || r.Interval <= 0 {
				continue
			}
			quotas[q.ID] = &spec{q.Quota, r.Interval, r.Shadow, r.Headers}
			if r.Key != "" {
				b.custom[custom{l.Limiter.Domain, r.Key, r.Value}] = q.ID
			}
		}
	}
	b.quotas = quotas
	for p, x := range b.buckets {
		s := quotas[p.id]
		if s == nil {
			for holder := range x.holders {
				holder.unknown(p)
			}
			b.forget(p)
			continue
		}
		x.fill(b.now())
		if x.spec.limit > 0 && s.limit != x.spec.limit {
			x.level *= s.limit / x.spec.limit // the same part of it is left
		}
		x.spec = s
	}
}

// find is the bucket of a place; nil: there is no such quota, or there are too many buckets. It is called with mu held.
func (b *Book) find(p place) *bucket {
	x := b.buckets[p]
	now := b.now()
	if x == nil {
		s := b.quotas[p.id]
		if s == nil {
			return nil
		}
		if len(b.buckets) >= most {
			b.sweep(now)
			if len(b.buckets) >= most {
				return nil
			}
		}
		x = &bucket{spec: s, level: s.limit, at: now, made: now, holders: map[*session]*holder{}, part: 1}
		b.group.place(x, p, now)
		b.buckets[p] = x
	} else {
		b.group.place(x, p, now)
	}
	x.fill(now)
	return x
}

// sweep forgets buckets that are full and that nobody holds: they would be made again as they are.
func (b *Book) sweep(now time.Time) {
	for p, x := range b.buckets {
		x.fill(now)
		if len(x.holders) == 0 && (x.keeper != nil || x.level >= x.spec.limit) {
			b.forget(p)
		}
	}
}

func (x *bucket) fill(now time.Time) {
	x.level = min(x.spec.limit, x.level+x.part*x.spec.rate()*now.Sub(x.at).Seconds())
	x.at = now
}

// credit is how much a holder may take before it is heard: no more than others have left of half of what there is.
func (x *bucket) credit(s *session) float64 {
	h := x.holders[s]
	if h.credit = 0; x.level < 1 || h.replica {
		return 0
	}
	left := x.level / 2
	for _, other := range x.holders {
		left -= other.credit
	}
	h.credit = max(1, math.Floor(min(left, x.level/2/float64(len(x.holders)))))
	return h.credit
}

// reset is how long until there is a token.
func (x *bucket) reset() time.Duration {
	if x.level >= 1 {
		return 0
	}
	if x.spec.limit <= 0 {
		return x.spec.interval
	}
	return time.Duration(min((1-x.level)/x.spec.rate(), 1e9) * float64(time.Second))
}

// back notes that a proxy has come back after it has been on its own.
func (x *bucket) back(now time.Time, taken float64, away time.Duration) {
	if now.Sub(x.made) > young {
		x.level -= taken // only its stream was lost
		return
	}
	if x.resumed.IsZero() {
		x.resumed, x.level = now, 0
		return
	}
	// What it took since the bucket began to fill again.
	if away > 0 {
		x.level -= taken * min(1, now.Sub(x.resumed).Seconds()/away.Seconds())
	}
}

// take takes tokens for somebody who asks about each request: all or none.
func (b *Book) take(p place, n float64) (s *spec, ok bool, remaining float64, reset time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	x := b.find(p)
	if x == nil {
		return nil, true, 0, 0
	}
	ok = x.level >= n
	if ok {
		x.level -= n
	}
	return x.spec, ok, max(0, x.level), x.reset()
}

// deal gives what buckets hold to those who wait for it, in equal parts as far as they want them. It tells whether
// somebody still waits.
func (b *Book) deal() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	b.turn++
	b.dealing = len(b.waits) > 0
	for p, x := range b.buckets {
		b.group.place(x, p, now)
		x.fill(now)
		b.dealOne(p, x)
		for _, h := range x.holders {
			b.dealing = b.dealing || h.want >= 1
		}
	}
	return b.dealing
}

// dealOne is called with mu held.
func (b *Book) dealOne(p place, x *bucket) {
	left := math.Floor(x.level)
	if left < 1 {
		return
	}
	var waiting []*session
	all := 0.0
	for _, s := range x.order {
		if h := x.holders[s]; h.want >= 1 {
			waiting = append(waiting, s)
			all += h.weight
		}
	}
	if len(waiting) == 0 {
		return
	}
	given := map[*session]float64{}
	for begin := b.turn % len(waiting); left >= 1 && len(waiting) > 0; begin = 0 {
		part, rest := left/all, 0.0
		var still []*session
		for i := range waiting {
			s := waiting[(begin+i)%len(waiting)]
			h := x.holders[s]
			n := min(max(math.Floor(part*h.weight), 1), math.Floor(h.want), left)
			h.want -= n
			given[s] += n
			if left -= n; h.want >= 1 {
				still, rest = append(still, s), rest+h.weight
			}
			if left < 1 {
				break
			}
		}
		waiting, all = still, rest
	}
	for _, n := range given {
		x.level -= n
	}
	for s, n := range given {
		s.grant(p, x, n)
	}
}
