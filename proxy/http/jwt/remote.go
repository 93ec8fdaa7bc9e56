package jwt

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/weftmesh/weft/proxy/filter"
)

// source is where the keys of a provider come from. Fixed keys never expire.
type source struct {
	fixed status // why there are none, of local ones
	now   atomic.Pointer[fetched]

	remote *remote // nil: local

	mu sync.Mutex
	// guarded by mu
	waiting  []func() // to be told when the fetch under way has ended
	fetching bool
}

type fetched struct {
	keys  *keys
	until time.Time // zero: for ever
}

// remote says how to fetch keys.
type remote struct {
	calls             filter.Caller
	cluster           string
	host, path        string
	timeout           time.Duration
	cache             time.Duration
	ahead             bool // fetch before anybody asks, and again before the keys expire
	again             time.Duration
	retries           int
	backoff, most     time.Duration
	succeeded, failed *filter.Counter
}

// ahead of the end of the cached keys they are fetched again.
const early = 5 * time.Second

// get returns the present keys. ok false: they have to be waited for.
func (s *source) get(now time.Time) (k *keys, st status, ok bool) {
	f := s.now.Load()
	switch {
	case f != nil && (f.until.IsZero() || now.Before(f.until)):
		return f.keys, good, true
	case s.remote == nil:
		return nil, s.fixed, true
	}
	return nil, good, false
}

// wait has f called when a fetch has ended, on another goroutine or before wait
// returns. It begins one when none is under way.
func (s *source) wait(f func()) {
	s.mu.Lock()
	s.waiting = append(s.waiting, f)
	begin := !s.fetching
	s.fetching = true
	s.mu.Unlock()
	if begin {
		s.fetch(0)
	}
}

// start fetches ahead.
func (s *source) start() {
	if s.remote != nil && s.remote.ahead {
		s.wait(func() {})
	}
}

func (s *source) fetch(attempt int) {
	r := s.remote
	h := &filter.Headers{Method: http.MethodGet, Authority: r.host, Path: r.path}
	r.calls.Call(&filter.Call{Cluster: r.cluster, Header: h, Timeout: r.timeout}, func(a *filter.Answer, err error) {
		var k *keys
		if err == nil && a.Header.Status == http.StatusOK {
			k, _ = readKeys(a.Body)
		}
		if k == nil && attempt < r.retries {
			time.AfterFunc(min(r.backoff<<attempt, r.most), func() { s.fetch(attempt + 1) })
			return
		}
		s.arrived(k)
	})
}

// arrived ends a fetch; k nil: it has failed.
func (s *source) arrived(k *keys) {
	r := s.remote
	if k != nil {
		r.succeeded.Add(1)
		f := &fetched{keys: k}
		if !r.ahead { // what is fetched again in time does not expire, as in Envoy
			f.until = time.Now().Add(r.cache)
		}
		s.now.Store(f)
	} else {
		r.failed.Add(1)
	}
	s.mu.Lock()
	waiting := s.waiting
	s.waiting, s.fetching = nil, false
	s.mu.Unlock()
	for _, f := range waiting {
		f()
	}
	if r.ahead {
		s.later(k != nil)
	}
}

// later fetches again, for as long as a configuration uses the source.
func (s *source) later(ok bool) {
	d := s.remote.again
	if ok {
		if d = s.remote.cache; d > early {
			d -= early
		}
	}
	w := weak.Make(s)
	time.AfterFunc(d, func() {
		if s := w.Value(); s != nil {
			s.start()
		}
	})
}
