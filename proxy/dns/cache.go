package dns

import (
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	maxCached = 1024
	// maxLife bounds how long an answer of the host's servers is used again, whatever
	// they say: a laptop changes networks.
	maxLife = 30 * time.Second
)

// cache keeps answers of the host's servers for as long as their TTLs say. Failures
// are not kept.
type cache struct {
	mu   sync.Mutex
	kept map[cacheKey]cached
}

type cacheKey struct {
	dns.Question
	secure bool // DNSSEC records were asked for
}

type cached struct {
	msg         *dns.Msg
	since, ends time.Time
}

func keyOf(q *dns.Msg) cacheKey {
	k := cacheKey{Question: q.Question[0]}
	if opt := q.IsEdns0(); opt != nil {
		k.secure = opt.Do()
	}
	return k
}

// get returns an answer with the TTLs that are left; nil: there is none.
func (c *cache) get(q *dns.Msg, now time.Time) *dns.Msg {
	c.mu.Lock()
	x, ok := c.kept[keyOf(q)]
	c.mu.Unlock()
	if !ok || !now.Before(x.ends) {
		return nil
	}
	m := x.msg.Copy()
	gone := uint32(now.Sub(x.since) / time.Second)
	for _, list := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range list {
			if h := rr.Header(); h.Rrtype != dns.TypeOPT {
				h.Ttl -= min(h.Ttl, gone)
			}
		}
	}
	m.Id = q.Id
	return m
}

// put keeps an answer, if it says for how long it holds.
func (c *cache) put(q, m *dns.Msg, now time.Time) {
	life := lifeOf(m)
	if life <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept == nil {
		c.kept = map[cacheKey]cached{}
	}
	if len(c.kept) >= maxCached {
		for k, x := range c.kept {
			if !now.Before(x.ends) || len(c.kept) >= maxCached {
				delete(c.kept, k)
			}
		}
	}
	c.kept[keyOf(q)] = cached{m.Copy(), now, now.Add(life)}
}

// lifeOf is the least TTL of an answer; of one that says that there is none, what its
// SOA says.
func lifeOf(m *dns.Msg) time.Duration {
	if m.Truncated || m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return 0
	}
	life := uint32(maxLife / time.Second)
	known := len(m.Answer) > 0
	for _, rr := range m.Answer {
		life = min(life, rr.Header().Ttl)
	}
	if !known {
		for _, rr := range m.Ns {
			if soa, ok := rr.(*dns.SOA); ok {
				life, known = min(life, soa.Minttl, soa.Hdr.Ttl), true
			}
		}
	}
	if !known {
		return 0
	}
	return time.Duration(life) * time.Second
}
