package localrate

import (
	"cmp"
	"container/list"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weftmesh/weft/proxy/http/descriptor"
)

// Spec says how a bucket fills. Max 0: it refuses everything.
type Spec struct {
	Max, PerFill uint32
	Interval     time.Duration
	Shadow       bool
}

// special is the bucket of requests with a descriptor. Entries without a value
// match any; each combination of values has a bucket of its own then.
type special struct {
	entries []descriptor.Entry
	spec    Spec
	one     *bucket
	many    *dynamic
}

// limiter is a set of buckets.
type limiter struct {
	common   *bucket // nil: none
	denyAll  bool    // instead of common: a bucket that holds nothing
	specials []special
	always   bool // the common bucket counts requests with a descriptor too
}

// plan is what limiters are made of: one for the process, or one for each connection.
type plan struct {
	common   *Spec
	specials []special
	always   bool
	dynamics int
}

func (p *plan) make() *limiter {
	l := &limiter{always: p.always}
	if p.common != nil {
		if l.denyAll = p.common.Max == 0; !l.denyAll {
			l.common = newBucket(*p.common)
		}
	}
	for _, s := range p.specials {
		if slices.ContainsFunc(s.entries, func(e descriptor.Entry) bool { return e.Value == "" }) {
			s.many = &dynamic{spec: s.spec, most: p.dynamics, by: map[string]*list.Element{}}
		} else {
			s.one = newBucket(s.spec)
		}
		l.specials = append(l.specials, s)
	}
	return l
}

// verdict of a limiter. bucket is the one that headers tell of, nil: none.
type verdict struct {
	ok     bool
	bucket *bucket
	header descriptor.Header
}

// hit is a descriptor that has a bucket.
type hit struct {
	b *bucket
	d *descriptor.Descriptor
}

// judge takes a request's tokens: from the buckets of its descriptors, the
// slowest first, then from the common one. Each costs that many.
func (l *limiter) judge(now float64, ds []descriptor.Descriptor, cost float64) verdict {
	var few [4]hit
	hits := few[:0]
	for i := range ds {
		if b := l.find(ds[i].Entries); b != nil {
			hits = append(hits, hit{b, &ds[i]})
		}
	}
	slices.SortFunc(hits, func(a, b hit) int { return cmp.Compare(a.b.rate, b.b.rate) })
	for _, h := range hits {
		if h.d.Negative {
			h.b.give(now, cost*float64(h.d.Hits))
		} else if !h.b.take(now, cost*float64(h.d.Hits)) && !h.b.shadow {
			return verdict{false, h.b, h.d.Header}
		}
	}
	v := verdict{ok: true}
	if len(hits) > 0 {
		v.bucket, v.header = hits[0].b, hits[0].d.Header
		if !l.always {
			return v
		}
	}
	switch {
	case l.denyAll:
		return verdict{}
	case l.common == nil:
	case !l.common.take(now, cost):
		return verdict{false, l.common, descriptor.HeaderDefault}
	case v.bucket == nil:
		v.bucket = l.common
	}
	return v
}

// find returns the bucket of a descriptor: one that names all its values before
// one that leaves some open.
func (l *limiter) find(entries []descriptor.Entry) *bucket {
	for i := range l.specials {
		if s := &l.specials[i]; s.one != nil && s.match(entries) {
			return s.one
		}
	}
	for i := range l.specials {
		if s := &l.specials[i]; s.many != nil && s.match(entries) {
			return s.many.get(entries)
		}
	}
	return nil
}

func (s *special) match(entries []descriptor.Entry) bool {
	return slices.EqualFunc(s.entries, entries, func(want, got descriptor.Entry) bool {
		return want.Key == got.Key && (want.Value == "" || want.Value == got.Value)
	})
}

// dynamic holds the buckets of the values that came last.
type dynamic struct {
	spec Spec
	most int

	mu sync.Mutex
	// guarded by mu
	by   map[string]*list.Element
	used list.List // of *dynamicBucket, the last used first
}

type dynamicBucket struct {
	key string
	b   *bucket
}

func (d *dynamic) get(entries []descriptor.Entry) *bucket {
	var key strings.Builder
	for _, e := range entries {
		key.WriteString(e.Value)
		key.WriteByte(0)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.by[key.String()]; e != nil {
		d.used.MoveToFront(e)
		return e.Value.(*dynamicBucket).b
	}
	n := &dynamicBucket{key.String(), newBucket(d.spec)}
	d.by[n.key] = d.used.PushFront(n)
	if d.used.Len() > d.most {
		last := d.used.Back()
		d.used.Remove(last)
		delete(d.by, last.Value.(*dynamicBucket).key)
	}
	return n.b
}
